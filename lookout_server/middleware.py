"""Pure ASGI middleware around the routes: memory, disconnects, who is sending."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .http import BodyBudget, Overloaded
from .intake import CLIENT_PROCESS
from .reconcile import LEDGER_HEADER, Reconciliation


class Admission:
    """Bounds the memory that bodies take between their first byte and the answer."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._budget = BodyBudget(limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        with self._budget.share() as share:
            scope.setdefault("state", {})["body_budget"] = share
            length = Headers(scope=scope).get("content-length", "")
            try:
                share.expect(int(length) if length.isdecimal() else 0)
            except Overloaded as refused:
                await refused.response()(scope, receive, send)
                return
            await self._app(scope, receive, send)


class CancelOnDisconnect:
    """Ends the work for a query whose client has gone away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue(1)
        work = asyncio.create_task(self._work(scope, messages, send))
        watch = asyncio.create_task(_watch(receive, messages, work))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            work.cancel()
            if not watch.done():  # not the client but the server ends it
                raise
        finally:
            watch.cancel()

    async def _work(self, scope: Scope, messages: asyncio.Queue[Message], send: Send) -> None:
        await self._app(scope, messages.get, send)


async def _watch(
    receive: Receive, messages: asyncio.Queue[Message], work: asyncio.Task[None]
) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            work.cancel()
            return
        await messages.put(message)


class ClientLedger:
    """Reads the ledger a client sends along, and remembers which process a body came from."""

    def __init__(self, app: ASGIApp, reconciliation: Reconciliation) -> None:
        self._app = app
        self._reconciliation = reconciliation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            header = Headers(scope=scope).get(LEDGER_HEADER)
            if header is not None:
                tenant = scope.get("state", {}).get("tenant", "")
                CLIENT_PROCESS.set(self._reconciliation.report(tenant, header))
        await self._app(scope, receive, send)


async def finish(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
