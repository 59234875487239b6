"""Sums and differences of two histograms."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .errors import IncompatibleHistograms
from .model import Buckets, Histogram, ResetHint
from .resolution import (
    aligned,
    common_bounds,
    map_to_bounds,
    reduce_resolution,
    widen_zero,
    without_zero_bucket,
)


@dataclass(frozen=True, slots=True)
class Combined:
    """A result, and what a user should be told about it.

    Attributes:
        histogram: the result.
        conflicting_resets: one operand knew of a counter reset, the other of its absence.
        reconciled_bounds: the operands had different custom bounds.
    """

    histogram: Histogram
    conflicting_resets: bool
    reconciled_bounds: bool


def add(left: Histogram, right: Histogram) -> Combined:
    """The observations of both.

    Raises:
        IncompatibleHistograms: only one of them has custom buckets.
    """
    return _combine(left, right, 1.0)


def subtract(left: Histogram, right: Histogram) -> Combined:
    """The observations of the first less those of the second.

    The reset hint is that of a sum; a caller that offers the result as a difference marks it as
    a gauge.

    Raises:
        IncompatibleHistograms: only one of them has custom buckets.
    """
    return _combine(left, right, -1.0)


def _combine(left: Histogram, right: Histogram, sign: float) -> Combined:
    hint, conflicting = combined_hint(left.hint, right.hint)
    reconciled = left.custom_values != right.custom_values
    left, right = reconcile(left, right)
    with np.errstate(invalid="ignore", over="ignore"):
        result = replace(
            left,
            count=left.count + sign * right.count,
            sum=left.sum + sign * right.sum,
            zero_count=left.zero_count + sign * right.zero_count,
            positive=_summed(left.positive, right.positive, sign),
            negative=_summed(left.negative, right.negative, sign),
            hint=hint,
        )
    if reconciled:
        result = result.compact()
    return Combined(result, conflicting, reconciled)


def reconcile(left: Histogram, right: Histogram) -> tuple[Histogram, Histogram]:
    """Both histograms in a layout they share.

    Raises:
        IncompatibleHistograms: only one of them has custom buckets.
    """
    if left.is_custom != right.is_custom:
        raise IncompatibleHistograms
    if left.is_custom:
        bounds = common_bounds(left.custom_values, right.custom_values)
        return map_to_bounds(left, bounds), map_to_bounds(right, bounds)
    if left.schema == right.schema and left.zero_threshold == right.zero_threshold:
        return left, right
    while left.zero_threshold != right.zero_threshold:
        left = widen_zero(left, right.zero_threshold)
        right = widen_zero(right, left.zero_threshold)
    schema = min(left.schema, right.schema)
    right = reduce_resolution(right, schema)
    right = replace(
        right,
        positive=without_zero_bucket(right, right.positive),
        negative=without_zero_bucket(right, right.negative),
    )
    return reduce_resolution(left, schema), right


def _summed(left: Buckets, right: Buckets, sign: float) -> Buckets:
    if not len(right):
        return left
    indices, first, second = aligned(left, right)
    return Buckets(indices, first + sign * second)


def combined_hint(left: ResetHint, right: ResetHint) -> tuple[ResetHint, bool]:
    """The reset hint of a combination, and whether the two contradict each other."""
    if left is right:
        return left, False
    if ResetHint.GAUGE in (left, right):
        return ResetHint.GAUGE, False
    return ResetHint.UNKNOWN, ResetHint.UNKNOWN not in (left, right)
