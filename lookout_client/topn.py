"""The N largest (or smallest) values of a round, whoever has them.

``slowest = TopN(registry, "slow.queries", 10)``, then ``slowest.record(seconds, table="orders")``.
A round is an interval of the priority NORMAL; what is reported is the last round that ended, and
each begins with nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable

from .family import Definition
from .metric import Kind, Tags, checked_name, tag_set
from .registry import Registry
from .snapshot import NumberPoint, Snapshot
from .steps import Priority, StepClock

#: How many tag sets a round remembers for each place, before it throws out the hindmost.
SPARE = 20


class TopN:
    """Ranks what is recorded by value. Each tag set counts once, with its best value.

    Reported as gauges tagged ``n=<places>`` besides their own tags. Equal values are equal ranks
    and all reported, as far as there are places.
    """

    def __init__(
        self,
        registry: Registry,
        name: str,
        places: int,
        *,
        smallest: bool = False,
        round_ms: int = Priority.NORMAL.value,
        unit: str = "",
        description: str = "",
    ) -> None:
        self._definition = Definition(checked_name(name), Kind.GAUGE, unit, "gauge", description)
        self._places = max(int(places), 1)
        self._sign = -1 if smallest else 1
        self._clock_ns = registry.clock_ns
        self._clock = StepClock(self._now_ms(), round_ms)
        self._current: dict[Tags, float] = {}
        self._reported: list[tuple[Tags, float]] = []
        self.close: Callable[[], None] = registry.add_source(self)

    def _now_ms(self) -> int:
        return self._clock_ns() // 1_000_000

    def record(self, value: float, **tags: object) -> None:
        """Take part in the current round. Without tags there is nothing to rank: ignored."""
        key = tag_set(tags)
        try:
            value = float(value)
        except (TypeError, ValueError, OverflowError):
            return
        if not key or not math.isfinite(value):
            return
        self._turn()
        current = self._current
        best = current.get(key)
        if best is None or value * self._sign > best * self._sign:
            current[key] = value
        if len(current) > self._places * SPARE:
            self._trim(current)

    def _trim(self, current: dict[Tags, float]) -> None:
        """Throw out the hindmost, in place: other threads may be recording."""
        seen = dict(current)
        best = dict(self._best(seen))
        for key, value in seen.items():
            if key not in best and current.get(key) == value:
                current.pop(key, None)

    def _turn(self) -> None:
        """End the round if its time is over; one that passed unseen ended with nothing."""
        window = self._clock.completed(self._now_ms())
        if window is not None:
            ended, self._current = self._current, {}
            skipped = self._clock.latest_end_ms() > window.end_ms
            self._reported = [] if skipped else self._best(ended)

    def _best(self, values: dict[Tags, float]) -> list[tuple[Tags, float]]:
        return heapq.nlargest(
            self._places, list(values.items()), key=lambda item: item[1] * self._sign
        )

    def __call__(self) -> Iterable[Snapshot]:
        self._turn()
        places = ("n", str(self._places))
        now_ns = self._clock_ns()
        points = [
            NumberPoint(tuple(sorted({**dict(tags), places[0]: places[1]}.items())), value, now_ns)
            for tags, value in self._reported
        ]
        if points:
            yield Snapshot(self._definition, list(points))
