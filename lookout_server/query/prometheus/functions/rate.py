"""Rates, increases and differences over windows of numbers.

The extrapolation to the borders of the window is Prometheus'
(``extrapolatedRate`` in its documentation of ``rate``): up to the border where a sample is
expected there, else by half the mean distance of samples, and never below zero for counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ranges import RangeVector
from ..source import BoolArray, Float64Array, Int64Array
from ..sums import window_sums
from .over_time import Cells, at


def rate(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _extrapolated(window, counter=True, per_second=True)


def increase(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _extrapolated(window, counter=True, per_second=False)


def increase2(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    """SOFALookout's: what a counter gained from the first to the last sample, not extrapolated."""
    with np.errstate(invalid="ignore", over="ignore"):
        edges = _edges(window)
        result = _gained(window, edges)
    return result, np.broadcast_to(edges.gaps >= 1, result.shape)


def delta(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _extrapolated(window, counter=False, per_second=False)


def irate(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _instant(window, counter=True)


def idelta(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _instant(window, counter=False)


def reset_flags(window: RangeVector) -> BoolArray:
    """Samples at which a counter starts anew: lower than before, or started since."""
    flags = np.zeros(len(window.values), dtype=np.bool_)
    np.less(window.values[1:], window.values[:-1], out=flags[1:])
    if window.starts is not None:
        flags[1:] |= started_anew(
            window.starts[:-1], window.timestamps[:-1], window.starts[1:], window.timestamps[1:]
        )
    first = window.offsets[:-1]
    flags[first[first < len(flags)]] = False
    return flags


def started_anew(
    previous_start: Int64Array, previous: Int64Array, start: Int64Array, time: Int64Array
) -> BoolArray:
    """Whether a sample's start timestamp says that its counter was reset since the last one.

    A start equal to the last sample's time is a reset for deltas, which know the last start too;
    cumulative counters of unknown start look the same but for that.
    """
    known = (start != 0) & (start < time)
    delta_like = (previous_start != 0) & (previous_start < previous)
    result: BoolArray = known & ((start > previous) | ((start == previous) & delta_like))
    return result


def overlapping_starts(window: RangeVector) -> BoolArray:
    """Series of which a window holds a sample that started before the one in front of it.

    A start that is that of the sample in front is right, for cumulative counters.
    """
    if window.starts is None:
        return np.zeros(len(window), dtype=np.bool_)
    now, before = window.starts[1:], window.starts[:-1]
    flags = np.zeros(len(window.starts), dtype=np.int64)
    flags[1:] = (now != 0) & (now < window.timestamps[:-1]) & (now != before)
    count = np.r_[0, np.cumsum(flags)]
    low, high = window.bounds()
    inside = count[high] - count[np.minimum(low + 1, high)]
    return np.asarray((inside > 0).any(axis=1))


def lost_in_resets(window: RangeVector) -> Float64Array | None:
    """What counters had reached when they were reset within each window; None if none was."""
    flags = reset_flags(window)
    return lost_between(window, flags, *window.bounds()) if flags.any() else None


def lost_between(
    window: RangeVector, flags: BoolArray, low: Int64Array, high: Int64Array
) -> Float64Array:
    """What counters had reached at the resets flagged, after sample ``low`` to before ``high``."""
    resets = np.flatnonzero(flags)
    count = np.zeros(len(flags) + 1, dtype=np.int64)
    np.cumsum(flags, out=count[1:])
    begin = count.take(low + 1, mode="clip")
    end = np.maximum(begin, count.take(high, mode="clip"))
    return window_sums(
        window.values[resets - 1], np.searchsorted(resets, window.offsets), begin, end
    )


def _extrapolated(window: RangeVector, *, counter: bool, per_second: bool) -> Cells:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _extrapolate(window, _edges(window), counter, per_second)


@dataclass(frozen=True, slots=True)
class _Edges:
    """First and last sample of each window; times and counts as one row where all have the same."""

    first: Float64Array
    last: Float64Array
    first_time: Float64Array
    last_time: Float64Array
    gaps: Int64Array


def _edges(window: RangeVector) -> _Edges:
    grid = window.grid()
    if grid is None:
        low, high = window.bounds()
        values, times = window.values, window.timestamps
        return _Edges(
            *(at(values, low), at(values, high - 1), at(times, low), at(times, high - 1)),
            high - low - 1,
        )
    low, high = grid.low, grid.high
    return _Edges(
        grid.values.take(low, axis=1, mode="clip"),
        grid.values.take(high - 1, axis=1, mode="clip"),
        at(grid.timestamps, low),
        at(grid.timestamps, high - 1),
        high - low - 1,
    )


def _gained(window: RangeVector, edges: _Edges) -> Float64Array:
    """Last less first, and what was lost in resets."""
    result = edges.last - edges.first
    if (lost := lost_in_resets(window)) is not None:
        result += lost
    return result


def _extrapolate(window: RangeVector, edges: _Edges, counter: bool, per_second: bool) -> Cells:
    first, gaps = edges.first, edges.gaps
    first_time, last_time = edges.first_time, edges.last_time
    result = _gained(window, edges) if counter else edges.last - first
    to_zero = None
    if counter:
        elapsed = (last_time - first_time) / 1000
        to_zero = np.where((result > 0) & (first >= 0), elapsed * (first / result), np.inf)
    begin = window.ends - window.range_ms
    to_start, to_end, sampled = reach(first_time, last_time, gaps, begin, window.ends, to_zero)
    present = gaps >= 1
    if counter and window.starts is not None:
        low, high = window.bounds()
        started = _started_inside(window, low, high)
        if started.any():
            since = (last_time - at(window.starts, low)) / 1000
            to_end = np.where(started & (gaps == 0), 0.0, to_end)
            to_start = np.where(started, 0.0, to_start)
            sampled = np.where(started, since, sampled)
            result = np.where(started, result + first, result)
            present = present | started
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor /= window.range_s
    return result * factor, np.broadcast_to(present, result.shape)


def reach(
    first: Float64Array | Int64Array,
    last: Float64Array | Int64Array,
    gaps: Int64Array,
    begin: Int64Array,
    end: Int64Array,
    to_zero: Float64Array | None,
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """How far (s) to extend what was sampled to both borders of a window, and its own length.

    All times in ms. ``to_zero`` are the seconds after which a counter would have been zero.
    """
    to_start, to_end = (first - begin) / 1000, (end - last) / 1000
    sampled = (last - first) / 1000
    between = sampled / gaps
    threshold = between * 1.1
    to_start = np.where(to_start >= threshold, between / 2, to_start)
    if to_zero is not None:
        to_start = np.where(to_zero < to_start, to_zero, to_start)
    to_end = np.where(to_end >= threshold, between / 2, to_end)
    return to_start, to_end, sampled


def _started_inside(window: RangeVector, low: Int64Array, high: Int64Array) -> BoolArray:
    """Windows whose first sample's counter started within them: it was zero at that time."""
    assert window.starts is not None
    start = at(window.starts, low)
    inside = (start > window.ends - window.range_ms) & (start < at(window.timestamps, low))
    result: BoolArray = (high > low) & (start != 0) & inside
    return result


def _instant(window: RangeVector, *, counter: bool) -> Cells:
    low, high = window.bounds()
    last, before = at(window.values, high - 1), at(window.values, high - 2)
    result = last - before
    present = high - low >= 2
    if counter:
        reset = last < before
        if window.starts is not None:
            reset |= at(started_flags(window), high - 1).astype(np.bool_)
        with np.errstate(invalid="ignore", divide="ignore"):
            elapsed = at(window.timestamps, high - 1) - at(window.timestamps, high - 2)
            result = np.where(reset, last, result) / (elapsed / 1000)
    return result, present


def started_flags(window: RangeVector) -> Float64Array:
    """1.0 at samples whose start timestamp tells a reset."""
    flags = np.zeros(len(window.values))
    assert window.starts is not None
    flags[1:] = started_anew(
        window.starts[:-1], window.timestamps[:-1], window.starts[1:], window.timestamps[1:]
    )
    return flags
