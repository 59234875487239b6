"""Many native histograms of the same layout as one matrix, for arithmetic without loops.

A row is a histogram: number and sum of observations, the zero bucket, then all buckets that any
of them has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .histogram import Buckets, Histogram, ResetHint
from .source import BoolArray, Float64Array, Int64Array

COUNT, SUM, _ZERO, _FIRST = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Layout:
    """What histograms must have in common, and the buckets that they have together."""

    schema: int
    zero_threshold: float
    custom_values: tuple[float, ...]
    positive: Int64Array
    negative: Int64Array

    @classmethod
    def of(cls, items: Iterable[Histogram]) -> Layout | None:
        """The layout that suits all; None where they differ too much for a common one."""
        first: Histogram | None = None
        positive, negative = _Union(), _Union()
        for item in items:
            if first is None:
                first = item
            elif (
                item.schema != first.schema
                or item.zero_threshold != first.zero_threshold
                or item.custom_values != first.custom_values
            ):
                return None
            positive.add(item.positive)
            negative.add(item.negative)
        if first is None:
            return None
        return cls(
            first.schema,
            first.zero_threshold,
            first.custom_values,
            positive.indices(),
            negative.indices(),
        )

    @property
    def width(self) -> int:
        """Columns of a matrix."""
        return _FIRST + len(self.positive) + len(self.negative)

    def matrix(self, items: Sequence[Histogram | None]) -> Float64Array:
        """A row per item; of zeros for None."""
        cells = np.zeros((len(items), self.width))
        places = _Places(self)
        for row, item in zip(cells, items, strict=True):
            if item is not None:
                row[COUNT], row[SUM], row[_ZERO] = item.count, item.sum, item.zero_count
                places.fill(row, item)
        return cells

    def histograms(self, cells: Float64Array, hints: Sequence[ResetHint]) -> list[Histogram]:
        """The rows as histograms, without empty buckets."""
        middle = _FIRST + len(self.positive)
        return [
            Histogram(
                schema=self.schema,
                count=count,
                sum=total,
                zero_threshold=self.zero_threshold,
                zero_count=zero,
                positive=Buckets(self.positive, row[_FIRST:middle]).compact(),
                negative=Buckets(self.negative, row[middle:]).compact(),
                custom_values=self.custom_values,
                hint=hint,
            )
            for row, (count, total, zero), hint in zip(
                cells, cells[:, :_FIRST].tolist(), hints, strict=True
            )
        ]


class _Union:
    """Bucket indices that turn up; most histograms of a series share one array of them."""

    def __init__(self) -> None:
        self._seen: dict[bytes, Int64Array] = {}
        self._last: Int64Array | None = None

    def add(self, buckets: Buckets) -> None:
        if buckets.indices is not self._last:
            self._last = buckets.indices
            self._seen.setdefault(self._last.tobytes(), self._last)

    def indices(self) -> Int64Array:
        parts = list(self._seen.values())
        return parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))


class _Places:
    """Where a histogram's buckets stand in a row."""

    def __init__(self, layout: Layout) -> None:
        middle = _FIRST + len(layout.positive)
        self._positive = _Side(layout.positive, _FIRST)
        self._negative = _Side(layout.negative, middle)

    def fill(self, row: Float64Array, item: Histogram) -> None:
        self._positive.fill(row, item.positive)
        self._negative.fill(row, item.negative)


class _Side:
    def __init__(self, indices: Int64Array, start: int) -> None:
        self._indices = indices
        self._start = start
        self._known: dict[bytes, Int64Array] = {}
        self._last: Int64Array | None = None
        self._columns: Int64Array = np.zeros(0, dtype=np.int64)

    def fill(self, row: Float64Array, buckets: Buckets) -> None:
        if not len(buckets):
            return
        if buckets.indices is not self._last:
            self._last = buckets.indices
            key = self._last.tobytes()
            if key not in self._known:
                found = np.searchsorted(self._indices, self._last) + self._start
                self._known[key] = found
            self._columns = self._known[key]
        row[self._columns] = buckets.counts


def resets(cells: Float64Array, hints: Sequence[ResetHint]) -> BoolArray:
    """Per row, whether a counter was reset between the row before and it.

    Where the hint does not say, a reset is what makes any count fall.
    """
    flags = np.zeros(len(cells), dtype=np.bool_)
    counts = np.delete(cells, SUM, axis=1)
    flags[1:] = (counts[1:] < counts[:-1]).any(axis=1)
    for row, hint in enumerate(hints):
        if hint is ResetHint.RESET:
            flags[row] = True
        elif hint is ResetHint.NOT_RESET:
            flags[row] = False
    flags[:1] = False
    return flags
