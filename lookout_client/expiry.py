"""Series that nobody records into give way where a limit comes near."""

from __future__ import annotations

import sys
from typing import Any

from .bound import Meter
from .family import Family
from .registry import Registry

AnyMeter = Meter[Any]

#: The share of a limit from which idle series give way. Below it they stay: a counter of rare
#: errors must not vanish, since its next increment would then look like its first.
PRESSURE = 0.8


class Expiry:
    """Removes series of ``registry`` that were idle for ``idle_s`` seconds.

    Only under pressure, unless ``always``. A meter somebody still holds comes back with
    everything it counted as soon as it is recorded into again: nothing is lost.
    """

    def __init__(self, registry: Registry, idle_s: float = 3600.0, *, always: bool = False) -> None:
        self._registry = registry
        self._idle_ns = int(idle_s * 1e9)
        self._always = always
        #: The mark of each watched series and since when it has been the same.
        self._watched: dict[AnyMeter, tuple[object, int]] = {}
        #: Removed series that somebody may still hold, with the mark they were removed with.
        self._limbo: list[tuple[AnyMeter, object]] = []
        self.expired = 0

    def sweep(self) -> None:
        """Look at every series once. Called from time to time, on the flusher."""
        self._reclaim()
        now_ns = self._registry.clock_ns()
        watched = self._watched
        self._watched = {}
        for family in list(self._registry.families.values()):
            if self._always or self._is_pressed(family):
                for meter in list(family.series.values()):
                    self._look_at(meter, watched.get(meter), now_ns)

    def _is_pressed(self, family: Family) -> bool:
        registry = self._registry
        return (
            len(family.series) >= PRESSURE * family.limit
            or len(registry) >= PRESSURE * registry.max_series
        )

    def _look_at(self, meter: AnyMeter, before: tuple[object, int] | None, now_ns: int) -> None:
        if not meter.tags or meter is meter.family.overflow:
            return
        mark = meter.mark
        if before is None or before[0] != mark:
            self._watched[meter] = (mark, now_ns)
        elif now_ns - before[1] < self._idle_ns:
            self._watched[meter] = before
        elif self._registry.forget(meter):
            self._limbo.append((meter, mark))
            self.expired += 1

    def _reclaim(self) -> None:
        """Bring back what was recorded into after all; let go of what nobody holds."""
        limbo, self._limbo = self._limbo, []
        while limbo:
            meter, mark = limbo.pop()
            if meter.mark != mark:
                self._registry.restore(meter)
                mark = meter.mark
                if meter.family.series.get(meter.tags) is meter:
                    continue
            # Two references are ours: the name here, and the argument of getrefcount.
            if sys.getrefcount(meter) > 2:
                self._limbo.append((meter, mark))
