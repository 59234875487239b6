"""The values of one completed step, under the names SOFALookout gives them.

A counter has ``count`` and ``rate``; a timer ``elapPerExec``, ``totalTime`` and ``max`` in
seconds; a summary ``rate``, ``totalAmount`` and ``max``; a gauge or an info ``value``. Unlike
SOFALookout, ``totalAmount`` is an amount, not an amount per second, and zeros count.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from .bound import Distribution, Meter
from .family import Definition, Family
from .metric import Kind, Tags
from .native import Native
from .registry import Registry
from .snapshot import NumberPoint
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
    """What a meter had accumulated at the last edge."""

    amount: float
    total: float
    buckets: list[int]


_NOTHING = _State(0, 0.0, [])


class StepReader:
    """Reads the metrics of some priorities of ``registry``, step by step.

    The first reading takes what meters hold as their beginning only if they existed before the
    reader did; a series created later counts from nothing.
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
        self._states: dict[AnyMeter, _State] = {}
        self._baseline()

    def set_step(self, step_ms: int, now_ms: int) -> None:
        """Go on in steps of ``step_ms``; what the current step has so far is given up."""
        self.clock.set_step(now_ms, step_ms)
        self._states.clear()
        self._baseline()

    def _baseline(self) -> None:
        for _, meter in self._meters():
            self._states[meter] = _state(meter)
            if isinstance(meter, Distribution | Native):
                meter.take_max()

    def read(self, now_ms: int) -> list[Indicator]:
        """The indicators of the step completed since the last reading; none before its end."""
        window = self.clock.completed(now_ms)
        if window is None:
            return []
        states = self._states
        self._states = {}
        lines: dict[tuple[str, Tags], Indicator] = {}
        indicators: list[Indicator] = []
        for family, meter in self._meters():
            before, after = states.get(meter, _NOTHING), _state(meter)
            self._states[meter] = after
            values = _values(family.definition, meter, before, after, window)
            if values:
                _add(lines, indicators, family.definition, meter.tags, values, window)
            indicators.extend(_bucket_lines(family.definition, meter, before, after, window))
        return indicators

    def _meters(self) -> Iterator[tuple[Family, AnyMeter]]:
        for family in list(self.registry.families.values()):
            if family.definition.priority in self.priorities:
                series = list(family.series.values())
                for meter in series:
                    if meter.tags or meter.touched or not (family.quiet or len(series) > 1):
                        yield family, meter


def _state(meter: AnyMeter) -> _State:
    point = meter.point()
    if isinstance(meter, Distribution):
        counts = meter.bucket_counts
        return _State(sum(counts), meter.total, counts)
    if isinstance(meter, Native):
        return _State(meter.count, meter.total, [])
    return _State(point.value, 0.0, []) if isinstance(point, NumberPoint) else _NOTHING


def _values(
    definition: Definition, meter: AnyMeter, before: _State, after: _State, window: Window
) -> dict[str, Value]:
    kind = definition.kind
    count = after.amount - before.amount
    total = after.total - before.total
    if kind in (Kind.COUNTER, Kind.UP_DOWN_COUNTER):
        return {"count": count, "rate": count / window.seconds}
    if kind is Kind.GAUGE:
        return _gauge(meter)
    if isinstance(meter, Distribution | Native):
        if kind in TIMERS:
            mean = total / count if count else 0.0
            return {"elapPerExec": mean, "totalTime": total, "max": meter.take_max()}
        return {
            "rate": count / window.seconds,
            "totalAmount": _whole(total),
            "max": _whole(meter.take_max()),
        }
    return {}


def _gauge(meter: AnyMeter) -> dict[str, Value]:
    point = meter.point()
    if isinstance(point, NumberPoint) and math.isfinite(point.value):
        return {"value": float(point.value)}
    return {}  # JSON has no number for it


def _whole(number: float) -> int | float:
    """Sizes are whole numbers in SOFALookout."""
    return int(number) if number.is_integer() else number


def _add(
    lines: dict[tuple[str, Tags], Indicator],
    indicators: list[Indicator],
    definition: Definition,
    tags: Tags,
    values: dict[str, Value],
    window: Window,
) -> None:
    """Put ``values`` on their line: the metric's own, or its mixin's with the same tags."""
    letter = TYPE_LETTERS[definition.kind]
    if not definition.group:
        indicators.append(Indicator(window.end_ms, definition.name, tags, letter, values))
        return
    key = (definition.group, tags)
    line = lines.get(key)
    if line is None:
        line = lines[key] = Indicator(window.end_ms, definition.group, tags, MIXIN, {})
        indicators.append(line)
    component = definition.name.removeprefix(f"{definition.group}.")
    for name, value in values.items():
        line.values[component if name == "value" else f"{component}.{name}"] = value


def _bucket_lines(
    definition: Definition, meter: AnyMeter, before: _State, after: _State, window: Window
) -> Iterator[Indicator]:
    """A line for every bucket something fell into: counts of the step, not cumulative."""
    if not definition.bounds:
        return
    scale = 1000.0 if definition.kind in TIMERS else 1.0  # timers' bounds are told in ms
    edges = ["0", *(_edge(bound * scale) for bound in definition.bounds), ""]
    earlier = before.buckets or [0] * len(after.buckets)
    name = definition.group or definition.name
    component = definition.name.removeprefix(f"{definition.group}.") + "."
    measure = f"{component if definition.group else ''}buckets"
    for (low, high), was, now in zip(pairwise(edges), earlier, after.buckets, strict=True):
        if now > was:
            tags = tuple(sorted({**dict(meter.tags), BUCKET_TAG: f"{low}-{high}"}.items()))
            yield Indicator(window.end_ms, name, tags, "", {measure: now - was})


def _edge(bound: float) -> str:
    rounded = round(bound, 9)
    return str(int(rounded)) if rounded.is_integer() else repr(rounded)
