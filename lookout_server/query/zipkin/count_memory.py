"""How many spans the five minutes of each tenant have, kept up with each stored batch.

Links are true for counts, so every question for dependencies begins with them. Read from the store
that took a third of the question, and beside ingest, where queries wait for a core, up to 60 ms.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ...server import Server
from ...spans.news import News
from ...spans.signal import SpanSignal

#: Five minutes of all tenants that are held, some hundred bytes each; of one tenant half as many.
_BUCKETS_MOST = 50_000
#: Tenants that are held: those without any spans have no five minutes.
_TENANTS_MOST = 2_000
#: Read anew after so long: retention deletes without telling (s).
_AGE_S = 300.0


@dataclass(slots=True)
class _Counted:
    """One tenant's counts of all five minutes from the first one on."""

    first: int
    spans: dict[int, int]
    read_at: float


class CountMemory:
    """Of all tenants, the least recently asked for making room. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[str, _Counted] = OrderedDict()
        self._buckets = 0
        self._number = 0
        #: Whether a batch is being stored: what is read may have it, and it is told later.
        self._storing = False
        #: Whether what is underway may be stored already, or be told twice.
        self._doubtful = False

    @classmethod
    def of(cls, server: Server) -> CountMemory | None:
        """The one of a collector that is told all that is stored; None for any other."""
        writers = getattr(server, "writers", None)
        if writers is None or server.config.clickhouse_url is not None:
            return None
        signal: SpanSignal = writers["spans"].signal
        return signal.news.rememberer(cls, cls)

    def number(self) -> int:
        """Of the newest batch that can be read. To be asked before reading."""
        return self._number

    def counts(self, tenant: str, first: int, last: int) -> dict[int, int] | None:
        """Spans of the five minutes that have any, from the first to the last, in no order.

        None where they are not known.
        """
        with self._lock:
            held = self._held.get(tenant)
            if held is None or first < held.first:
                return None
            if self._clock() - held.read_at > _AGE_S:
                self._drop(tenant)
                return None
            self._held.move_to_end(tenant)
            return {b: spans for b, spans in held.spans.items() if first <= b <= last}

    def keep(self, tenant: str, first: int, spans: Mapping[int, int], number: int) -> None:
        """Hold all counts from the first five minutes on, read after ``number`` was asked for.

        Not if a batch was stored since, or is being stored: it may be among what was read, or not.
        """
        with self._lock:
            if self._storing or number != self._number or len(spans) > _BUCKETS_MOST // 2:
                return
            self._drop(tenant)
            self._held[tenant] = _Counted(first, dict(spans), self._clock())
            self._buckets += len(spans)
            self._make_room()

    def underway(self, news: News) -> None:
        """What is read from here on may have some of it."""
        with self._lock:
            self._storing = True

    def stored(self, news: Iterable[News]) -> None:
        """Count what can be read now."""
        with self._lock:
            if self._doubtful:
                self._clear()
            self._doubtful = self._storing = False
            self._number += 1
            for batch in news:
                for tenant, buckets in batch.buckets.items():
                    self._add(tenant, buckets)
            self._make_room()

    def forget(self) -> None:
        """Anything may have changed, and will by what is underway."""
        with self._lock:
            self._clear()
            self._number += 1
            self._doubtful = True

    def _add(self, tenant: str, buckets: Mapping[int, int]) -> None:
        held = self._held.get(tenant)
        if held is None:
            return
        before = len(held.spans)
        for bucket, spans in buckets.items():
            if bucket >= held.first:
                held.spans[bucket] = held.spans.get(bucket, 0) + spans
        self._buckets += len(held.spans) - before
        if len(held.spans) > _BUCKETS_MOST // 2:
            self._drop(tenant)

    def _make_room(self) -> None:
        while self._buckets > _BUCKETS_MOST or len(self._held) > _TENANTS_MOST:
            self._drop(next(iter(self._held)))

    def _clear(self) -> None:
        self._held.clear()
        self._buckets = 0

    def _drop(self, tenant: str) -> None:
        held = self._held.pop(tenant, None)
        if held is not None:
            self._buckets -= len(held.spans)
