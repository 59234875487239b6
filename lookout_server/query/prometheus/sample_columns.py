"""Samples as ClickHouse returns them, put into the order the engine wants.

ClickHouse reads parts in parallel, so blocks arrive in any order, but inside of them the samples of
one series stand together in ascending time. Sorting these runs, a few hundred samples each, and
gathering once is several times cheaper than sorting samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from ...metrics.index import Found, UInt64Array
from .source import BoolArray, Float64Array, Int64Array, Labels, ObjectArray, SeriesBlock

AnyArray: TypeAlias = np.ndarray


class SeriesPlaces:
    """Numbers the series of a window from 0, by id."""

    def __init__(self, found: Sequence[Found]) -> None:
        ids = np.concatenate([one.ids for one in found])
        self._order = np.argsort(ids)
        self._sorted: UInt64Array = ids[self._order]
        self.labels: list[Labels] = [labels for one in found for labels in one.labels()]

    def of(self, ids: UInt64Array) -> Int64Array:
        """Number of each id, -1 for one that is not of the window."""
        at = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        return np.where(self._sorted[at] == ids, self._order[at], -1)


@dataclass(frozen=True, slots=True)
class RawSamples:
    """Samples in the order ClickHouse read them."""

    ids: UInt64Array
    times: AnyArray  # milliseconds since start_ms, unsigned 32 bits where that is enough
    start_ms: int
    values: Float64Array
    starts: Int64Array  # as many, or none at all

    @classmethod
    def of(cls, table: pa.Table, start_ms: int) -> RawSamples:
        """The rows of a fetch of id, t (milliseconds since ``start_ms``), v and perhaps st."""
        has_starts = "st" in table.column_names
        starts = column(table, "st").view(np.int64) if has_starts else np.zeros(0, np.int64)
        ids = column(table, "id").view(np.uint64)
        return cls(ids, column(table, "t"), start_ms, column(table, "v"), starts)

    @property
    def timestamps(self) -> Int64Array:
        """Milliseconds since 1970."""
        timestamps: Int64Array = self.times.astype(np.int64)
        timestamps += self.start_ms
        return timestamps

    def newest_per_step(self, end_ms: int, step_ms: int) -> RawSamples:
        """Without samples that another one of their step follows (step 0: all is one step).

        Of what stands together one remains a step; runs of a series apart from each other keep
        one each, so that repeated times are still found.
        """
        if not len(self.ids):
            return self
        last = np.ones(len(self.ids), dtype=np.bool_)
        np.not_equal(self.ids[1:], self.ids[:-1], out=last[:-1])
        if step_ms:
            # Division of unsigned 32 bits is ten times as fast as of signed 64.
            kind = self.times.dtype.type
            until_end = kind(end_ms - self.start_ms) - self.times
            steps = until_end // kind(min(step_ms, np.iinfo(kind).max))
            last[:-1] |= steps[1:] != steps[:-1]
        # Where times stand in disorder the newest is not the last: leave those as they are.
        last[:-1] |= self.times[1:] < self.times[:-1]
        rows = np.flatnonzero(last)
        starts = self.starts[rows] if len(self.starts) else self.starts
        return RawSamples(
            self.ids[rows], self.times[rows], self.start_ms, self.values[rows], starts
        )


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """Samples ordered by series and time; of one time there may be several (see repeats)."""

    series: Int64Array
    timestamps: Int64Array
    values: Float64Array
    starts: Int64Array
    histograms: ObjectArray | None = None

    @classmethod
    def of(cls, samples: RawSamples, places: SeriesPlaces) -> SampleColumns:
        """Samples in the order of their series and times."""
        timestamps = samples.timestamps
        series, order = ordered(samples.ids, timestamps, places)
        return cls(
            series,
            taken(timestamps, order),
            taken(samples.values, order),
            taken(samples.starts, order) if len(samples.starts) else samples.starts,
        )

    def repeats(self) -> bool:
        """Whether a series has two samples of one time."""
        same = (self.series[1:] == self.series[:-1]) & (self.timestamps[1:] == self.timestamps[:-1])
        return bool(same.any())

    def merged(self, other: SampleColumns) -> SampleColumns:
        """Both in one order; where both have a sample of one time, ``other`` has the say."""
        series = np.concatenate([self.series, other.series])
        timestamps = np.concatenate([self.timestamps, other.timestamps])
        # lexsort is stable: of one series and time, other's sample comes last.
        order = np.lexsort((timestamps, series))
        series, timestamps = series[order], timestamps[order]
        last = np.ones(len(order), dtype=np.bool_)
        last[:-1] = (series[1:] != series[:-1]) | (timestamps[1:] != timestamps[:-1])
        order = order[last]
        return SampleColumns(
            series[last],
            timestamps[last],
            np.concatenate([self.values, other.values])[order],
            np.concatenate([self._all_starts(), other._all_starts()])[order],
            np.concatenate([self._all_histograms(), other._all_histograms()])[order],
        )

    def block(self, places: SeriesPlaces, *, with_starts: bool) -> SeriesBlock:
        """What the engine takes; series without a sample are left out."""
        counts = np.bincount(self.series, minlength=len(places.labels))
        present = np.flatnonzero(counts)
        offsets = np.zeros(len(present) + 1, dtype=np.int64)
        np.cumsum(counts[present], out=offsets[1:])
        starts = self._all_starts()
        return SeriesBlock(
            labels=[places.labels[place] for place in present.tolist()],
            offsets=offsets,
            timestamps=self.timestamps,
            values=self.values,
            histograms=self.histograms,
            start_timestamps=starts if with_starts and starts.any() else None,
        )

    def _all_starts(self) -> Int64Array:
        if len(self.starts) == len(self.timestamps):
            return self.starts
        return np.zeros(len(self.timestamps), dtype=np.int64)

    def _all_histograms(self) -> ObjectArray:
        if self.histograms is not None:
            return self.histograms
        return np.full(len(self.timestamps), None, dtype=object)


def column(table: pa.Table, name: str) -> np.ndarray:
    """A column's values, whatever its type, without a copy where it is one chunk."""
    chunks = [_flat(chunk) for chunk in table.column(name).chunks]
    if not chunks:
        return np.zeros(0, dtype=np.int64 if name != "v" else np.float64)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _flat(chunk: pa.Array) -> np.ndarray:
    if pa.types.is_timestamp(chunk.type):
        chunk = chunk.view(pa.int64())
    values: np.ndarray = chunk.to_numpy(zero_copy_only=False)
    return values


class Order:
    """How rows are put in order: whole runs that stand together, or single rows."""

    #: Copying a run costs as much as gathering so many rows one by one.
    _WORTH_COPYING = 16

    def __init__(self, starts: Int64Array, lengths: Int64Array) -> None:
        """Runs in the order wanted."""
        self._rows: Int64Array | None = None
        self._runs: list[slice] | None = None
        rows = int(lengths.sum())
        if rows >= self._WORTH_COPYING * len(lengths):
            ends = starts + lengths
            self._runs = [slice(*run) for run in zip(starts.tolist(), ends.tolist(), strict=True)]
        else:
            self._rows = _concatenated_ranges(starts, lengths)

    def then(self, rows: Int64Array) -> None:
        """Put what this order gives into another one."""
        current = self(np.arange(self._end())) if self._rows is None else self._rows
        self._rows, self._runs = current[rows], None

    def _end(self) -> int:
        return max((run.stop for run in self._runs or ()), default=0)

    def __call__(self, values: AnyArray) -> AnyArray:
        """The values in order."""
        if self._rows is not None:
            return values[self._rows]
        return np.concatenate([values[:0], *(values[run] for run in self._runs or ())])


def ordered(
    ids: UInt64Array, timestamps: Int64Array, places: SeriesPlaces
) -> tuple[Int64Array, Order | None]:
    """Series numbers in order, and how to put rows in that order (None: they are)."""
    if not len(ids):
        return np.zeros(0, dtype=np.int64), None
    heads = np.flatnonzero(np.concatenate([[True], (ids[1:] != ids[:-1])]))
    lengths = np.diff(np.append(heads, len(ids)))
    numbers = places.of(ids[heads])
    wanted = numbers >= 0
    by_series = np.lexsort((timestamps[heads], numbers))
    by_series = by_series[wanted[by_series]]
    order = None
    if len(by_series) != len(heads) or (by_series[1:] < by_series[:-1]).any():
        order = Order(heads[by_series], lengths[by_series])
    series = np.repeat(numbers[by_series], lengths[by_series])
    times = taken(timestamps, order)
    if _descends(series, times):
        order = order or Order(heads, lengths)
        order.then(np.lexsort((times, series)))
    return series, order


def _descends(series: Int64Array, times: Int64Array) -> bool:
    falls: BoolArray = (times[1:] < times[:-1]) & (series[1:] == series[:-1])
    return bool(falls.any())


def _concatenated_ranges(starts: Int64Array, lengths: Int64Array) -> Int64Array:
    """``[*range(s0, s0 + l0), *range(s1, s1 + l1), ...]``"""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)


def taken(values: AnyArray, order: Order | None) -> AnyArray:
    """The values in an order."""
    return values if order is None else order(values)
