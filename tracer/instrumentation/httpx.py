"""Client spans and propagation for httpx: every hop that goes through its HTTP transports."""

from __future__ import annotations

from typing import Any

import httpx

from .client import outgoing
from .patch import Patch


def _handle(original: Any, transport: Any, request: httpx.Request) -> httpx.Response:
    with outgoing(request.method, str(request.url), request.headers) as exchange:
        response: httpx.Response = original(transport, request)
        if exchange is not None:
            exchange.answered(response.status_code)
        return response


async def _handle_async(original: Any, transport: Any, request: httpx.Request) -> httpx.Response:
    with outgoing(request.method, str(request.url), request.headers) as exchange:
        response: httpx.Response = await original(transport, request)
        if exchange is not None:
            exchange.answered(response.status_code)
        return response


_patches = (
    Patch(httpx.HTTPTransport, "handle_request", _handle),
    Patch(httpx.AsyncHTTPTransport, "handle_async_request", _handle_async),
)


def instrument() -> None:
    """Trace what every httpx client sends from now on. Repeating it changes nothing."""
    for patch in _patches:
        patch.apply()


def uninstrument() -> None:
    """Undo :func:`instrument`."""
    for patch in _patches:
        patch.remove()
