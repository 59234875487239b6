"""Client spans and propagation for aiohttp's client: one span for every hop, redirects included."""

from __future__ import annotations

from typing import Any

from aiohttp import ClientSession

from .client import outgoing
from .patch import Patch


async def _middleware(request: Any, handler: Any) -> Any:
    """One of aiohttp's own client middlewares (aiohttp 3.12 and later)."""
    with outgoing(request.method, str(request.url), request.headers) as exchange:
        response = await handler(request)
        if exchange is not None:
            exchange.answered(response.status)
        return response


async def _request(original: Any, session: Any, *args: Any, **kwargs: Any) -> Any:
    given = kwargs.get("middlewares")
    before = session._middlewares if given is None else given
    # Innermost, so that every attempt of a middleware that repeats requests is seen.
    return await original(session, *args, **{**kwargs, "middlewares": (*before, _middleware)})


_patch = Patch(ClientSession, "_request", _request)


def instrument() -> None:
    """Trace what every aiohttp session sends from now on. Repeating it changes nothing."""
    _patch.apply()


def uninstrument() -> None:
    """Undo :func:`instrument`."""
    _patch.remove()
