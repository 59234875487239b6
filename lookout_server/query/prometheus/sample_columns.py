"""Samples as ClickHouse returns them, put into the order the engine wants.

ClickHouse reads parts in parallel, so blocks arrive in any order, but inside of them the samples of
one series stand together in ascending time. Sorting these runs, a few hundred samples each, and
gathering once is several times cheaper than sorting samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...metrics.index import Found, UInt64Array
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
class SampleColumns:
    """Samples ordered by series and time; of one time there may be several (see repeats)."""

    series: Int64Array
    timestamps: Int64Array
    values: Float64Array
    starts: Int64Array
    histograms: ObjectArray | None = None

    @classmethod
    def of(cls, table: pa.Table, places: SeriesPlaces) -> SampleColumns:
        """The rows of a fetch with the columns id, ts, v and perhaps st."""
        ids = column(table, "id").view(np.uint64)
        timestamps = column(table, "ts").view(np.int64)
        series, order = ordered(ids, timestamps, places)
        values: Float64Array = column(table, "v")
        starts = timestamps[:0]
        if "st" in table.column_names:
            starts = _taken(column(table, "st").view(np.int64), order)
        return cls(series, _taken(timestamps, order), _taken(values, order), starts)

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


def ordered(
    ids: UInt64Array, timestamps: Int64Array, places: SeriesPlaces
) -> tuple[Int64Array, Int64Array | None]:
    """Series numbers in order, and the rows in that order (None: as they are)."""
    if not len(ids):
        return np.zeros(0, dtype=np.int64), None
    heads = np.flatnonzero(np.concatenate([[True], (ids[1:] != ids[:-1])]))
    lengths = np.diff(np.append(heads, len(ids)))
    numbers = places.of(ids[heads])
    wanted = numbers >= 0
    order = np.lexsort((timestamps[heads], numbers))
    order = order[wanted[order]]
    rows = None
    if len(order) != len(heads) or (order[1:] < order[:-1]).any():
        rows = _concatenated_ranges(heads[order], lengths[order])
    series = np.repeat(numbers[order], lengths[order])
    times = _taken(timestamps, rows)
    if _descends(series, times):
        again = np.lexsort((times, series))
        rows = again if rows is None else rows[again]
    return series, rows


def _descends(series: Int64Array, times: Int64Array) -> bool:
    falls: BoolArray = (times[1:] < times[:-1]) & (series[1:] == series[:-1])
    return bool(falls.any())


def _concatenated_ranges(starts: Int64Array, lengths: Int64Array) -> Int64Array:
    """``[*range(s0, s0 + l0), *range(s1, s1 + l1), ...]``"""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)


def _taken(values: np.ndarray, rows: Int64Array | None) -> np.ndarray:
    return values if rows is None else values[rows]
