"""Keeps dependency links stored as traces settle, so that a query for a day only sums them.

Of what was just stored within a quarter of a second, in memory; of the last hours once a minute; of
the days before as well, where spans were stored while nobody linked them or came late, but at
leisure and beside the last hours, which wait for none of it: a question for such a day links it at
once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ...server import Server
from ...store.port import StoreError, StoreLimit, StoreUnavailable
from ..explain import Explanation
from .dependencies import Dependencies
from .link_cache import LinkCache
from .link_store import OF_HOUR, now_ms
from .span_counts import BUCKET_MS
from .young_links import YoungLinks

log = logging.getLogger("lookout.links")

_EVERY_S = 60.0
#: So that a question seldom has a batch to link, however soon after it.
_YOUNG_EVERY_S = 0.25
#: The last hours. Enough for one whose last five minutes become final 70 minutes after they ended.
_LOOKBACK_MS = 14_400_000
#: Five minutes of tens of thousands of spans a second take a minute.
_LINKING_MOST_S = 240.0
#: Days before are looked at so often, beside the last hours; each second of it is followed by a
#: pause of several.
_DAYS_EVERY_S = 600.0
_LEISURE = 4
_HOUR_MS = 3_600_000
#: What is older is linked when somebody asks for it: hours back, and hours of all tenants at most.
_HOURS_BACK, _HOURS_MOST = 192, 10_000
#: Kept from round to round, so that links stored already need not be read again.
_BYTES_MOST = 12_500_000
_TENANTS = """
SELECT DISTINCT tenant FROM span_counts
WHERE bucket >= {since:UInt32}
"""
_HOURS = """
SELECT tenant, intDiv(bucket, 12) AS hour, sum(spans) AS spans FROM span_counts
WHERE bucket BETWEEN {since:UInt32} AND {until:UInt32} GROUP BY tenant, hour
ORDER BY hour DESC LIMIT {most:UInt32}
"""


class LinkKeeper:
    """Tasks on the event loop: of what was just stored, of the last hours and of the days before.

    See :class:`lookout_server.server.Service`.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._links = LinkCache(_BYTES_MOST)
        self._young = YoungLinks.of(server)
        self._tasks: list[asyncio.Task[None]] = []
        #: Spans of the days before by tenant and hour, when these were found linked.
        self._linked: dict[tuple[str, int], int] = {}

    async def start(self) -> None:
        rounds = [(self.settle, _EVERY_S), (self.settle_days, _DAYS_EVERY_S)]
        if self._young is not None:
            rounds.append((self.link, _YOUNG_EVERY_S))
        self._tasks = [asyncio.create_task(_repeat(*each)) for each in rounds]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def link(self) -> None:
        """Link what was stored since the last round."""
        if self._young is not None and self._young.due():
            await asyncio.to_thread(self._young.link)

    async def settle(self) -> None:
        """Store the links of what has settled in the last hours, tenant by tenant."""
        now = now_ms()
        since = now - _LOOKBACK_MS
        table = await self._server.fetch(_TENANTS, {"since": since // BUCKET_MS})
        for tenant in table.column("tenant").to_pylist():
            await self._settle(tenant, since, now)

    async def settle_days(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Store the links of the hours before, the latest first, where spans came since."""
        last = (now_ms() - _LOOKBACK_MS) // _HOUR_MS
        first = last - _HOURS_BACK
        ends = {"since": first * OF_HOUR, "until": (last + 1) * OF_HOUR - 1, "most": _HOURS_MOST}
        hours = (await self._server.fetch(_HOURS, ends)).to_pylist()
        linked = {(row["tenant"], row["hour"]): row["spans"] for row in hours}
        self._linked = {key: spans for key, spans in self._linked.items() if key in linked}
        for (tenant, hour), spans in linked.items():
            if self._linked.get((tenant, hour)) == spans:
                continue
            began = time.monotonic()
            if await self._settle(tenant, hour * _HOUR_MS, (hour + 1) * _HOUR_MS - 1):
                self._linked[tenant, hour] = spans
            await pause(_LEISURE * (time.monotonic() - began))

    async def _settle(self, tenant: str, since_ms: int, until_ms: int) -> bool:
        """Whether all of it is stored; what is not is tried again in the next round.

        Whatever a tenant or an hour has wrong, the others come after it. Raises StoreUnavailable.
        """
        dependencies = Dependencies(
            self._server, tenant, Explanation(), self._links, _LINKING_MOST_S, self._young
        )
        try:
            await dependencies.settle(since_ms, until_ms)
        except StoreLimit:  # too much for once: what it did is stored
            return False
        except StoreUnavailable:
            raise
        except StoreError as error:
            ends = f"{since_ms}-{until_ms} ms"
            log.warning("links of %s, %s, are not stored yet: %s", tenant, ends, error)
            return False
        return True


async def _repeat(round: Callable[[], Awaitable[None]], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await round()
        except StoreError as error:  # the next round tries again
            log.warning("links are not stored yet: %s", error)
