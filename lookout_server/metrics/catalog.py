"""Keeps the series indexes of the tenants that are asked about in step with the database."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..query.prometheus.matchers import Matcher
from ..store.port import Limits, Store
from .index import Found, SeriesIndex
from .series import Labels

#: Rows become visible some time after their ``updated`` was taken; read this far back again. One
#: process inserts one batch after the other, by its own clock; clocks of several differ.
_OVERLAP_MS, _OVERLAP_ALONE_MS = 60_000, 5_000
_LIMITS = Limits(seconds=60, memory_bytes=1_000_000_000)

_FIRST = """
SELECT mid, id, any(labels) AS labels, toUnixTimestamp(toStartOfDay(min(seen))) AS first,
       toUnixTimestamp(toStartOfDay(max(seen))) AS last, groupBitOr(bitShiftLeft(1, kind)) AS kinds,
       toUnixTimestamp64Milli(max(updated)) AS changed
FROM series WHERE tenant = {tenant:String} GROUP BY mid, id ORDER BY mid, id
"""
_CHANGES = """
SELECT mid, id, toUnixTimestamp(toStartOfDay(min(seen))) AS first,
       toUnixTimestamp(toStartOfDay(max(seen))) AS last,
       groupBitOr(bitShiftLeft(1, kind)) AS kinds,
       toUnixTimestamp64Milli(max(updated)) AS changed
FROM series
WHERE tenant = {tenant:String} AND updated >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
GROUP BY mid, id
"""
_LABELS_OF = """
SELECT mid, id, any(labels) AS labels FROM series
WHERE tenant = {tenant:String} AND mid IN {mids:Array(UInt64)} AND id IN {ids:Array(UInt64)}
GROUP BY mid, id
"""


@dataclass(slots=True)
class _Tenant:
    index: SeriesIndex = field(default_factory=SeriesIndex)
    lock: threading.Lock = field(default_factory=threading.Lock)
    loaded: bool = False
    changed_ms: int = 0  # newest ``updated`` seen, by ClickHouse's clock
    looked_at: float = 0.0  # when the last look began, monotonic seconds


class Catalog:
    """Finds series by matchers, for every tenant. Thread-safe; all calls may block.

    ``stored`` gives the monotonic time at which this process last stored series rows: as long as
    there were none since the last look, the database need not be asked.
    With ``alone`` false (other collectors write too), it is asked at least every second.
    """

    def __init__(
        self,
        store: Store,
        *,
        stored: Callable[[], float] | None = None,
        alone: bool = False,
        tenants: int = 1000,
        series: int = 2_000_000,
    ) -> None:
        self._store = store
        self._stored = stored
        certain = self._certain = alone and stored is not None
        self._patience_s = math.inf if certain else 1.0
        self._overlap_ms = _OVERLAP_ALONE_MS if certain else _OVERLAP_MS
        self._tenants_max, self._series_max = tenants, series
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._lock = threading.Lock()

    def select(
        self, tenant: str, matchers: Sequence[Matcher], start_ms: int, end_ms: int
    ) -> list[Found]:
        """Series that match and were seen on a day between two times, by metric."""
        known = self._tenant(tenant)
        with known.lock:
            self._follow(tenant, known)
            return known.index.select(matchers, start_ms // 1000, end_ms // 1000)

    def size(self, tenant: str) -> int:
        """Series known of a tenant."""
        known = self._tenant(tenant)
        with known.lock:
            self._follow(tenant, known)
            return known.index.size

    def forget(self, tenant: str) -> None:
        """Read everything of a tenant anew when it is next asked about."""
        with self._lock:
            self._tenants.pop(tenant, None)

    def _tenant(self, name: str) -> _Tenant:
        with self._lock:
            known = self._tenants.setdefault(name, _Tenant())
            self._tenants.move_to_end(name)
            while len(self._tenants) > 1 and (
                len(self._tenants) > self._tenants_max
                or sum(t.index.size for t in self._tenants.values()) > self._series_max
            ):
                self._tenants.popitem(last=False)
            return known

    def _follow(self, tenant: str, known: _Tenant) -> None:
        now = time.monotonic()
        if known.loaded and not self._stale(known, now):
            return
        if not known.loaded:
            self._load(tenant, known)
        else:
            self._catch_up(tenant, known, self._since(known, now))
        known.looked_at = now

    def _stale(self, known: _Tenant, now: float) -> bool:
        if now - known.looked_at > self._patience_s:
            return True
        return self._stored is None or known.looked_at <= self._stored()

    def _since(self, known: _Tenant, now: float) -> int:
        """From which ``updated`` on (ms) there may be rows that the last look did not see.

        Where ClickHouse's clock is ours and was set back since, they are older than those seen.
        """
        newest = known.changed_ms
        if self._certain:
            newest = min(newest, int((time.time() - (now - known.looked_at)) * 1000))
        return max(0, newest - self._overlap_ms)

    def _load(self, tenant: str, known: _Tenant) -> None:
        table = self._store.fetch(_FIRST, {"tenant": tenant}, _LIMITS)
        labels = _label_sets(table.column("labels"))
        for row, one in zip(_rows(table), labels, strict=True):
            known.index.add(row[0], row[1], one, row[2], row[3], row[4])
            known.changed_ms = max(known.changed_ms, row[5])
        known.loaded = True

    def _catch_up(self, tenant: str, known: _Tenant, since: int) -> None:
        table = self._store.fetch(_CHANGES, {"tenant": tenant, "since": since}, _LIMITS)
        changes = {(row[0], row[1]): row[2:] for row in _rows(table)}
        fresh = [key for key in changes if not known.index.knows(*key)]
        if fresh:
            for mid, id_, labels in self._labels_of(tenant, fresh):
                known.index.add(mid, id_, labels, *changes[mid, id_][:3])
        for (mid, id_), (first, last, kinds, changed) in changes.items():
            if known.index.knows(mid, id_):
                known.index.extend_days(mid, id_, first, last, kinds)
            known.changed_ms = max(known.changed_ms, changed)

    def _labels_of(
        self, tenant: str, keys: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, int, Labels]]:
        for at in range(0, len(keys), 50_000):
            part = keys[at : at + 50_000]
            parameters: Mapping[str, Any] = {
                "tenant": tenant,
                "mids": sorted({mid for mid, _ in part}),
                "ids": [id_ for _, id_ in part],
            }
            table = self._store.fetch(_LABELS_OF, parameters, _LIMITS)
            mids, ids = table.column("mid").to_pylist(), table.column("id").to_pylist()
            yield from zip(mids, ids, _label_sets(table.column("labels")), strict=True)


def _rows(table: pa.Table) -> Iterator[tuple[int, ...]]:
    columns = [c for c in table.column_names if c != "labels"]
    return zip(*(table.column(name).to_pylist() for name in columns), strict=True)


def _label_sets(column: pa.ChunkedArray) -> Iterator[Labels]:
    """The maps of a column as sorted pairs; equal pairs are one object in memory."""
    for chunk in column.chunks:
        offsets = chunk.offsets.to_pylist()
        pairs = list(zip(_strings(chunk.keys), _strings(chunk.items), strict=True))
        shared: dict[tuple[str, str], tuple[str, str]] = {}
        pairs = [shared.setdefault(pair, pair) for pair in pairs]
        for low, high in itertools.pairwise(offsets):
            yield tuple(sorted(pairs[low:high]))


def _strings(array: pa.Array) -> list[str]:
    """A column of strings as Python ones, each distinct value one object."""
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    values = array.dictionary.to_pylist()
    return [values[code] for code in array.indices.to_pylist()]
