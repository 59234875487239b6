"""Time: durations from the monotonic clock, dates from one anchor to the wall clock.

Reading one clock and adding an anchor keeps the spans of a process in order even when the wall
clock is stepped. The anchor is looked at again by the flusher, so that a machine that was suspended
or corrected by NTP does not stay wrong for ever; a span keeps the anchor it started with.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: Corrections smaller than this are reading noise, not a step of the clock.
STEP_NS = 10_000_000


class Clock:
    """A monotonic reading and what to add to it to get Unix time, both in nanoseconds."""

    __slots__ = ("monotonic_ns", "offset_ns", "wall_ns")

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.perf_counter_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.monotonic_ns = monotonic_ns
        self.wall_ns = wall_ns
        self.offset_ns = self._measure()

    def now_ns(self) -> int:
        """Unix time in nanoseconds, never going back while the anchor stands."""
        return self.monotonic_ns() + self.offset_ns

    def anchor_again(self) -> bool:
        """Take a stepped wall clock into account; True when it had been stepped."""
        offset = self._measure()
        stepped = abs(offset - self.offset_ns) > STEP_NS
        if stepped:
            self.offset_ns = offset
        return stepped

    def _measure(self) -> int:
        before = self.monotonic_ns()
        wall = self.wall_ns()
        return wall - (before + self.monotonic_ns()) // 2
