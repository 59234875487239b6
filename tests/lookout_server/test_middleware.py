"""A query nobody waits for any more is stopped."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from lookout_server.middleware import CancelOnDisconnect

SCOPE: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}


class Client:
    """The server's side of a connection."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def test_a_client_that_leaves_cancels_the_query() -> None:
    """The handler sees CancelledError; the request ends quietly."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    client = Client()
    request = asyncio.create_task(CancelOnDisconnect(slow)(SCOPE, client.messages.get, client.send))
    await started.wait()
    client.messages.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(request, 5)
    assert cancelled.is_set()


async def test_others_are_answered_as_ever() -> None:
    """Body and answer pass; an error comes through."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        await send({"type": "http.response.body", "body": message["body"]})

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("x")

    client = Client()
    await CancelOnDisconnect(echo)(SCOPE, client.messages.get, client.send)
    assert client.sent == [{"type": "http.response.body", "body": b""}]
    with pytest.raises(KeyError):
        await CancelOnDisconnect(fail)(SCOPE, Client().messages.get, client.send)


async def test_the_server_can_end_it() -> None:
    """A request cancelled from outside takes the handler with it."""
    cancelled = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    client = Client()
    request = asyncio.create_task(CancelOnDisconnect(slow)(SCOPE, client.messages.get, client.send))
    await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.wait_for(cancelled.wait(), 5)
