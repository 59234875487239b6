"""Anchored and smoothed selectors over numbers, vectorised: values at the borders of windows.

See :mod:`.extended` for what the two mean, and for histograms.
"""

from __future__ import annotations

import numpy as np

from ..ranges import RangeVector
from ..source import BoolArray, Float64Array, Int64Array
from .over_time import Cells, at
from .rate import lost_between, reset_flags


def rates(vector: RangeVector, name: str, *, smoothed: bool) -> Cells:
    """``rate``, ``increase`` or ``delta`` without extrapolation."""
    counter = name != "delta"
    begin, end = vector.ends - vector.range_ms, vector.ends
    first, last, valid = _edges(vector, begin, end, smoothed)
    left, right = at(vector.values, first), at(vector.values, last)
    first_time, last_time = at(vector.timestamps, first), at(vector.timestamps, last)
    if smoothed:
        before = first_time < begin
        left = np.where(before, _between(vector, first, begin, counter), left)
        after = (last_time > end) & (last > vector.bounds()[0])
        right = np.where(after, _between(vector, last - 1, end, counter), right)
    change = right - left
    if counter:
        start = first + (first_time <= begin)
        stop = np.maximum(start, last + (last_time < end))
        change += _lost(vector, start, stop, left, right)
    return (change / vector.range_s if name == "rate" else change), valid


def _edges(
    vector: RangeVector, begin: Int64Array, end: Int64Array, smoothed: bool
) -> tuple[Int64Array, Int64Array, BoolArray]:
    """The first and last sample that matter to each window, and which windows hold anything."""
    low, high = vector.bounds()
    last = high - 1
    first = np.maximum(low, np.minimum(vector.indices_after(begin), last) - 1)
    if smoothed:
        last = np.minimum(vector.indices_after(end - 1), last)
    valid = (high > low) & (at(vector.timestamps, last) > begin)
    if smoothed:
        valid &= at(vector.timestamps, first) <= end
    return first, last, valid


def _between(
    vector: RangeVector, index: Int64Array, times: Int64Array, counter: bool
) -> Float64Array:
    """The value at a time between sample ``index`` and the next; reset counters start at zero."""
    before, after = at(vector.values, index), at(vector.values, index + 1)
    if counter:
        before = np.where(after < before, 0.0, before)
    earlier, later = at(vector.timestamps, index), at(vector.timestamps, index + 1)
    return before + (after - before) * (times - earlier) / (later - earlier)


def _lost(
    vector: RangeVector,
    start: Int64Array,
    stop: Int64Array,
    left: Float64Array,
    right: Float64Array,
) -> Float64Array:
    """What the counter had reached at resets from the left border over samples to the right."""
    inside = stop > start
    lost = np.where(inside & (at(vector.values, start) < left), left, 0.0)
    before = np.where(inside, at(vector.values, stop - 1), left)
    lost += np.where(right < before, before, 0.0)
    flags = reset_flags(vector)
    return lost + lost_between(vector, flags, start, stop) if flags.any() else lost


def smooth(vector: RangeVector) -> Cells:
    """The value at each step, interpolated; the last one where nothing comes after it."""
    low, high = vector.bounds()
    until = np.clip(vector.indices_after(vector.ends), low, high)
    before = until - 1
    exact = (at(vector.timestamps, before) == vector.ends) | (until >= high)
    between = _between(vector, before, vector.ends, counter=False)
    return np.where(exact, at(vector.values, before), between), until > low
