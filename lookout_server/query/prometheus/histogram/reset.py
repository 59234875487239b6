"""Tells whether a counter was reset between two histograms."""

from __future__ import annotations

import numpy as np

from .model import Buckets, Histogram, ResetHint
from .resolution import (
    aligned,
    common_bounds,
    map_to_bounds,
    reduce_resolution,
    widen_zero,
)


def detect_reset(current: Histogram, previous: Histogram) -> bool:
    """Whether something was counted in ``previous`` that ``current`` does not count any more.

    The reset hint of ``current`` decides where it is known. A higher resolution or a narrower
    zero bucket than before can only come with a reset.
    """
    if current.hint is ResetHint.RESET:
        return True
    if current.hint is ResetHint.NOT_RESET:
        return False
    if current.count < previous.count:
        return True
    if current.is_custom or previous.is_custom:
        return current.is_custom != previous.is_custom or _custom_decreased(current, previous)
    if current.schema > previous.schema or current.zero_threshold < previous.zero_threshold:
        return True
    previous = widen_zero(previous, current.zero_threshold)
    if previous.zero_threshold != current.zero_threshold:
        return True
    if current.zero_count < previous.zero_count:
        return True
    previous = reduce_resolution(previous, current.schema)
    return _decreased(current, previous)


def _custom_decreased(current: Histogram, previous: Histogram) -> bool:
    bounds = common_bounds(current.custom_values, previous.custom_values)
    return _decreased(map_to_bounds(current, bounds), map_to_bounds(previous, bounds))


def _decreased(current: Histogram, previous: Histogram) -> bool:
    """Whether any bucket of two histograms with the same bounds has a lower count."""
    return _any_lower(current.positive, previous.positive) or _any_lower(
        current.negative, previous.negative
    )


def _any_lower(now: Buckets, before: Buckets) -> bool:
    _, counts, earlier = aligned(now, before)
    return bool(np.any(counts < earlier))
