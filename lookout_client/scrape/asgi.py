"""The scrape as an ASGI application, to be mounted at ``/metrics``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..default import REGISTRY
from ..registry import Registry
from .negotiation import Exposition

Message = MutableMapping[str, Any]
ASGIApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


def asgi_app(registry: Registry | None = None) -> ASGIApp:
    """An ASGI application that answers every GET with the metrics of ``registry``.

    The exposition is rendered in a worker thread, so that the event loop goes on serving.
    """
    exposition = Exposition(registry if registry is not None else REGISTRY)

    async def app(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the metrics endpoint speaks http only, not {scope['type']}")
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        answer = await asyncio.to_thread(
            exposition.answer, headers.get(b"accept", ""), headers.get(b"accept-encoding", "")
        )
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(k.lower().encode(), v.encode()) for k, v in answer.headers],
            }
        )
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    return app
