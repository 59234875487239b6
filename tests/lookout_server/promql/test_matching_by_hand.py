"""Binary operators between vectors, beside a matcher that goes through one step at a time.

The reference knows nothing of arrays: it takes the samples of one moment, forms the match groups
and pairs them as the documentation of operators tells it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from lookout_server.query.prometheus.context import EngineOptions
from lookout_server.query.prometheus.engine import Engine
from lookout_server.query.prometheus.errors import ExecutionError
from lookout_server.query.prometheus.features import ALL
from lookout_server.query.prometheus.histogram import Histogram
from lookout_server.query.prometheus.source import MemorySource

from .native_histograms import contents, native
from .properties import THOROUGH

_MINUTE = 60_000
_STEPS = 3
_ONE = native({0: 1.0, 1: 2.0}, sum=3.0)
_OTHER = native({0: 2.0, 1: 2.0}, sum=5.0)

Sample: TypeAlias = float | Histogram
Set: TypeAlias = tuple[tuple[str, str], ...]
Side: TypeAlias = dict[Set, list[Sample | None]]
Samples: TypeAlias = st.SearchStrategy[Sample | None]
Vector: TypeAlias = list[tuple[Set, Sample]]

Operator: TypeAlias = Callable[[float, float], float]

_ARITHMETIC: dict[str, Operator] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "%": lambda a, b: math.fmod(a, b) if b and math.isfinite(a) else math.nan,
}
_COMPARISON: dict[str, Callable[[float, float], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
}
_SETS = ("and", "or", "unless")


@dataclass(frozen=True)
class Case:
    """One operation and what it is applied to: per side the samples of each series by step."""

    op: str
    left: Side
    right: Side
    on: bool = False
    names: tuple[str, ...] = ()
    card: str = ""  # group_left, group_right or nothing
    include: tuple[str, ...] = ()
    returns_bool: bool = False
    fills: tuple[float | None, float | None] = (None, None)

    @property
    def query(self) -> str:
        parts = ["l", self.op, "bool" if self.returns_bool else ""]
        parts.append(f"{'on' if self.on else 'ignoring'} ({', '.join(self.names)})")
        if self.card:
            parts.append(f"{self.card} ({', '.join(self.include)})")
        for side, fill in zip(("left", "right"), self.fills, strict=True):
            parts.append("" if fill is None else f"fill_{side} ({fill})")
        return " ".join([part for part in parts if part] + ["r"])

    def at(self, step: int) -> tuple[Vector, Vector]:
        def of(side: Side, name: str) -> Vector:
            return [
                ((("__name__", name), *labels), sample)
                for labels, samples in side.items()
                if (sample := samples[step]) is not None
            ]

        return of(self.left, "l"), of(self.right, "r")


class _TypesError(Exception):
    """An operator that has no meaning between two samples."""


@dataclass
class _OneStep:
    """The reference, at one step."""

    case: Case
    result: dict[Set, Sample] = field(default_factory=dict)
    met: dict[Set, set[Set]] = field(default_factory=dict)
    infos: int = 0

    def group(self, labels: Set) -> Set:
        names = self.case.names
        if self.case.on:
            return tuple(pair for pair in labels if pair[0] in names)
        return tuple(pair for pair in labels if pair[0] not in (*names, "__name__"))

    def run(self, left: Vector, right: Vector) -> dict[Set, Sample]:
        if self.case.op in _SETS:
            return self.set_operation(left, right)
        if not left and not right:
            return {}
        if not (left and right) and self.case.fills == (None, None):
            return {}
        many, one = (right, left) if self.case.card == "group_right" else (left, right)
        self.match(many, self.unique(one))
        return self.result

    def set_operation(self, left: Vector, right: Vector) -> dict[Set, Sample]:
        ours, theirs = ({self.group(labels) for labels, _ in side} for side in (left, right))
        if self.case.op == "or":
            return dict(left + [each for each in right if self.group(each[0]) not in ours])
        wanted = self.case.op == "and"
        return dict(each for each in left if (self.group(each[0]) in theirs) is wanted)

    def unique(self, one: Vector) -> dict[Set, tuple[Set, Sample]]:
        groups: dict[Set, tuple[Set, Sample]] = {}
        for labels, sample in one:
            if self.group(labels) in groups:
                raise ExecutionError("found duplicate series for the match group")
            groups[self.group(labels)] = labels, sample
        return groups

    def match(self, many: Vector, one: dict[Set, tuple[Set, Sample]]) -> None:
        many_fill, one_fill = self.case.fills
        for labels, sample in many:
            group = self.group(labels)
            if group in one:
                self.combine(labels, sample, *one[group])
            elif one_fill is not None:
                self.combine(labels, sample, group, one_fill)
        for group, (labels, sample) in one.items():
            if many_fill is not None and group not in self.met:
                self.combine(group, many_fill, labels, sample)

    def combine(self, many: Set, sample: Sample, one: Set, other: Sample) -> None:
        swapped = self.case.card == "group_right"
        operands = (other, sample) if swapped else (sample, other)
        try:
            value, keep = self.value(*operands)
        except _TypesError:
            self.infos += 1
            return
        labels = self.labels(many, one)
        earlier = self.met.setdefault(self.group(many), set())
        if earlier and not self.case.card:
            raise ExecutionError("many-to-one matching must be explicit")
        if labels in earlier:
            raise ExecutionError("grouping labels must ensure unique matches")
        earlier.add(labels)
        if self.case.returns_bool:
            unnamed = tuple(pair for pair in labels if pair[0] != "__name__")
            self.result[unnamed] = float(keep)
        elif keep:
            self.result[labels] = value

    def value(self, left: Sample, right: Sample) -> tuple[Sample, bool]:
        op = self.case.op
        if isinstance(left, float) and isinstance(right, float):
            if op in _COMPARISON:
                return left, _COMPARISON[op](left, right)
            return _ARITHMETIC[op](left, right), True
        if isinstance(left, Histogram) and isinstance(right, Histogram):
            if op in ("==", "!="):
                return left, (contents(left) == contents(right)) is (op == "==")
            if op == "+":
                pairs = zip(contents(left).values(), contents(right).values(), strict=True)
                counts = {index: sum(pair) for index, pair in enumerate(pairs)}
                return native(counts, sum=left.sum + right.sum), True
        if op == "*" and isinstance(left, Histogram) is not isinstance(right, Histogram):
            histogram, factor = (left, right) if isinstance(left, Histogram) else (right, left)
            assert isinstance(histogram, Histogram) and isinstance(factor, float)
            return histogram * factor, True
        raise _TypesError

    def labels(self, many: Set, one: Set) -> Set:
        case, result = self.case, dict(many)
        if case.op in _ARITHMETIC:
            result.pop("__name__", None)
        if not case.card:
            result = {n: v for n, v in result.items() if (n in case.names) is case.on}
        for name in case.include:
            result.pop(name, None)
            if name in dict(one):
                result[name] = dict(one)[name]
        return tuple(sorted(result.items()))


_SETS_OF_LABELS = [
    tuple((name, value) for name, value in (("g", g), ("k", k)) if value)
    for g in ("a", "b")
    for k in ("", "1", "2")
]


def _sides(samples: Samples) -> st.SearchStrategy[Side]:
    series = st.lists(samples, min_size=_STEPS, max_size=_STEPS)
    return st.dictionaries(st.sampled_from(_SETS_OF_LABELS), series, max_size=4)


_NUMBERS = st.sampled_from([None, 0.0, 1.0, 2.0, -3.0, math.nan])


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    op = draw(st.sampled_from([*_ARITHMETIC, *_COMPARISON, *_SETS]))
    fills: tuple[float | None, float | None] = (None, None)
    samples: Samples = _NUMBERS
    if op not in _SETS and draw(st.booleans()):
        fills = draw(st.tuples(*[st.sampled_from([None, 0.0, 7.0])] * 2))
    if op not in ("-", "%"):
        samples = st.one_of(_NUMBERS, st.sampled_from([_ONE, _OTHER]))
    on = draw(st.booleans())
    names = draw(st.sampled_from([(), ("g",), ("k",), ("g", "k")]))
    card = "" if op in _SETS else draw(st.sampled_from(["", "", "group_left", "group_right"]))
    labels = [name for name in ("g", "k") if not (on and name in names)]
    include = draw(st.sampled_from([(), *((name,) for name in labels)])) if card else ()
    returns_bool = op in _COMPARISON and draw(st.booleans())
    left, right = draw(_sides(samples)), draw(_sides(samples))
    return Case(op, left, right, on, names, card, include, returns_bool, fills)


def _source(case: Case) -> MemorySource:
    source = MemorySource()
    for name, side in (("l", case.left), ("r", case.right)):
        for labels, samples in side.items():
            there = [(at * _MINUTE, s) for at, s in enumerate(samples) if s is not None]
            if there:
                times, values = zip(*there, strict=True)
                source.add({"__name__": name, **dict(labels)}, list(times), list(values))
    return source


def _expected(case: Case) -> tuple[dict[tuple[Set, int], Sample], int] | str:
    found: dict[tuple[Set, int], Sample] = {}
    infos = 0
    for step in range(_STEPS):
        reference = _OneStep(case)
        try:
            result = reference.run(*case.at(step))
        except ExecutionError as error:
            return str(error)
        infos += reference.infos
        found |= {(labels, step): sample for labels, sample in result.items()}
    return found, infos


def _comparable(samples: dict[tuple[Set, int], Sample]) -> Iterator[tuple[object, ...]]:
    for (labels, step), sample in sorted(samples.items(), key=lambda item: item[0]):
        if isinstance(sample, Histogram):
            shown: object = (sample.count, sample.sum, tuple(contents(sample).values()))
        else:
            shown = sample
        yield labels, step, str(shown)


@settings(THOROUGH, max_examples=400)
@given(_cases())
def test_steps_are_matched_as_the_documentation_says(case: Case) -> None:
    """Values, labels, errors and infos of an operator are those of matching each step by hand."""
    options = EngineOptions(features=ALL, lookback_ms=_MINUTE)
    expected = _expected(case)
    try:
        result = Engine(options).range(
            case.query, 0, (_STEPS - 1) * _MINUTE, _MINUTE, _source(case)
        )
    except ExecutionError as error:
        assert isinstance(expected, str), f"{case.query}: only the engine fails: {error}"
        return  # which of several failing steps is told of is not said anywhere
    assert not isinstance(expected, str), f"{case.query}: only the reference fails: {expected}"
    samples, infos = expected
    found: dict[tuple[Set, int], Sample] = {}
    for row, labels in enumerate(result.labels):
        for index in range(int(result.offsets[row]), int(result.offsets[row + 1])):
            histogram = None if result.histograms is None else result.histograms[index]
            value = float(result.values[index]) if histogram is None else histogram
            found[labels, int(result.timestamps[index]) // _MINUTE] = value
    assert list(_comparable(found)) == list(_comparable(samples)), case.query
    assert bool(result.infos) is bool(infos), case.query
