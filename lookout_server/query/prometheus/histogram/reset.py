"""Tells whether a counter was reset between two histograms."""

from __future__ import annotations

from collections.abc import Sequence

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


def stored_hints(series: Sequence[Histogram]) -> list[Histogram]:
    """A series, in order of time, with the reset hints a Prometheus storage would give it.

    A gauge stays one. Of the others a histogram is known to follow without a reset if it has the
    layout of the one before and counts no less; a reset as such is never remembered, because what
    was before it may be gone or may yet be added.
    """
    hinted = []
    for previous, current in zip([None, *series], series, strict=False):
        hint = ResetHint.GAUGE if current.hint is ResetHint.GAUGE else _stored(current, previous)
        hinted.append(current.with_hint(hint))
    return hinted


def _stored(current: Histogram, previous: Histogram | None) -> ResetHint:
    if previous is None or previous.hint is ResetHint.GAUGE or current.hint is ResetHint.RESET:
        return ResetHint.UNKNOWN
    same_layout = (
        current.schema == previous.schema
        and current.zero_threshold == previous.zero_threshold
        and current.custom_values == previous.custom_values
    )
    if not same_layout or detect_reset(current.with_hint(ResetHint.UNKNOWN), previous):
        return ResetHint.UNKNOWN
    return ResetHint.NOT_RESET


def detected_hints(series: Sequence[Histogram]) -> list[Histogram]:
    """A series, in order of time, in which unknown reset hints but the first are found out."""
    hinted = []
    for previous, current in zip([None, *series], series, strict=False):
        hint = current.hint
        if hint is ResetHint.UNKNOWN and previous is not None:
            reset = detect_reset(current, previous)
            hint = ResetHint.RESET if reset else ResetHint.NOT_RESET
        hinted.append(current.with_hint(hint))
    return hinted


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
