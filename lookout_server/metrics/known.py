"""Which series this process has seen: to write each once a day, and to limit their number."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .rows import MetricRows, Problem
from .series import describe
from .series_table import Int64Array, Marks, SeriesColumn

DAY_MS = 86_400_000


#: Kinds of samples a series has, maybe several: floats, native histograms, floats with start times.
FLOATS, HISTOGRAMS, STARTED = 0, 1, 2


class Place(NamedTuple):
    """Where a series is written down once."""

    tenant: str
    day: int  # since 1970
    kind: int


_NUMBERS = itertools.count(1)


@dataclass(slots=True)
class _Noted:
    """Series that were written down at a place."""

    ids: set[int] = field(default_factory=set)
    mark: int = field(default_factory=lambda: next(_NUMBERS))


class KnownSeries:
    """Series rows already handed to the store (one thread at a time).

    Forgetting is harmless, a row is then written again, so memory is bounded by forgetting
    everything at ``capacity`` entries.
    """

    def __init__(self, capacity: int = 2_000_000) -> None:
        self._capacity = capacity
        self._size = 0
        self._seen: defaultdict[Place, _Noted] = defaultdict(_Noted)
        self._marks = Marks()

    def news(self, place: Place, series: SeriesColumn, at: Int64Array) -> Int64Array:
        """Of the series at these indexes those not written down there before; now they are."""
        if self._size > self._capacity:
            self.forget()
        noted = self._seen[place]
        unmarked = self._marks.others(series, at, noted.mark)
        each = zip(series.ids[unmarked].tolist(), unmarked.tolist(), strict=True)
        fresh = {id_: index for id_, index in each if id_ not in noted.ids}
        noted.ids.update(fresh)
        self._size += len(fresh)
        self._marks.put(series, unmarked, noted.mark)
        return np.array(list(fresh.values()), dtype=np.int64)

    def forget(self) -> None:
        """Write every series again when it is next seen."""
        self._seen.clear()
        self._size = 0


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """How many series may be active; 0 means without limit."""

    per_tenant: int = 0
    per_metric: int = 0
    window_ms: int = 3_600_000

    def __bool__(self) -> bool:
        return bool(self.per_tenant or self.per_metric)


class ActiveSeries:
    """Counts the series of a tenant active in the last one to two windows and refuses new ones.

    Series that are active stay welcome; what is over the limit is left out of the rows and told.
    The clock is the receipt's, so that a replay of the journal decides as the first run did.
    """

    def __init__(self, limits: SeriesLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._tenants: dict[str, _Generations] = {}
        self._marks = Marks()

    def count(self, tenant: str) -> int:
        """Active series of a tenant."""
        found = self._tenants.get(tenant)
        return len(found.current | found.previous) if found else 0

    def admit(self, rows: MetricRows) -> None:
        """Leave out of ``rows`` the series that would exceed a limit."""
        if not self._limits or not rows.series:
            return
        with self._lock:
            refused = self._refused(rows.tenant, rows.received_ms, rows.series)
        if refused:
            _leave_out(rows, refused)

    def _refused(self, tenant: str, now: int, series: SeriesColumn) -> dict[int, tuple[str, str]]:
        active = self._tenants.setdefault(tenant, _Generations())
        active.turn(now // self._limits.window_ms)
        refused: dict[int, tuple[str, str]] = {}
        unmarked = self._marks.others(series, np.arange(len(series)), active.mark)
        for index in unmarked.tolist():
            id_, mid = int(series.ids[index]), int(series.mids[index])
            if id_ in active.current:
                continue
            known = id_ in active.previous
            reason = None if known else self._over(active, mid, series, index, tenant)
            if reason:
                refused[index] = reason
            else:
                active.add(id_, mid)
        if not refused:
            self._marks.put(series, unmarked, active.mark)
        return refused

    def _over(
        self, active: _Generations, mid: int, series: SeriesColumn, index: int, tenant: str
    ) -> tuple[str, str] | None:
        limits = self._limits
        if limits.per_tenant and active.total >= limits.per_tenant:
            return (
                "series_limit_tenant",
                f"tenant {tenant} has {active.total} active series, the limit is "
                f"{limits.per_tenant}; refused {describe(series[index].labels)}",
            )
        of_metric = active.by_metric[mid]
        if limits.per_metric and of_metric >= limits.per_metric:
            return (
                "series_limit_metric",
                f"metric {series[index].name} of tenant {tenant} has {of_metric} active series, "
                f"the limit is {limits.per_metric}; refused {describe(series[index].labels)}",
            )
        return None


class _Generations:
    """Ids of this window and of the one before; together they are the active series."""

    def __init__(self) -> None:
        self.window = 0
        self.mark = next(_NUMBERS)  # of series in ``current``
        self.current: set[int] = set()
        self.previous: set[int] = set()
        self._metrics: dict[int, int] = {}  # id -> mid of all active series
        self.by_metric: defaultdict[int, int] = defaultdict(int)

    @property
    def total(self) -> int:
        return len(self._metrics)

    def add(self, id_: int, mid: int) -> None:
        self.current.add(id_)
        if id_ not in self._metrics:
            self._metrics[id_] = mid
            self.by_metric[mid] += 1

    def turn(self, window: int) -> None:
        """Enter a window; what was active in neither it nor the last is active no more."""
        if window <= self.window:
            return
        self.previous = self.current if window == self.window + 1 else set()
        self.current = set()
        self.window = window
        self.mark = next(_NUMBERS)
        for gone in [i for i in self._metrics if i not in self.previous]:
            self.by_metric[self._metrics.pop(gone)] -= 1


def _leave_out(rows: MetricRows, refused: dict[int, tuple[str, str]]) -> None:
    counts: dict[str, tuple[int, str]] = {}
    of_series = rows.samples_by_series()
    for index, (reason, text) in refused.items():
        number, first = counts.get(reason, (0, text))
        counts[reason] = (number + of_series.get(index, 0), first)
    rows.drop_series(set(refused))
    rows.problems += [Problem(reason, n, text) for reason, (n, text) in counts.items()]
