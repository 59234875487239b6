"""From which time on a tenant's samples may have changed since somebody read them.

What was read once can be kept in memory as long as it is known what was stored since. Batches are
numbered as they become readable; of each only the earliest sample's time is remembered, because
new samples are nearly always the newest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from .rows import MetricRows

_TENANTS_MAX, _BATCHES_MAX = 1_000, 64
_EVER = -(2**63)


class Freshness:
    """Thread-safe: the writer notes, readers ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        #: (number of a batch, earliest time in it and in later ones): both ascend.
        self._tenants: dict[str, list[tuple[int, int]]] = {}
        self._forgotten = 0  # of batches up to this number nothing is remembered
        self._underway: dict[str, int] = {}

    def number(self) -> int:
        """Of the newest batch that is readable. To be asked before reading."""
        return self._number

    def changed_from(self, tenant: str, number: int) -> int | None:
        """Earliest time (ms) of samples that became readable after batch ``number``.

        None where there are none.
        """
        with self._lock:
            if number < self._forgotten:
                return _EVER
            times = self._tenants.get(tenant, ())
            return next((earliest for batch, earliest in times if batch > number), None)

    def begin(self, rows: Iterable[MetricRows]) -> None:
        """These rows are about to be stored, maybe in several pieces."""
        for one in rows:
            times = [h.timestamp for h in one.histograms]
            if len(one.timestamps):
                times.append(int(one.timestamps.min()))
            if times:
                known = self._underway.get(one.tenant)
                earliest = min(times)
                self._underway[one.tenant] = earliest if known is None else min(known, earliest)

    def end(self) -> None:
        """What was begun is readable now."""
        if not self._underway:
            return
        with self._lock:
            self._number += 1
            for tenant, earliest in self._underway.items():
                self._note(tenant, earliest)
            self._underway = {}

    def forget(self) -> None:
        """Anything may have changed."""
        with self._lock:
            self._number += 1
            self._forgotten = self._number
            self._tenants.clear()

    def _note(self, tenant: str, earliest: int) -> None:
        if tenant not in self._tenants and len(self._tenants) >= _TENANTS_MAX:
            self._forgotten = self._number
            self._tenants.clear()
            return
        times = self._tenants.setdefault(tenant, [])
        while times and times[-1][1] >= earliest:
            times.pop()
        times.append((self._number, earliest))
        if len(times) > _BATCHES_MAX:  # of the two oldest, say the later with the earlier time
            times[:2] = [(times[1][0], times[0][1])]
