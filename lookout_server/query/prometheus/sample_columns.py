"""Samples as ClickHouse returns them, and in the order the engine wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...metrics.index import Found, UInt64Array
from .runs import AnyArray, Pieces, Runs, joined
from .source import BoolArray, Float64Array, Int64Array, Labels, ObjectArray, SeriesBlock


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
    """A block of samples in the order ClickHouse read them."""

    ids: UInt64Array
    times: AnyArray  # milliseconds since the window's start, unsigned 32 bits if that is enough
    values: Float64Array
    starts: Int64Array  # as many, or none at all

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> RawSamples:
        """The rows of a fetch of id, t (milliseconds since a start), v and perhaps st."""
        has_starts = "st" in batch.schema.names
        starts = flat(batch.column("st")).view(np.int64) if has_starts else np.zeros(0, np.int64)
        ids = flat(batch.column("id")).view(np.uint64)
        return cls(ids, flat(batch.column("t")), flat(batch.column("v")), starts)

    def newest_per_step(self, last: int, step_ms: int) -> RawSamples:
        """Without samples that another one of their step follows (step 0: all is one step).

        Steps end at ``last``, in the units of ``times``, or a whole number of steps before it. Of
        what stands together one remains a step; runs of a series apart from each other keep one
        each, so that repeated times are still found.
        """
        if not len(self.ids):
            return self
        newest = np.ones(len(self.ids), dtype=np.bool_)
        np.not_equal(self.ids[1:], self.ids[:-1], out=newest[:-1])
        if step_ms:
            # Division of unsigned 32 bits is ten times as fast as of signed 64.
            kind = self.times.dtype.type
            steps = (kind(last) - self.times) // kind(min(step_ms, np.iinfo(kind).max))
            newest[:-1] |= steps[1:] != steps[:-1]
        # Where times stand in disorder the newest is not the last: leave those as they are.
        newest[:-1] |= self.times[1:] < self.times[:-1]
        return self._rows(np.flatnonzero(newest))

    def of_series(self, places: SeriesPlaces) -> RawSamples:
        """Without samples of other series than these."""
        runs = Runs.of([self.ids])
        wanted = places.of(runs.firsts([self.ids])) >= 0
        if wanted.all():
            return self
        return self._rows(np.flatnonzero(np.repeat(wanted, runs.lengths)))

    def _rows(self, rows: Int64Array) -> RawSamples:
        starts = self.starts[rows] if len(self.starts) else self.starts
        return RawSamples(self.ids[rows], self.times[rows], self.values[rows], starts)


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """Samples ordered by series and time; of one time there may be several (see repeats)."""

    offsets: Int64Array  # of each of the window's series, and where the last ends
    timestamps: Int64Array
    values: Float64Array
    starts: Int64Array
    histograms: ObjectArray | None = None

    @classmethod
    def of(
        cls, samples: Sequence[RawSamples], start_ms: int, places: SeriesPlaces
    ) -> SampleColumns:
        """Samples in the order of their series and times."""
        order = Order([one.ids for one in samples], [one.times for one in samples], places)
        timestamps = order.times.astype(np.int64)
        timestamps += start_ms
        return cls(
            order.offsets,
            timestamps,
            order([one.values for one in samples]).astype(np.float64, copy=False),
            order([one.starts for one in samples]),
        )

    def repeats(self) -> bool:
        """Whether a series has two samples of one time."""
        same = self.timestamps[1:] == self.timestamps[:-1]
        return bool(within_series(same, self.offsets).any())

    def merged(self, other: SampleColumns) -> SampleColumns:
        """Both in one order; where both have a sample of one time, ``other`` has the say."""
        series = np.concatenate([self._series(), other._series()])
        timestamps = np.concatenate([self.timestamps, other.timestamps])
        # lexsort is stable: of one series and time, other's sample comes last.
        order = np.lexsort((timestamps, series))
        series, timestamps = series[order], timestamps[order]
        last = np.ones(len(order), dtype=np.bool_)
        last[:-1] = (series[1:] != series[:-1]) | (timestamps[1:] != timestamps[:-1])
        order = order[last]
        return SampleColumns(
            np.searchsorted(series[last], np.arange(len(self.offsets))),
            timestamps[last],
            np.concatenate([self.values, other.values])[order],
            np.concatenate([self._all_starts(), other._all_starts()])[order],
            np.concatenate([self._all_histograms(), other._all_histograms()])[order],
        )

    def block(self, places: SeriesPlaces, *, with_starts: bool) -> SeriesBlock:
        """What the engine takes; series without a sample are left out."""
        present = np.flatnonzero(np.diff(self.offsets))
        starts = self._all_starts() if with_starts else self.starts
        return SeriesBlock(
            labels=[places.labels[place] for place in present.tolist()],
            offsets=np.append(self.offsets[present], self.offsets[-1]),
            timestamps=self.timestamps,
            values=self.values,
            histograms=self.histograms,
            start_timestamps=starts if with_starts and starts.any() else None,
        )

    def _series(self) -> Int64Array:
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def _all_starts(self) -> Int64Array:
        if len(self.starts) == len(self.timestamps):
            return self.starts
        return np.zeros(len(self.timestamps), dtype=np.int64)

    def _all_histograms(self) -> ObjectArray:
        if self.histograms is not None:
            return self.histograms
        return np.full(len(self.timestamps), None, dtype=object)


class Order:
    """How rows in pieces are put in the order of their series and times.

    Attributes:
        offsets: where each series begins, and where the last one ends.
        times: the times, in order.
    """

    def __init__(self, ids: Pieces, times: Pieces, places: SeriesPlaces) -> None:
        """Rows of series that are not among ``places`` are left out."""
        runs = Runs.of(ids)
        numbers = places.of(runs.firsts(ids).astype(np.uint64, copy=False))
        by_series = np.lexsort((runs.firsts(times), numbers))
        by_series = by_series[numbers[by_series] >= 0]
        self._runs, self._rows = runs.take(by_series), _NO_ROWS
        counts = np.zeros(len(places.labels) + 1, dtype=np.int64)
        np.add.at(counts, numbers[by_series] + 1, self._runs.lengths)
        self.offsets: Int64Array = np.cumsum(counts)
        self.times: AnyArray = self(times)
        if within_series(self.times[1:] < self.times[:-1], self.offsets).any():
            series = np.repeat(numbers[by_series], self._runs.lengths)
            self._rows = np.lexsort((self.times, series))
            self.times = self(times)

    def __call__(self, column: Pieces) -> AnyArray:
        """The values in order; a column without any rows stays empty."""
        if not any(map(len, column)):
            return joined(column)
        values = self._runs.gathered(column)
        return values if self._rows is _NO_ROWS else values[self._rows]


_NO_ROWS: Int64Array = np.zeros(0, dtype=np.int64)


def within_series(found: BoolArray, offsets: Int64Array) -> BoolArray:
    """What was found between neighbours, less what lies between two series. Changes ``found``."""
    borders = offsets[1:-1] - 1
    found[borders[(borders >= 0) & (borders < len(found))]] = False
    return found


def column(table: pa.Table, name: str) -> AnyArray:
    """A column's values, whatever its type, without a copy where it is one chunk."""
    return joined([flat(chunk) for chunk in table.column(name).chunks])


def flat(chunk: pa.Array) -> AnyArray:
    """An array's values; times as whole numbers."""
    if pa.types.is_timestamp(chunk.type):
        chunk = chunk.view(pa.int64())
    values: AnyArray = chunk.to_numpy(zero_copy_only=False)
    return values
