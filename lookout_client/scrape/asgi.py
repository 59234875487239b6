"""The scrape under ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..default import REGISTRY
from ..registry import Registry
from .negotiation import Exposition

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]


def metrics_asgi(
    app: ASGIApp | None = None,
    *,
    path: str = "/metrics",
    registry: Registry | None = None,
) -> ASGIApp:
    """The metrics of ``registry`` at ``path``, and ``app`` everywhere else.

    Without ``app`` every path answers the metrics, to be mounted by a framework. The exposition
    is rendered in a worker thread, so that the event loop goes on serving.
    """
    exposition = Exposition(registry if registry is not None else REGISTRY)

    async def serve(scope: Message, receive: Receive, send: Send) -> None:
        if app is not None and (scope["type"] != "http" or scope["path"] != path):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await _answer(exposition, scope, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            raise RuntimeError(f"the metrics endpoint speaks http only, not {scope['type']}")

    return serve


async def _answer(exposition: Exposition, scope: Message, send: Send) -> None:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    answer = await asyncio.to_thread(
        exposition.answer, headers.get(b"accept", ""), headers.get(b"accept-encoding", "")
    )
    pairs = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": 200, "headers": pairs})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    """Start and stop with the server when served on its own."""
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})
