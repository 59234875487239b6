"""Recognises a body that a client sends again because it never saw the answer.

The collector may die, or the connection, between the journal's commit and the 202. A client of
ours that sends a ledger along then repeats the very same bytes, and spans have ids, so the same
bytes of the same process are the same spans. What was journalled is remembered with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable

#: A client gives up, or sends from its spill, long before so many other bodies have come.
MAX_REMEMBERED = 50_000


def digest(process: str, body: bytes) -> bytes:
    """What a body is remembered by."""
    return hashlib.blake2b(body, digest_size=16, person=_person(process)).digest()


def _person(process: str) -> bytes:
    return hashlib.blake2b(process.encode(), digest_size=16).digest()


class Repeats:
    """Bodies kept lately, and those being kept (event loop only)."""

    def __init__(self, known: Iterable[bytes] = (), limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, asyncio.Task[None] | None] = OrderedDict.fromkeys(known)

    async def once(self, key: bytes, keep: Callable[[], Awaitable[object]]) -> bool:
        """Keep a body unless it was kept before; whether it was kept now.

        A repeat of a body that is just being kept waits for that. Raises what ``keep`` raises;
        the body then counts as never seen. A caller that is cancelled stops waiting only: what
        is being kept is kept, and remembered.
        """
        if key in self._kept:
            pending = self._kept[key]
            if pending is not None:
                await asyncio.shield(pending)
            return False
        task = self._kept[key] = asyncio.create_task(self._keep(key, keep))
        task.add_done_callback(_look_at)
        await asyncio.shield(task)
        return True

    async def _keep(self, key: bytes, keep: Callable[[], Awaitable[object]]) -> None:
        try:
            await keep()
        except BaseException:
            del self._kept[key]
            raise
        self._kept[key] = None
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)


def _look_at(task: asyncio.Task[None]) -> None:
    """Take the exception: whoever waited may be gone."""
    if not task.cancelled():
        task.exception()
