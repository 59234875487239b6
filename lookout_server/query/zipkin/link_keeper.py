"""Keeps dependency links stored as traces settle, so that a query for a day only sums them."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from ...server import Server
from ...store.port import StoreError
from ..explain import Explanation
from .dependencies import Dependencies
from .link_cache import LinkCache

log = logging.getLogger("lookout.links")

_EVERY_S = 60.0
#: What is older is linked when somebody asks for it. Enough for an hour whose last five minutes
#: become final 70 minutes after they ended.
_LOOKBACK_MS = 14_400_000
#: Kept from round to round, so that links stored already need not be read again.
_BYTES_MOST = 12_500_000
_TENANTS = """
SELECT DISTINCT tenant FROM span_counts
WHERE bucket >= {since:UInt32}
"""


class LinkKeeper:
    """A task on the event loop. See :class:`lookout_server.server.Service`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._links = LinkCache(_BYTES_MOST)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.settle()
            except StoreError as error:  # the next round tries again
                log.warning("links of the last hours are not stored yet: %s", error)

    async def settle(self) -> None:
        """Store the links of what has settled in the last hours, tenant by tenant."""
        now = time.time_ns() // 1_000_000
        since = now - _LOOKBACK_MS
        table = await self._server.fetch(_TENANTS, {"since": since // 300_000})
        for tenant in table.column("tenant").to_pylist():
            await Dependencies(self._server, tenant, Explanation(), self._links).settle(since, now)
