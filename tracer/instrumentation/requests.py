"""Client spans and propagation for requests: one span for every hop, redirects included."""

from __future__ import annotations

from typing import Any

from requests.adapters import HTTPAdapter

from .client import outgoing
from .patch import Patch


def _send(original: Any, adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    with outgoing(request.method or "GET", request.url or "", request.headers) as exchange:
        response = original(adapter, request, *args, **kwargs)
        if exchange is not None:
            exchange.answered(response.status_code)
        return response


_patch = Patch(HTTPAdapter, "send", _send)


def instrument() -> None:
    """Trace what every requests session sends from now on. Repeating it changes nothing."""
    _patch.apply()


def uninstrument() -> None:
    """Undo :func:`instrument`."""
    _patch.remove()
