"""The histogram itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from .bounds import CUSTOM_SCHEMA, Counts, Indices, custom_bounds, exponential_bounds


class ResetHint(IntEnum):
    """What is known about a counter reset before a histogram; numbered as in remote write."""

    UNKNOWN = 0
    RESET = 1
    NOT_RESET = 2
    GAUGE = 3


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket as a reader sees it."""

    lower: float
    upper: float
    lower_inclusive: bool
    upper_inclusive: bool
    count: float


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Counts by bucket index, ascending. A count may be 0: such a bucket is there all the same.

    Neither array may be written to; histograms share them.
    """

    indices: Indices
    counts: Counts

    def __len__(self) -> int:
        return len(self.indices)

    def same_layout(self, other: Buckets) -> bool:
        """Whether both have the same indices."""
        return self.indices is other.indices or np.array_equal(self.indices, other.indices)

    def with_counts(self, counts: Counts) -> Buckets:
        return Buckets(self.indices, counts)

    def kept(self, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Buckets:
        """Only the buckets a mask selects."""
        return self if mask.all() else Buckets(self.indices[mask], self.counts[mask])

    def compact(self) -> Buckets:
        """Without empty buckets."""
        return self.kept(self.counts != 0)

    def populated(self) -> bool:
        return bool(np.any(self.counts != 0))


NO_BUCKETS = Buckets(np.zeros(0, dtype=np.int64), np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """A native histogram with float counts.

    Attributes:
        schema: the resolution: -4 to 8 for exponential buckets, -53 for custom ones.
        count: the number of observations.
        sum: the sum of observations; NaN if any of them was.
        zero_threshold: observations within plus/minus this much of 0 are in the zero bucket.
        zero_count: the number of those.
        positive: the buckets above the zero bucket, or all custom buckets (index 0 first).
        negative: the buckets below it; an index means the absolute value of the bounds.
        custom_values: the upper bounds of custom buckets but the last, ascending.
        hint: what is known about a counter reset before this sample.
    """

    schema: int = 0
    count: float = 0.0
    sum: float = 0.0
    zero_threshold: float = 0.0
    zero_count: float = 0.0
    positive: Buckets = NO_BUCKETS
    negative: Buckets = NO_BUCKETS
    custom_values: tuple[float, ...] = ()
    hint: ResetHint = ResetHint.UNKNOWN

    @property
    def is_custom(self) -> bool:
        """Whether the buckets have custom bounds."""
        return self.schema == CUSTOM_SCHEMA

    def with_hint(self, hint: ResetHint) -> Histogram:
        return self if self.hint is hint else replace(self, hint=hint)

    def compact(self) -> Histogram:
        """Without empty buckets."""
        positive, negative = self.positive.compact(), self.negative.compact()
        if positive is self.positive and negative is self.negative:
            return self
        return replace(self, positive=positive, negative=negative)

    # ------------------------------------------------------------------ scaling

    def __mul__(self, factor: float) -> Histogram:
        """All counts and the sum multiplied; a negative factor makes the result a gauge."""
        with np.errstate(invalid="ignore", over="ignore"):
            return replace(
                self,
                count=self.count * factor,
                sum=self.sum * factor,
                zero_count=self.zero_count * factor,
                positive=self.positive.with_counts(self.positive.counts * factor),
                negative=self.negative.with_counts(self.negative.counts * factor),
                hint=ResetHint.GAUGE if factor < 0 else self.hint,
            )

    def __truediv__(self, divisor: float) -> Histogram:
        """All counts and the sum divided; division by zero leaves no buckets."""
        with np.errstate(all="ignore"):
            totals = np.array([self.count, self.sum, self.zero_count]) / divisor
            positive, negative = self.positive, self.negative
            scaled = replace(
                self, count=float(totals[0]), sum=float(totals[1]), zero_count=float(totals[2])
            )
            if divisor == 0:
                return replace(scaled, positive=NO_BUCKETS, negative=NO_BUCKETS)
            return replace(
                scaled,
                positive=positive.with_counts(positive.counts / divisor),
                negative=negative.with_counts(negative.counts / divisor),
                hint=ResetHint.GAUGE if divisor < 0 else self.hint,
            )

    def __neg__(self) -> Histogram:
        return self * -1.0

    # ------------------------------------------------------------------ comparison

    def equals(self, other: Histogram) -> bool:
        """Whether both hold the same; empty buckets count, the reset hint does not.

        NaN equals NaN, as in a bitwise comparison.
        """
        return (
            self.schema == other.schema
            and self.zero_threshold == other.zero_threshold
            and _same(self.zero_count, other.zero_count)
            and _same(self.count, other.count)
            and _same(self.sum, other.sum)
            and self.custom_values == other.custom_values
            and _same_buckets(self.positive, other.positive)
            and _same_buckets(self.negative, other.negative)
        )

    def overflows(self) -> bool:
        """Whether any of its numbers is infinite."""
        totals = np.array([self.count, self.sum, self.zero_count])
        parts = (totals, self.positive.counts, self.negative.counts)
        return any(bool(np.isinf(part).any()) for part in parts)

    # ------------------------------------------------------------------ bounds

    def bounds(self, indices: Indices) -> Counts:
        """The upper bounds of (positive) buckets by index."""
        if self.is_custom:
            return custom_bounds(self.custom_values, indices)
        return exponential_bounds(self.schema, indices)

    def ascending(self) -> tuple[Counts, Counts, Counts]:
        """Lower bounds, upper bounds and counts of all buckets, from the lowest up.

        The zero bucket is among them if it is populated; what overlaps with it ends there.
        """
        indices, negative = self.positive.indices, self.negative.indices[::-1]
        if self.is_custom:
            return self.bounds(indices - 1), self.bounds(indices), self.positive.counts
        zero = self.zero_threshold
        inner = [np.array([]), np.array([]), np.array([])]
        if self.zero_count > 0:
            inner = [np.array([-zero]), np.array([zero]), np.array([self.zero_count])]
        below = -np.maximum(self.bounds(negative - 1), zero)
        above = np.maximum(self.bounds(indices - 1), zero)
        return (
            np.concatenate([-self.bounds(negative), inner[0], above]),
            np.concatenate([below, inner[1], self.bounds(indices)]),
            np.concatenate([self.negative.counts[::-1], inner[2], self.positive.counts]),
        )

    def buckets(self) -> list[Bucket]:
        """The populated buckets, from the lowest up, with their bounds as stored."""
        found = [*self._stored(self.negative, negative=True)[::-1]]
        if self.zero_count != 0 and not self.is_custom:
            zero = self.zero_threshold
            found.append(Bucket(-zero, zero, True, True, self.zero_count))
        found += self._stored(self.positive, negative=False)
        return [bucket for bucket in found if bucket.count != 0]

    def _stored(self, buckets: Buckets, *, negative: bool) -> list[Bucket]:
        inner = self.bounds(buckets.indices - 1).tolist()
        outer = self.bounds(buckets.indices).tolist()
        counts = buckets.counts.tolist()
        if negative:
            return [
                Bucket(-high, -low, True, False, count)
                for low, high, count in zip(inner, outer, counts, strict=True)
            ]
        first = (buckets.indices == 0).tolist() if self.is_custom else [False] * len(buckets)
        return [
            Bucket(low, high, includes_lower, True, count)
            for low, high, includes_lower, count in zip(inner, outer, first, counts, strict=True)
        ]


def _same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def _same_buckets(left: Buckets, right: Buckets) -> bool:
    return left.same_layout(right) and np.array_equal(left.counts, right.counts, equal_nan=True)
