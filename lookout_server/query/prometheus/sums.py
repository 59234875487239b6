"""Sums that do not lose digits, vectorised.

A plain prefix sum loses what a window's sum is about as soon as the prefix is much larger than
the window. Here every addition keeps its rounding error (Knuth's TwoSum), and the errors are
summed beside the values: the pair carries about 106 bits. Where even that could be too little
(overflow, extreme cancellation) windows are summed one by one with Neumaier's algorithm, as
Prometheus does for all.

Neumaier: https://en.wikipedia.org/wiki/Kahan_summation_algorithm#Further_enhancements
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .source import BoolArray, Float64Array, Int64Array
from .windows import gathered

#: Prefix sums are trusted while a window's sum is no smaller than this share of the prefix:
#: their error is below 1e-26 of it, for a million samples.
_TRUSTED_SHARE = 1e-10
_LARGE = 1e290  # no sum of fewer than 1e18 such values overflows


def two_sum(left: Float64Array, right: Float64Array) -> tuple[Float64Array, Float64Array]:
    """left + right, and what rounding took from it."""
    total = left + right
    part = total - left
    return total, (left - (total - part)) + (right - part)


def neumaier_rows(matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Running sum along each row and its compensation; an infinite sum has none."""
    total = np.zeros(len(matrix))
    compensation = np.zeros(len(matrix))
    with np.errstate(invalid="ignore", over="ignore"):
        for column in matrix.T:
            new, error = two_sum(total, column)
            compensation = np.where(np.isinf(new), 0.0, compensation + error)
            total = new
    return total, compensation


def mean_step_by_step(values: Float64Array) -> float:
    """The mean; where the sum overflows, the weighted mean of what there was and the next."""
    total = compensation = mean = 0.0
    incremental = False
    for index, value in enumerate(values.tolist(), start=1):
        if not incremental:
            new_total, new_compensation = _neumaier_step(total, compensation, value)
            if index == 1 or not math.isinf(new_total):
                total, compensation = new_total, new_compensation
                continue
            incremental = True
            mean = total / (index - 1)
            compensation /= index - 1
        share = (index - 1) / index
        mean, compensation = _neumaier_step(share * mean, share * compensation, value / index)
    if incremental:
        return mean + compensation
    return total / len(values) + compensation / len(values)


def _neumaier_step(total: float, compensation: float, value: float) -> tuple[float, float]:
    new = total + value
    if math.isinf(new):
        return new, 0.0
    if abs(total) >= abs(value):
        return new, compensation + ((total - new) + value)
    return new, compensation + ((value - new) + total)


class PrefixSums:
    """Sums of stretches of series, each in constant time."""

    def __init__(self, values: Float64Array, offsets: Int64Array) -> None:
        self._values = values
        odd = ~(np.abs(values) < _LARGE)
        self._odd = values if odd.any() else None
        calm = values if self._odd is None else np.where(odd, 0.0, values)
        self._sums, self._errors, self._scale = _prefixes(calm, offsets)

    def between(self, low: Int64Array, high: Int64Array) -> tuple[Float64Array, BoolArray]:
        """Sum of every window ``low:high`` (a row per series), and which need a closer look."""
        shift = np.arange(len(low))[:, None]  # each series' prefix has one entry more
        low, high = low + shift, high + shift
        total, error = two_sum(self._sums[high], -self._sums[low])
        lost = self._errors[high] - self._errors[low]
        result = total + (error + lost)
        doubtful = np.abs(result) < _TRUSTED_SHARE * self._scale[:, None]
        if doubtful.any():  # the sum of zeros is zero beyond doubt
            doubtful &= _counted(self._values != 0, low - shift, high - shift)
        if self._odd is not None:
            self._resolve_odd(result, doubtful, low - shift, high - shift)
        return result, doubtful

    def _resolve_odd(
        self, result: Float64Array, doubtful: BoolArray, low: Int64Array, high: Int64Array
    ) -> None:
        assert self._odd is not None
        nan = _counted(np.isnan(self._odd), low, high)
        above = _counted(np.isposinf(self._odd), low, high)
        below = _counted(np.isneginf(self._odd), low, high)
        doubtful |= _counted(np.isfinite(self._odd) & (np.abs(self._odd) >= _LARGE), low, high)
        result[above] = np.inf
        result[below] = -np.inf
        result[nan | (above & below)] = np.nan
        doubtful &= ~(nan | above | below)


def _prefixes(
    values: Float64Array, offsets: Int64Array
) -> tuple[Float64Array, Float64Array, Float64Array]:
    series = len(offsets) - 1
    sums = np.zeros(len(values) + series)
    errors = np.zeros(len(values) + series)
    scale = np.zeros(series)
    bounds = offsets.tolist()
    for row in range(series):
        part = values[bounds[row] : bounds[row + 1]]
        at = slice(bounds[row] + row, bounds[row + 1] + row + 1)
        prefix = sums[at]
        np.cumsum(part, out=prefix[1:])
        before, after = prefix[:-1], prefix[1:]
        added = after - before
        np.cumsum((before - (after - added)) + (part - added), out=errors[at][1:])
        scale[row] = max(prefix.max(), -prefix.min())
    return sums, errors, scale


def _counted(flags: BoolArray, low: Int64Array, high: Int64Array) -> BoolArray:
    counts = np.zeros(len(flags) + 1, dtype=np.int64)
    np.cumsum(flags, out=counts[1:])
    result: BoolArray = counts[high] != counts[low]
    return result


def window_sums(
    values: Float64Array, offsets: Int64Array, low: Int64Array, high: Int64Array
) -> Float64Array:
    """Compensated sum of every window ``low:high`` (a row per series)."""
    result, doubtful = PrefixSums(values, offsets).between(low, high)
    if doubtful.any():
        totals = np.empty(int(doubtful.sum()))
        for positions, cells in gathered(low[doubtful], high[doubtful]):
            total, compensation = neumaier_rows(values[cells])
            totals[positions] = np.where(np.isinf(total), total, total + compensation)
        result[doubtful] = totals
    return result


def window_means(
    values: Float64Array, offsets: Int64Array, low: Int64Array, high: Int64Array
) -> Float64Array:
    """Compensated mean of every window; meaningless where a window is empty."""
    result, doubtful = PrefixSums(values, offsets).between(low, high)
    result /= np.maximum(high - low, 1)
    for row, step in np.argwhere(doubtful & (high > low)).tolist():
        result[row, step] = mean_step_by_step(values[low[row, step] : high[row, step]])
    return result


class RowSums:
    """Compensated sums of the rows of matrices by group, kept as value and compensation."""

    def __init__(self, steps: int) -> None:
        self.total = np.zeros((0, steps))
        self.compensation = np.zeros((0, steps))

    def add(self, values: Float64Array, group_of: Int64Array, groups: int) -> None:
        """Add rows; ``groups`` is how many groups there are now."""
        self.total = grown(self.total, groups, 0.0)
        self.compensation = grown(self.compensation, groups, 0.0)
        if values.shape[1] >= 32 or len(values) <= 64:
            self._row_by_row(values, group_of)
        else:
            self._by_halves(values, group_of)

    def scale(self, factor: float) -> None:
        """Multiply what has been summed."""
        self.total *= factor
        self.compensation *= factor

    def _row_by_row(self, values: Float64Array, group_of: Int64Array) -> None:
        for row, group in enumerate(group_of.tolist()):
            total, error = two_sum(self.total[group], values[row])
            self.total[group] = total
            self.compensation[group] += error

    def _by_halves(self, values: Float64Array, group_of: Int64Array) -> None:
        order = np.argsort(group_of, kind="stable")
        groups, totals = group_of[order], values[order]
        errors = np.zeros_like(totals)
        while True:
            left = np.flatnonzero((_rank_within(groups) % 2 == 0) & _followed(groups))
            if not len(left):
                break
            total, error = two_sum(totals[left], totals[left + 1])
            totals[left] = total
            errors[left] += error + errors[left + 1]
            keep = np.ones(len(groups), dtype=np.bool_)
            keep[left + 1] = False
            groups, totals, errors = groups[keep], totals[keep], errors[keep]
        total, error = two_sum(self.total[groups], totals)
        self.total[groups] = total
        self.compensation[groups] += error + errors

    def sums(self) -> Float64Array:
        """The sums."""
        total = self.total + self.compensation
        return np.where(np.isfinite(self.total), total, self.total)

    def means(self, counts: Float64Array) -> Float64Array:
        """The sums by ``counts``, dividing both parts as Prometheus does."""
        exact = self.total / counts + self.compensation / counts
        return np.where(np.isfinite(self.total), exact, self.total / counts)


def grown(matrix: Float64Array, rows: int, fill: float) -> Float64Array:
    """``matrix`` with so many rows, new ones filled."""
    if len(matrix) == rows:
        return matrix
    new = np.full((rows - len(matrix), matrix.shape[1]), fill)
    return np.concatenate([matrix, new])


def _rank_within(groups: Int64Array) -> Int64Array:
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    lengths = np.diff(np.r_[starts, len(groups)])
    return np.arange(len(groups)) - np.repeat(starts, lengths)


def _followed(groups: Int64Array) -> Any:
    return np.r_[groups[1:] == groups[:-1], False]
