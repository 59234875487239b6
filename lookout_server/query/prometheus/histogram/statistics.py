"""Estimates from a histogram: quantiles, fractions, mean and variance.

Observations are assumed to be spread evenly within a bucket: on a logarithmic scale in
exponential buckets, on a linear one in the zero bucket and in custom buckets. The zero bucket
ends at 0 where nothing has been observed on one side of it.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from .bounds import Counts
from .model import Histogram


class NanEffect(Enum):
    """What observations of NaN do to an estimate. They are counted, but are in no bucket."""

    NONE = "none"
    SKEWED = "skewed"  # the estimate is too high
    RESULT = "result"  # the estimate itself is NaN


def mean(histogram: Histogram) -> float:
    """The mean of all observations; NaN if there are none."""
    return _divide(histogram.sum, histogram.count)


def variance(histogram: Histogram) -> float:
    """The population variance, estimated from the middle of each bucket."""
    lower, upper, counts = histogram.ascending()
    with np.errstate(invalid="ignore"):
        populated = counts != 0
        lower, upper, counts = lower[populated], upper[populated], counts[populated]
        delta = _middles(histogram, lower, upper) - mean(histogram)
        return _divide(_fsum((counts * delta * delta).tolist()), histogram.count)


def _middles(histogram: Histogram, lower: Counts, upper: Counts) -> Counts:
    if histogram.is_custom:
        middles: Counts = (upper + lower) / 2
        return middles
    geometric = np.sqrt(np.abs(lower)) * np.sqrt(np.abs(upper))
    return np.where((lower <= 0) & (upper >= 0), 0.0, np.copysign(geometric, upper))


def _fsum(values: list[float]) -> float:
    """An exact sum; with infinities or NaN, what adding them up gives."""
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


def _divide(dividend: float, divisor: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(dividend) / divisor)


# ---------------------------------------------------------------------- quantiles


def quantile(q: float, histogram: Histogram) -> tuple[float, NanEffect]:
    """The value that a share ``q`` of all observations is not above, and what NaN did to it.

    Below 0 it is -Inf, above 1 +Inf; without observations NaN.
    """
    if q < 0 or q > 1:
        return math.copysign(math.inf, q), NanEffect.NONE
    if histogram.count == 0 or math.isnan(q):
        return math.nan, NanEffect.NONE
    lower, upper, counts = histogram.ascending()
    if not len(counts):
        return _beyond(histogram, 0.0, bool(q > 0))
    # Observations of NaN belong at the very end, so only counting from below is right then.
    forward = math.isnan(histogram.sum) or q < 0.5
    rank = (q if forward else 1 - q) * histogram.count
    at, reached = _locate(counts, rank, forward)
    return _estimate(
        histogram, (float(lower[at]), float(upper[at]), float(counts[at])), rank, reached, forward
    )


def _locate(counts: Counts, rank: float, forward: bool) -> tuple[int, float]:
    """The populated bucket in which a rank is reached, and the rank at its far end."""
    order = np.flatnonzero(counts != 0)
    if not len(order):
        return (len(counts) - 1 if forward else 0), 0.0
    if not forward:
        order = order[::-1]
    cumulative = np.cumsum(counts[order])
    reached = np.flatnonzero(cumulative >= rank)
    if len(reached):
        return int(order[reached[0]]), float(cumulative[reached[0]])
    return (len(counts) - 1 if forward else 0), float(cumulative[-1])


def _estimate(
    histogram: Histogram,
    bucket: tuple[float, float, float],
    rank: float,
    reached: float,
    forward: bool,
) -> tuple[float, NanEffect]:
    lower, upper, count = bucket
    if histogram.is_custom:
        if lower == -math.inf:
            if upper <= 0:
                return upper, NanEffect.NONE
            lower = 0.0
        elif upper == math.inf:
            return lower, NanEffect.NONE
    elif lower < 0 < upper:
        lower, upper = _one_sided(histogram, lower, upper)
    reached = min(reached, histogram.count)
    if reached < rank:
        return _beyond(histogram, upper, True)
    share = (rank - (reached - count) if forward else reached - rank) / count
    return _interpolate(histogram, lower, upper, share), _skew(histogram)


def _beyond(histogram: Histogram, upper: float, unreached: bool) -> tuple[float, NanEffect]:
    """A rank that no bucket reaches, because the rest of the observations are NaN."""
    if unreached and math.isnan(histogram.sum):
        return math.nan, NanEffect.RESULT
    return upper, NanEffect.NONE


def _skew(histogram: Histogram) -> NanEffect:
    """The sum is also NaN where both infinities were observed; those are in buckets."""
    return NanEffect.SKEWED if _observed_nan(histogram) else NanEffect.NONE


def _observed_nan(histogram: Histogram) -> bool:
    return math.isnan(histogram.sum) and _in_buckets(histogram) < histogram.count


def _in_buckets(histogram: Histogram) -> float:
    counts = histogram.ascending()[2]
    return float(counts.sum())


def _one_sided(histogram: Histogram, lower: float, upper: float) -> tuple[float, float]:
    """The bounds of the zero bucket, given where else something was observed."""
    if len(histogram.positive) and not len(histogram.negative):
        return 0.0, upper
    if len(histogram.negative) and not len(histogram.positive):
        return lower, 0.0
    return lower, upper


def _interpolate(histogram: Histogram, lower: float, upper: float, share: float) -> float:
    if histogram.is_custom or lower <= 0 <= upper:
        return lower + (upper - lower) * share
    low, high = math.log2(abs(lower)), math.log2(abs(upper))
    if lower > 0:
        return _exp2(low + (high - low) * share)
    return -_exp2(high + (low - high) * (1 - share))


def _exp2(exponent: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp2(exponent))


# ---------------------------------------------------------------------- fractions


def fraction(lower: float, upper: float, histogram: Histogram) -> tuple[float, bool]:
    """The share of observations between two values, and whether NaN lessened it."""
    if histogram.count == 0 or math.isnan(lower) or math.isnan(upper):
        return math.nan, False
    if lower >= upper:
        return 0.0, False
    has_nan = _observed_nan(histogram)
    counted = _in_buckets(histogram) if math.isnan(histogram.sum) else histogram.count
    ranks = [min(_rank(bound, histogram, counted), counted) for bound in (lower, upper)]
    return (ranks[1] - ranks[0]) / histogram.count, has_nan


def _rank(value: float, histogram: Histogram, counted: float) -> float:
    """How many observations are estimated to be below a value."""
    rank: float = 0.0
    lower, upper, counts = histogram.ascending()
    for low, high, count in zip(lower.tolist(), upper.tolist(), counts.tolist(), strict=True):
        is_zero = low <= 0 <= high
        first, last = _one_sided(histogram, low, high) if is_zero else (low, high)
        if first >= value:
            return rank
        if last > value:
            share = _share_below(value, histogram, first, last, is_zero)
            return rank + share * float(count)
        rank += count
    return counted


def _share_below(
    value: float, histogram: Histogram, low: float, high: float, is_zero: bool
) -> float:
    if histogram.is_custom or is_zero:
        # Nothing is known about the spread in an unbounded bucket: all or nothing.
        return 1.0 if low == -math.inf else (value - low) / (high - low)
    first, last = math.log2(abs(low)), math.log2(abs(high))
    if value > 0:
        return (math.log2(abs(value)) - first) / (last - first)
    return 1 - (math.log2(abs(value)) - last) / (first - last)
