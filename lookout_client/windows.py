"""The values of one completed step, under the names SOFALookout gives them.

A counter has ``count`` and ``rate``; a timer ``elapPerExec``, ``totalTime`` and ``max`` in
seconds; a summary ``rate``, ``totalAmount`` and ``max``; a gauge or an info ``value``. Unlike
SOFALookout, ``totalAmount`` is an amount, not an amount per second, and zeros count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .bound import Distribution, Meter
from .family import Definition
from .info import BoundInfo
from .metric import Kind, Tags
from .native import Native
from .registry import Registry
from .snapshot import BucketPoint, NumberPoint, Point
from .steps import Priority, StepClock, Window

Value = int | float | str
AnyMeter = Meter[Any]

#: What each meter is called in the tag ``_type_``.
TYPE_LETTERS = {
    Kind.INFO: "i",
    Kind.COUNTER: "c",
    Kind.UP_DOWN_COUNTER: "c",
    Kind.TIMER: "t",
    Kind.NATIVE_TIMER: "t",
    Kind.GAUGE: "g",
    Kind.SUMMARY: "d",
    Kind.HISTOGRAM: "d",
    Kind.NATIVE_HISTOGRAM: "d",
}
MIXIN = "m"
BUCKET_TAG = "_bucket"
TIMERS = (Kind.TIMER, Kind.NATIVE_TIMER)


class Indicator(NamedTuple):
    """One metric's values in one window. ``type`` is empty on the lines of buckets."""

    time_ms: int  # the end of the window, Unix epoch
    name: str
    tags: Tags
    type: str
    values: dict[str, Value]


class _State(NamedTuple):
    """What a series had accumulated at the last edge."""

    amount: float
    total: float
    buckets: list[int]


_NOTHING = _State(0, 0.0, [])


class _Reading(NamedTuple):
    """One series at an edge. ``meter`` is None for what comes from a source."""

    definition: Definition
    point: Point
    meter: AnyMeter | None


class StepReader:
    """Reads the metrics of some priorities of ``registry``, step by step.

    What meters hold when the reader begins is its beginning; a series created later counts from
    nothing. What sources add to the registry has the priority NORMAL.
    """

    def __init__(
        self,
        registry: Registry,
        step_ms: int,
        now_ms: int,
        priorities: Collection[Priority] = tuple(Priority),
    ) -> None:
        self.registry = registry
        self.priorities = priorities
        self.clock = StepClock(now_ms, step_ms)
        #: A series that expires and comes back goes on where it was, so these are kept for it.
        self._states: WeakKeyDictionary[AnyMeter, _State] = WeakKeyDictionary()
        self._source_states: dict[object, _State] = {}
        self._baseline()

    def begin_again(self, now_ms: int) -> None:
        """Go on in a forked child, where every series counts from nothing."""
        self.clock.set_step(now_ms, self.clock.step_ms)
        self._states.clear()
        self._source_states = {}

    def set_step(self, step_ms: int, now_ms: int) -> None:
        """Go on in steps of ``step_ms``; what the current step has so far is given up."""
        self.clock.set_step(now_ms, step_ms)
        self._baseline()

    def _baseline(self) -> None:
        self.registry.maxima.join(self, self.priorities)
        for reading in self._readings():
            self._exchange(reading, _state(reading.point), self._source_states)
            self._largest(reading.meter)

    def _exchange(
        self, reading: _Reading, now: _State, source_states: dict[object, _State]
    ) -> _State:
        """Remember what a series has now; the answer is what it had at the last edge."""
        meter, key = reading.meter, (reading.definition.name, reading.point.tags)
        if meter is None:
            self._source_states[key] = now
            return source_states.get(key, _NOTHING)
        before = self._states.get(meter, _NOTHING)
        self._states[meter] = now
        return before

    def _largest(self, meter: AnyMeter | None) -> float:
        if isinstance(meter, Distribution | Native):
            return self.registry.maxima.take(self, meter)
        return 0.0

    def read(self, now_ms: int) -> list[Indicator]:
        """The indicators of the step completed since the last reading; none before its end."""
        window = self.clock.completed(now_ms)
        if window is None:
            return []
        source_states, self._source_states = self._source_states, {}
        mixins: dict[tuple[str, Tags], Indicator] = {}
        indicators: list[Indicator] = []
        for reading in self._readings():
            after = _state(reading.point)
            before = self._exchange(reading, after, source_states)
            values = _values(reading, before, after, window, self._largest(reading.meter))
            if values:
                _add(mixins, indicators, reading, values, window)
            indicators.extend(_bucket_lines(reading, before, after, window))
        return indicators

    def _readings(self) -> Iterator[_Reading]:
        for family in list(self.registry.families.values()):
            if family.definition.priority in self.priorities:
                series = list(family.series.values())
                for meter in series:
                    if meter.tags or meter.touched or not (family.quiet or len(series) > 1):
                        point = meter.point()
                        if point is not None:
                            yield _Reading(family.definition, point, meter)
        if Priority.NORMAL in self.priorities:
            for definition, points in self.registry.read_sources():
                for point in points:
                    yield _Reading(definition, point, None)


def _state(point: Point) -> _State:
    if isinstance(point, NumberPoint):
        return _State(point.value, 0.0, [])
    counts = point.counts if isinstance(point, BucketPoint) else []
    return _State(point.recorded, point.total, counts)


def _values(
    reading: _Reading, before: _State, after: _State, window: Window, largest: float
) -> dict[str, Value]:
    kind = reading.definition.kind
    if kind in (Kind.COUNTER, Kind.UP_DOWN_COUNTER):
        amount = after.amount - before.amount
        return {"count": amount, "rate": amount / window.seconds}
    if kind is Kind.GAUGE:  # JSON has no number for NaN and infinities
        return {"value": float(after.amount)} if math.isfinite(after.amount) else {}
    if kind is Kind.INFO:
        return _info(reading, window)
    count = int(after.amount - before.amount)
    total = after.total - before.total
    if kind in TIMERS:
        mean = total / count if count else 0.0
        return {"elapPerExec": mean, "totalTime": total, "max": largest}
    rate = count / window.seconds
    return {"rate": rate, "totalAmount": _whole(total), "max": _whole(largest)}


def _info(reading: _Reading, window: Window) -> dict[str, Value]:
    meter = reading.meter
    if not isinstance(meter, BoundInfo):
        facts = reading.point.tags
    elif meter.is_due(window.step_ms, window.end_ms):
        facts = meter.facts or ()
    else:
        return {}
    return {"value": json.dumps(dict(facts), ensure_ascii=False)}


def _whole(number: float) -> int | float:
    """Sizes are whole numbers in SOFALookout."""
    return int(number) if number.is_integer() else number


def _add(
    mixins: dict[tuple[str, Tags], Indicator],
    indicators: list[Indicator],
    reading: _Reading,
    values: dict[str, Value],
    window: Window,
) -> None:
    """Put ``values`` on their line: the metric's own, or its mixin's with the same tags."""
    definition, tags = reading.definition, reading.point.tags
    if not definition.group:
        letter = TYPE_LETTERS[definition.kind]
        own = reading.meter.tags if reading.meter is not None else tags
        indicators.append(Indicator(window.end_ms, definition.name, own, letter, values))
        return
    line = mixins.get((definition.group, tags))
    if line is None:
        line = Indicator(window.end_ms, definition.group, tags, MIXIN, {})
        mixins[definition.group, tags] = line
        indicators.append(line)
    component = definition.name.removeprefix(f"{definition.group}.")
    for name, value in values.items():
        line.values[component if name == "value" else f"{component}.{name}"] = value


def _bucket_lines(
    reading: _Reading, before: _State, after: _State, window: Window
) -> Iterator[Indicator]:
    """A line for every bucket something fell into: counts of the step, not cumulative."""
    definition = reading.definition
    if not definition.bounds:
        return
    scale = 1000.0 if definition.kind in TIMERS else 1.0  # timers' bounds are told in ms
    edges = ["0", *(_edge(bound * scale) for bound in definition.bounds), ""]
    earlier = before.buckets or [0] * len(after.buckets)
    name, measure = definition.name, "buckets"
    if definition.group:
        name, measure = definition.group, f"{name.removeprefix(f'{definition.group}.')}.buckets"
    for (low, high), was, now in zip(pairwise(edges), earlier, after.buckets, strict=True):
        if now > was:
            tags = {**dict(reading.point.tags), BUCKET_TAG: f"{low}-{high}"}
            pairs = tuple(sorted(tags.items()))
            yield Indicator(window.end_ms, name, pairs, "", {measure: now - was})


def _edge(bound: float) -> str:
    rounded = round(bound, 9)
    return str(int(rounded)) if rounded.is_integer() else repr(rounded)
