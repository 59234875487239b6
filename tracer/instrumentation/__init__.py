"""One module per framework or client library; each patches only when it is asked to."""

from __future__ import annotations

import importlib
import logging

__all__ = ["CLIENTS", "instrument", "uninstrument"]

#: Client libraries that can be instrumented by name.
CLIENTS = ("aiohttp", "httpx", "requests", "urllib3")

_log = logging.getLogger("lookout")


def instrument(*names: str) -> None:
    """Trace the client libraries named, all that are known and installed without a name.

    Never raises: a name that is unknown, or whose library is missing, is logged in one line.
    """
    for name in names or CLIENTS:
        if name not in CLIENTS:
            _log.warning("cannot instrument %r: expected one of %s", name, ", ".join(CLIENTS))
            continue
        try:
            importlib.import_module(f".{name}", __name__).instrument()
        except ImportError:
            if names:
                _log.warning("cannot instrument %r: it is not installed", name)


def uninstrument(*names: str) -> None:
    """Undo :func:`instrument` for the names given, or for all."""
    for name in names or CLIENTS:
        try:
            importlib.import_module(f".{name}", __name__).uninstrument()
        except ImportError:
            continue
