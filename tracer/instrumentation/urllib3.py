"""Client spans and propagation for urllib3: one span for every attempt."""

from __future__ import annotations

from typing import Any

from urllib3.connectionpool import HTTPConnectionPool

from .client import outgoing
from .patch import Patch


def _make_request(
    original: Any, pool: HTTPConnectionPool, conn: Any, method: str, url: str, **kwargs: Any
) -> Any:
    headers = dict(kwargs.get("headers") or {})
    with outgoing(method, _absolute(pool, url), headers) as exchange:
        response = original(pool, conn, method, url, **{**kwargs, "headers": headers})
        if exchange is not None:
            exchange.answered(response.status)
        return response


def _absolute(pool: HTTPConnectionPool, url: str) -> str:
    if "://" in url:  # through a proxy
        return url
    host = f"[{pool.host}]" if ":" in pool.host and pool.host[0] != "[" else pool.host
    port = f":{pool.port}" if pool.port and pool.port != _PORTS.get(pool.scheme) else ""
    return f"{pool.scheme}://{host}{port}{url}"


_PORTS = {"http": 80, "https": 443}

_patch = Patch(HTTPConnectionPool, "_make_request", _make_request)


def instrument() -> None:
    """Trace what urllib3 sends from now on. Repeating it changes nothing.

    What a library above it sends, and is itself instrumented for, is that library's span.
    """
    _patch.apply()


def uninstrument() -> None:
    """Undo :func:`instrument`."""
    _patch.remove()
