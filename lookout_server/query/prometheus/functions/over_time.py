"""Functions over the samples of a window that need only numbers.

Every kernel takes the range vector of some series and the scalar arguments per step, and gives
values and presence, series by steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from ..errors import ExecutionError
from ..ranges import RangeVector
from ..source import BoolArray, Float64Array, Int64Array
from ..sums import window_means, window_sums
from ..windows import gathered

Cells: TypeAlias = tuple[Float64Array, BoolArray]
Kernel: TypeAlias = Callable[[RangeVector, Sequence[Float64Array]], Cells]
#: From a matrix with a window's values in each row, and each window's step, to a number each.
RowKernel: TypeAlias = Callable[[Float64Array, Int64Array], Float64Array]


def _present(low: Int64Array, high: Int64Array) -> BoolArray:
    result: BoolArray = high > low
    return result


def sum_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    low, high = window.bounds()
    return window_sums(window.values, window.offsets, low, high), _present(low, high)


def avg_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    low, high = window.bounds()
    return window_means(window.values, window.offsets, low, high), _present(low, high)


def count_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    low, high = window.bounds()
    return (high - low).astype(np.float64), _present(low, high)


def present_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    low, high = window.bounds()
    return np.ones(low.shape), _present(low, high)


def ts_of_first_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    low, high = window.bounds()
    return at(window.timestamps, low) / 1000, _present(low, high)


def ts_of_last_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    low, high = window.bounds()
    return at(window.timestamps, high - 1) / 1000, _present(low, high)


def at(values: Float64Array | Int64Array, index: Int64Array) -> Float64Array:
    """``values[index]``; anything where the index is out of range."""
    if len(values) == 0:
        return np.zeros(index.shape)
    return values.take(index, mode="clip").astype(np.float64, copy=False)


def min_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _extreme(window, np.minimum, np.fmin)


def max_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _extreme(window, np.maximum, np.fmax)


def _extreme(window: RangeVector, fast: np.ufunc, ignoring_nan: np.ufunc) -> Cells:
    low, high = window.bounds()
    present = _present(low, high)
    result = np.full(low.shape, np.nan)
    if len(window.values):
        ufunc = ignoring_nan if np.isnan(window.values).any() else fast
        # reduceat gives values[i] alone between an end and the next, earlier start: cheap.
        edges = np.stack([low[present], high[present]], axis=1).ravel()
        padded = np.append(window.values, window.values[-1])
        if len(edges):
            result[present] = ufunc.reduceat(padded, edges)[::2]
    return result, present


def _by_rows(window: RangeVector, kernel: RowKernel, at_least: int = 1) -> Cells:
    low, high = window.bounds()
    steps = low.shape[1]
    out = np.full(low.size, np.nan)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for positions, cells in gathered(low, high):
            if cells.shape[1] >= at_least:
                out[positions] = kernel(window.values[cells], positions % steps)
    return out.reshape(low.shape), high - low >= at_least


def stdvar_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _by_rows(window, _variance)


def stddev_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _by_rows(window, lambda rows, steps: np.sqrt(_variance(rows, steps)))


def _variance(rows: Float64Array, _: Int64Array) -> Float64Array:
    # Two passes around a value of the window lose nothing to large means.
    shifted = rows - rows[:, :1]
    centred = shifted - shifted.mean(axis=1, keepdims=True)
    result: Float64Array = (centred * centred).mean(axis=1)
    return result


def quantile_over_time(window: RangeVector, args: Sequence[Float64Array]) -> Cells:
    quantiles = args[0]
    return _by_rows(window, lambda rows, steps: row_quantiles(rows, quantiles[steps]))


def mad_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _by_rows(window, _median_deviation)


def _median_deviation(rows: Float64Array, _: Int64Array) -> Float64Array:
    half = np.full(len(rows), 0.5)
    median = row_quantiles(rows, half)
    deviation = row_quantiles(np.abs(rows - median[:, None]), half)
    return np.where(np.isnan(rows).any(axis=1), np.nan, deviation)


def row_quantiles(rows: Float64Array, quantiles: Float64Array) -> Float64Array:
    """The quantile of each row by linear interpolation; NaN counts as the smallest value."""
    length = rows.shape[1]
    ordered = np.sort(rows, axis=1)
    nans = np.isnan(rows).sum(axis=1)
    if nans.any():  # sorted last, wanted first
        index = (np.arange(length) - nans[:, None]) % length
        ordered = np.take_along_axis(ordered, index, axis=1)
    with np.errstate(invalid="ignore"):
        rank = np.clip(np.nan_to_num(quantiles), 0, 1) * (length - 1)
        floor = np.floor(rank)
        lower = np.clip(floor, 0, length - 1).astype(np.int64)
        upper = np.minimum(length - 1, lower + 1)
        weight = rank - floor
        each = np.arange(len(rows))
        below, above = ordered[each, lower], ordered[each, upper]
        result: Float64Array = below * (1 - weight) + above * weight
    result[quantiles < 0] = -np.inf
    result[quantiles > 1] = np.inf
    result[np.isnan(quantiles)] = np.nan
    return result


def ts_of_max_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _time_of(window, np.fmax)


def ts_of_min_over_time(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    return _time_of(window, np.fmin)


def _time_of(window: RangeVector, ufunc: np.ufunc) -> Cells:
    low, high = window.bounds()
    out = np.full(low.size, np.nan)
    for positions, cells in gathered(low, high):
        rows = window.values[cells]
        wanted = ufunc.reduce(rows, axis=1)
        hits = (rows == wanted[:, None]) | np.isnan(wanted)[:, None]
        last = rows.shape[1] - 1 - np.argmax(hits[:, ::-1], axis=1)
        out[positions] = window.timestamps[cells[np.arange(len(cells)), last]] / 1000
    return out.reshape(low.shape), _present(low, high)


def double_exponential_smoothing(window: RangeVector, args: Sequence[Float64Array]) -> Cells:
    smoothing, trend = args
    low, high = window.bounds()
    if (high > low).any():
        _check_factors(smoothing, trend, np.asarray((high > low).any(axis=0)))
    return _by_rows(
        window, lambda rows, steps: _smoothed(rows, smoothing[steps], trend[steps]), at_least=2
    )


def _check_factors(smoothing: Float64Array, trend: Float64Array, used: BoolArray) -> None:
    for name, short, factors in (("smoothing", "sf", smoothing), ("trend", "tf", trend)):
        for factor in factors[used].tolist():
            if factor <= 0 or factor >= 1:
                raise ExecutionError(
                    f"invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:f}"
                )


def _smoothed(rows: Float64Array, smoothing: Float64Array, trend: Float64Array) -> Float64Array:
    # https://en.wikipedia.org/wiki/Exponential_smoothing#Double_exponential_smoothing
    level = rows[:, 0]
    slope = rows[:, 1] - rows[:, 0]
    before = np.zeros_like(level)
    for column in range(1, rows.shape[1]):
        if column > 1:
            slope = trend * (level - before) + (1 - trend) * slope
        before, level = level, smoothing * rows[:, column] + (1 - smoothing) * (level + slope)
    return level


def deriv(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    slope, _intercept, present = _regression(window)
    return slope, present


def predict_linear(window: RangeVector, args: Sequence[Float64Array]) -> Cells:
    slope, intercept, present = _regression(window)
    return slope * args[0] + intercept, present


def _regression(window: RangeVector) -> tuple[Float64Array, Float64Array, BoolArray]:
    """Least squares: slope per second and value at the evaluation time."""
    low, high = window.bounds()
    slope = np.full(low.size, np.nan)
    intercept = np.full(low.size, np.nan)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for positions, cells in gathered(low, high):
            if cells.shape[1] < 2:
                continue
            stamps, rows = window.timestamps[cells], window.values[cells]
            origin = stamps[:, :1]
            x = (stamps - origin) / 1000.0
            centred = x - x.mean(axis=1, keepdims=True)
            y = rows - rows[:, :1]
            offset = (window.times[positions % low.shape[1]] - origin[:, 0]) / 1000.0
            part = (centred * y).sum(axis=1) / (centred * centred).sum(axis=1)
            value = rows[:, 0] + y.mean(axis=1) + part * (offset - x.mean(axis=1))
            finite = np.isfinite(rows).all(axis=1)
            part, value = np.where(finite, part, np.nan), np.where(finite, value, np.nan)
            constant = (rows == rows[:, :1]).all(axis=1)
            level = np.where(np.isinf(rows[:, 0]), np.nan, rows[:, 0])
            slope[positions] = np.where(constant, level * 0, part)
            intercept[positions] = np.where(constant, level, value)
    return slope.reshape(low.shape), intercept.reshape(low.shape), high - low >= 2
