"""The end of an ASGI server's life: the last moment at which what was recorded can be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .. import setup

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_ANSWERS = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


async def lifespan(app: App, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Run the application's lifespan, and flush before its answer to the shutdown is passed on.

    An application that does not know lifespan, by raising or by returning at once, is answered for.
    """
    spoke = False

    async def receiving() -> Message:
        nonlocal spoke
        spoke = True
        return await receive()

    async def sending(message: Message) -> None:
        nonlocal spoke
        spoke = True
        if message["type"] in _ANSWERS:
            await flush()
        await send(message)

    try:
        await app(scope, receiving, sending)
    except Exception:
        if spoke:
            raise
    if not spoke:
        await _answer(receive, send)


async def _answer(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await flush()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def flush() -> None:
    """Flush within the exit timeout, beside the event loop where that is asyncio's."""
    sdk = setup.running()
    if sdk is None:
        return
    # Most of the time is for this flush: uvicorn ends by the signal it got, without an exit.
    with sdk.before_exit(share=0.9) as timeout:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # another kind of event loop, which has nothing left to do
            sdk.flush(timeout)
        else:
            await asyncio.to_thread(sdk.flush, timeout)
