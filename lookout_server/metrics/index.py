"""The series of one tenant in memory: which labels they have, and which of them match.

The truth is the table ``series``; the index follows it by reading what was added since it last
looked, so that any number of collectors may write to one database. Label columns are built when a
query first asks for a label, as codes into a list of distinct values: a matcher then looks at each
distinct value once, and at the series with one NumPy comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..query.prometheus.matchers import Matcher, MatchType
from .known import FLOATS, HISTOGRAMS, STARTED
from .series import METRIC_NAME, Labels

UInt64Array: TypeAlias = npt.NDArray[np.uint64]
Int64Array: TypeAlias = npt.NDArray[np.int64]
Int32Array: TypeAlias = npt.NDArray[np.int32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


class LabelColumn:
    """Values of one label over the series of a metric; code 0 is "no such label"."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: list[str] = [""]
        self.codes: Int32Array = np.zeros(0, dtype=np.int32)
        self._lookup: dict[str, int] = {"": 0}
        self._arrow: pa.Array | None = None
        self._sorted: list[str] = []

    def sorted(self) -> list[str]:
        """The distinct values in order, without "". Not to be changed."""
        if len(self._sorted) != len(self.values) - 1:
            self._sorted = sorted(self.values[1:])
        return self._sorted

    def extend(self, labels: Sequence[Labels]) -> None:
        """Take in the series that were added since the last call (``labels`` are all)."""
        new = labels[len(self.codes) :]
        if not new:
            return
        codes = np.fromiter((self._code(one) for one in new), dtype=np.int32, count=len(new))
        self.codes = np.concatenate([self.codes, codes])

    def mask(self, matcher: Matcher) -> BoolArray:
        """Which series fulfil the matcher."""
        if matcher.type.is_regex:
            return self._matching(matcher)[self.codes]
        code = self._lookup.get(matcher.value, -1)
        if matcher.type is MatchType.EQUAL:
            same: BoolArray = self.codes == code
            return same
        different: BoolArray = self.codes != code
        return different

    def _matching(self, matcher: Matcher) -> BoolArray:
        """Which of the values fulfil a regex matcher: RE2 over all of them at once."""
        if self._arrow is None or len(self._arrow) != len(self.values):
            self._arrow = pa.array(self.values, pa.string())
        found = pc.match_substring_regex(self._arrow, f"^(?s:{matcher.value})$")
        matching: BoolArray = found.to_numpy(zero_copy_only=False)
        return ~matching if matcher.type.is_negative else matching

    def _code(self, labels: Labels) -> int:
        for name, value in labels:
            if name == self.name:
                code = self._lookup.get(value)
                if code is None:
                    code = self._lookup[value] = len(self.values)
                    self.values.append(value)
                return code
        return 0


class Metric:
    """All series of one metric name."""

    def __init__(self, name: str, mid: int) -> None:
        self.name = name
        self.mid = mid
        self.labels: list[Labels] = []
        self.has_floats = False
        self.has_histograms = False
        self.has_starts = False
        self.label_names: set[str] = set()
        self._ids: list[int] = []
        self._places: dict[int, int] = {}
        self._first: list[int] = []
        self._last: list[int] = []
        self._columns: dict[str, LabelColumn] = {}
        self._arrays: tuple[UInt64Array, Int64Array, Int64Array] | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, id_: int, labels: Labels, first: int, last: int, kinds: int) -> None:
        """A series seen from day ``first`` to day ``last`` (midnights, Unix s)."""
        self._arrays = None
        self.has_floats |= bool(kinds & (1 << FLOATS | 1 << STARTED))
        self.has_histograms |= bool(kinds & 1 << HISTOGRAMS)
        self.has_starts |= bool(kinds & 1 << STARTED)
        place = self._places.get(id_)
        if place is None:
            self._places[id_] = len(self._ids)
            self._ids.append(id_)
            self.labels.append(labels)
            self.label_names.update(name for name, _ in labels)
            self._first.append(first)
            self._last.append(last)
        else:
            self._first[place] = min(first, self._first[place])
            self._last[place] = max(last, self._last[place])

    def knows(self, id_: int) -> bool:
        return id_ in self._places

    @property
    def ids(self) -> UInt64Array:
        return self._columns_of_days()[0]

    def places(self, matchers: Iterable[Matcher], first: int, last: int) -> Int64Array:
        """Indexes of the series that match and were seen between two times (Unix s)."""
        _, firsts, lasts = self._columns_of_days()
        mask: BoolArray = (firsts <= last) & (lasts + 86_400 > first)
        for matcher in matchers:
            mask &= self.column(matcher.name).mask(matcher)
        return np.flatnonzero(mask)

    def column(self, name: str) -> LabelColumn:
        """The values of one label, up to date."""
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = LabelColumn(name)
        column.extend(self.labels)
        return column

    def _columns_of_days(self) -> tuple[UInt64Array, Int64Array, Int64Array]:
        if self._arrays is None:
            self._arrays = (
                np.array(self._ids, dtype=np.uint64),
                np.array(self._first, dtype=np.int64),
                np.array(self._last, dtype=np.int64),
            )
        return self._arrays


@dataclass(frozen=True, slots=True)
class Found:
    """Series of one metric that match a selector."""

    metric: Metric
    places: Int64Array

    @property
    def ids(self) -> UInt64Array:
        return self.metric.ids[self.places]

    @property
    def all(self) -> bool:
        """Whether every series of the metric is among them."""
        return len(self.places) == len(self.metric)

    def values(self, name: str) -> list[str]:
        """Distinct values of one label in order, without "". Not to be changed."""
        column = self.metric.column(name)
        if self.all:
            return column.sorted()
        codes = np.unique(column.codes[self.places]).tolist()
        return sorted(column.values[code] for code in codes if code)

    def labels(self) -> Iterator[Labels]:
        """The label sets."""
        return (self.metric.labels[place] for place in self.places.tolist())


class SeriesIndex:
    """All metrics of one tenant. Not thread-safe: see :class:`.catalog.Catalog`."""

    def __init__(self) -> None:
        self._metrics: dict[int, Metric] = {}
        self._by_name: dict[str, Metric] = {}
        self.size = 0

    def add(self, mid: int, id_: int, labels: Labels, first: int, last: int, kinds: int) -> None:
        """See :meth:`Metric.add`; ``kinds`` has a bit for each kind of :mod:`.known`."""
        metric = self._metrics.get(mid)
        if metric is None:
            metric = self._metrics[mid] = Metric(_name(labels), mid)
            self._by_name[metric.name] = metric
        before = len(metric)
        metric.add(id_, labels, first, last, kinds)
        self.size += len(metric) - before

    def knows(self, mid: int, id_: int) -> bool:
        """Whether the series is in the index."""
        metric = self._metrics.get(mid)
        return metric is not None and metric.knows(id_)

    def extend_days(self, mid: int, id_: int, first: int, last: int, kinds: int) -> None:
        """A known series was seen on more days."""
        self._metrics[mid].add(id_, (), first, last, kinds)

    def select(self, matchers: Sequence[Matcher], first: int, last: int) -> list[Found]:
        """What matches between two times (Unix s), metric by metric."""
        of_name = [m for m in matchers if m.name == METRIC_NAME]
        others = [m for m in matchers if m.name != METRIC_NAME]
        found = [
            Found(metric, metric.places(others, first, last)) for metric in self._named(of_name)
        ]
        return [one for one in found if len(one.places)]

    def _named(self, matchers: Sequence[Matcher]) -> list[Metric]:
        for matcher in matchers:
            if matcher.type is MatchType.EQUAL:
                metric = self._by_name.get(matcher.value)
                candidates = [] if metric is None else [metric]
                break
        else:
            candidates = list(self._metrics.values())
        return [c for c in candidates if all(m.matches(c.name) for m in matchers)]


def _name(labels: Labels) -> str:
    return next((value for name, value in labels if name == METRIC_NAME), "")
