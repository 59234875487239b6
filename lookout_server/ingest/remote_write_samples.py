"""Samples of remote write, as bytes of the usual shapes and as columns.

A sample field hardly varies: tag and length, tag and double, tag and a varint of six bytes (times
from 1971 to 2109), and maybe the same for a start time. A value of 0.0 is left out altogether.
NumPy reads many of them at once.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..metrics.rows import Float64Array, MetricRows
from ..metrics.series_table import Int64Array

BoolArray: TypeAlias = npt.NDArray[np.bool_]

#: The last eight bytes of either shape end with the time's tag and varint.
FULL = np.dtype(
    {"names": ["head", "value", "time"], "formats": ["<u4", "<f8", "<u8"], "offsets": [0, 3, 10]}
)
STARTED = np.dtype(
    {
        "names": ["head", "value", "time", "start"],
        "formats": ["<u4", "<f8", "<u8", "<u8"],
        "offsets": [0, 3, 10, 17],
    }
)
ZERO = np.dtype({"names": ["head", "time"], "formats": ["u1", "<u8"], "offsets": [0, 1]})
FULL_HEAD, ZERO_HEAD = b"\x12\x10\x09", b"\x12\x07\x10"
ZERO_VALUE = FULL_HEAD + bytes(8)
#: Tag and continuation bits in ``time``, and what they are where it is such a varint.
_TIME_MASK = np.uint64(0x8080_8080_8080_FF00)
_TIME_BITS = np.uint64(0x0080_8080_8080_1000)
_START_BITS = np.uint64(0x0080_8080_8080_1800)


def usual(records: npt.NDArray[Any]) -> BoolArray:
    """Whether each record is a sample of the shape it is looked at as."""
    good: BoolArray = (records["time"] & _TIME_MASK) == _TIME_BITS
    if records.dtype == ZERO:
        good &= (records["head"] == 0x12) & ((records["time"] & np.uint64(0xFF)) == 0x07)
        return good
    size = records.dtype.itemsize - 2
    good &= (records["head"] & np.uint32(0xFFFFFF)) == (0x090012 | size << 8)
    if records.dtype == STARTED:
        good &= (records["start"] & _TIME_MASK) == _START_BITS
    return good


class SampleColumns:
    """Samples as they are found in a body, each with the place of its TimeSeries there."""

    def __init__(self) -> None:
        self._found: list[tuple[Int64Array, Int64Array, Float64Array, Int64Array | None]] = []
        self._others: list[tuple[int, int, float, int]] = []

    def take(self, places: Int64Array, records: npt.NDArray[Any]) -> None:
        """Records that are :func:`usual`."""
        is_zero, is_started = records.dtype == ZERO, records.dtype == STARTED
        values = np.zeros(len(records)) if is_zero else records["value"].astype("<f8")
        starts = _times(records["start"]) if is_started else None
        self._found.append((places, _times(records["time"]), values, starts))

    def take_one(self, place: int, time: int, value: float, start: int) -> None:
        """A sample of any other shape."""
        self._others.append((place, time, value, start))

    def fill(self, rows: MetricRows, indexes: Int64Array) -> None:
        """Set the rows' columns, in the order of the body: the last of one time wins.

        ``indexes`` gives for each place the index of its series.
        """
        self._add_others()
        if not self._found:
            return
        columns = list(zip(*self._found, strict=True))
        places, times, values = (np.concatenate(column) for column in columns[:3])
        starts = self._starts()
        if len(self._found) > 1:
            order = np.argsort(places, kind="stable")
            places, times, values = places[order], times[order], values[order]
            starts = None if starts is None else starts[order]
        rows.sample_series = indexes[places].astype(np.int32)
        rows.timestamps, rows.values, rows.starts = times, values, starts

    def _add_others(self) -> None:
        """Those of uncommon shape behind the rest."""
        if not self._others:
            return
        places, times, values, starts = zip(*self._others, strict=True)
        self._found.append(
            (
                np.array(places),
                np.array(times, dtype=np.int64),
                np.array(values, dtype=np.float64),
                np.array(starts, dtype=np.int64) if any(starts) else None,
            )
        )

    def _starts(self) -> Int64Array | None:
        """Start times of all, if one has any."""
        if all(starts is None for *_, starts in self._found):
            return None
        return np.concatenate(
            [
                np.zeros(len(places), np.int64) if starts is None else starts
                for places, _, _, starts in self._found
            ]
        )


def _times(words: npt.NDArray[np.uint64]) -> Int64Array:
    """Varints of six bytes in the upper bytes of each word."""
    packed = (words >> np.uint64(16)).astype(np.int64)
    times = packed & 0x7F
    for place in range(1, 6):
        times |= (packed >> place) & (0x7F << 7 * place)
    return times
