"""Cuts a histogram off at a value: the operators ``</`` and ``>/``.

The bucket the cut goes through is divided by the same assumptions as in `statistics`. Where a
bucket was cut, the sum is estimated anew from the middles of what remains. Of an unbounded bucket
nothing is known, so it is kept or dropped as a whole, unless 0 bounds it plausibly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from .model import Buckets, Histogram


def trim_upper(histogram: Histogram, cut: float) -> Histogram:
    """Only the observations below a value (``</``)."""
    return _trim(histogram, cut, below=True)


def trim_lower(histogram: Histogram, cut: float) -> Histogram:
    """Only the observations above a value (``>/``)."""
    return _trim(histogram, cut, below=False)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is kept of one bucket, and where its middle is."""

    count: float
    middle: float


@dataclass(frozen=True, slots=True)
class _Cut:
    at: float
    below: bool
    linear: bool

    def part(self, lower: float, upper: float, count: float) -> _Part:
        """What is kept of a bucket."""
        if upper <= self.at:
            kept = self.below
        elif lower >= self.at:
            kept = not self.below
        else:
            return self._divided(lower, upper, count)
        return _Part(count, _middle(lower, upper, self.linear)) if kept else _Part(0.0, 0.0)

    def _divided(self, lower: float, upper: float, count: float) -> _Part:
        if math.isinf(lower) or math.isinf(upper):
            return self._unbounded(lower, upper, count)
        under = count * _share_below(self.at, lower, upper, self.linear)
        if self.below:
            return _Part(under, _middle(lower, self.at, self.linear))
        return _Part(count - under, _middle(self.at, upper, self.linear))

    def _unbounded(self, lower: float, upper: float, count: float) -> _Part:
        if upper == math.inf:
            keeps = not self.below and lower != -math.inf
            return _Part(count, self.at) if keeps else _Part(0.0, 0.0)
        if self.below:
            if self.at > 0:
                return _Part(count * self.at / upper, self.at / 2)
            return _Part(count, self.at) if upper <= 0 else _Part(0.0, 0.0)
        if self.at >= 0:
            return _Part(count * (1 - self.at / upper), (self.at + upper) / 2)
        return _Part(0.0, 0.0)

    def zero_part(self, histogram: Histogram) -> _Part:
        """What is kept of the zero bucket, which ends at 0 if one side has no observations."""
        lower = upper = histogram.zero_threshold
        lower = -lower
        positive, negative = histogram.positive.populated(), histogram.negative.populated()
        if negative and not positive:
            upper = 0.0
        if positive and not negative:
            lower = 0.0
        return _Cut(self.at, self.below, linear=True).part(lower, upper, histogram.zero_count)


def _trim(histogram: Histogram, at: float, *, below: bool) -> Histogram:
    cut = _Cut(at, below, histogram.is_custom)
    positive = _parts(histogram, histogram.positive, cut, negative=False)
    negative = _parts(histogram, histogram.negative, cut, negative=True)
    zero = cut.zero_part(histogram) if histogram.zero_count > 0 else _Part(0.0, 0.0)
    if _untouched(histogram, positive, negative, zero):
        return histogram
    parts = [*positive, *negative, zero]
    return replace(
        histogram,
        count=_total(part.count for part in parts),
        sum=_total(part.middle * part.count for part in parts),
        zero_count=zero.count,
        positive=_kept(histogram.positive, positive),
        negative=_kept(histogram.negative, negative),
    )


def _total(values: Iterable[float]) -> float:
    return float(sum(values))


def _parts(histogram: Histogram, buckets: Buckets, cut: _Cut, *, negative: bool) -> list[_Part]:
    inner = histogram.bounds(buckets.indices - 1).tolist()
    outer = histogram.bounds(buckets.indices).tolist()
    rows = zip(inner, outer, buckets.counts.tolist(), strict=True)
    if negative:
        return [cut.part(-high, -low, count) for low, high, count in rows]
    return [cut.part(low, high, count) for low, high, count in rows]


def _untouched(
    histogram: Histogram, positive: list[_Part], negative: list[_Part], zero: _Part
) -> bool:
    sides = ((histogram.positive, positive), (histogram.negative, negative))
    return zero.count == max(histogram.zero_count, 0.0) and all(
        buckets.counts.tolist() == [part.count for part in parts] for buckets, parts in sides
    )


def _kept(buckets: Buckets, parts: list[_Part]) -> Buckets:
    return buckets.with_counts(np.array([part.count for part in parts])).compact()


def _share_below(value: float, lower: float, upper: float, linear: bool) -> float:
    if linear:
        return (value - lower) / (upper - lower)
    low, high, cut = (math.log2(abs(x)) for x in (lower, upper, value))
    return (cut - low) / (high - low) if lower >= 0 else 1 - (cut - high) / (low - high)


def _middle(lower: float, upper: float, linear: bool) -> float:
    """The arithmetic mean of custom buckets, the geometric mean of exponential ones."""
    if math.isinf(lower):
        if math.isinf(upper):
            return 0.0
        return upper / 2 if upper > 0 else upper
    if math.isinf(upper):
        return lower
    if linear:
        return (lower + upper) / 2
    return math.copysign(math.sqrt(abs(lower * upper)), lower + upper)
