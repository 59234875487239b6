"""Brings histograms to a common layout: resolution, zero bucket, custom bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .bounds import Counts, Indices
from .model import NO_BUCKETS, Buckets, Histogram


def reduce_resolution(histogram: Histogram, schema: int) -> Histogram:
    """The same observations in the wider buckets of a lower exponential schema."""
    if schema == histogram.schema:
        return histogram
    shift = histogram.schema - schema
    return replace(
        histogram,
        schema=schema,
        positive=_merge(histogram.positive, coarser(histogram.positive.indices, shift)),
        negative=_merge(histogram.negative, coarser(histogram.negative.indices, shift)),
    )


def coarser(indices: Indices, shift: int) -> Indices:
    """Where buckets go when the schema is lowered by ``shift``."""
    return ((indices - 1) >> shift) + 1


def _merge(buckets: Buckets, targets: Indices) -> Buckets:
    """Buckets moved to other indices, ascending ones; counts that meet are added."""
    if not len(buckets):
        return NO_BUCKETS
    firsts = np.flatnonzero(np.diff(targets, prepend=targets[0] - 1))
    return Buckets(targets[firsts], np.add.reduceat(buckets.counts, firsts))


def widen_zero(histogram: Histogram, threshold: float) -> Histogram:
    """The histogram with a zero bucket at least this wide.

    A threshold within a populated bucket is raised to that bucket's outer bound. What is inside
    the new zero bucket is counted there.
    """
    if threshold <= histogram.zero_threshold:
        return histogram
    threshold = _populated_bound(histogram, threshold)
    count = histogram.zero_count
    sides = []
    for buckets in (histogram.positive, histogram.negative):
        inside = histogram.bounds(buckets.indices - 1) < threshold
        count += float(buckets.counts[inside].sum())
        sides.append(buckets.kept(~inside).compact())
    return replace(
        histogram,
        zero_threshold=threshold,
        zero_count=count,
        positive=sides[0],
        negative=sides[1],
    )


def _populated_bound(histogram: Histogram, threshold: float) -> float:
    """A threshold that cuts no populated bucket on either side."""
    while True:
        before = threshold
        for buckets in (histogram.positive, histogram.negative):
            populated = buckets.compact()
            lower = histogram.bounds(populated.indices - 1)
            upper = histogram.bounds(populated.indices)
            cut = (lower < threshold) & (upper > threshold)
            if cut.any():
                threshold = float(upper[cut][0])
        if threshold == before:
            return threshold


def without_zero_bucket(histogram: Histogram, buckets: Buckets) -> Buckets:
    """Those of a histogram's buckets that are not wholly within its zero bucket."""
    if not len(buckets) or histogram.is_custom:
        return buckets
    return buckets.kept(histogram.bounds(buckets.indices) > histogram.zero_threshold)


def common_bounds(left: tuple[float, ...], right: tuple[float, ...]) -> tuple[float, ...]:
    """The custom bounds that both lists have."""
    shared = set(right)
    return tuple(bound for bound in left if bound in shared)


def map_to_bounds(histogram: Histogram, bounds: tuple[float, ...]) -> Histogram:
    """Custom buckets merged so that only some of their bounds remain."""
    if histogram.custom_values == bounds:
        return histogram
    uppers = histogram.bounds(histogram.positive.indices)
    targets: Indices = np.searchsorted(np.asarray(bounds), uppers, side="left")
    merged = _merge(histogram.positive, targets).compact()
    return replace(histogram, custom_values=bounds, positive=merged)


def aligned(left: Buckets, right: Buckets) -> tuple[Indices, Counts, Counts]:
    """The indices of both, and the counts of each at them."""
    if left.same_layout(right):
        return left.indices, left.counts, right.counts
    indices = np.union1d(left.indices, right.indices)
    return indices, spread(left, indices), spread(right, indices)


def spread(buckets: Buckets, indices: Indices) -> Counts:
    """Counts at indices that include those of the buckets; 0 where there is no bucket."""
    if buckets.indices is indices:
        return buckets.counts
    counts = np.zeros(len(indices))
    counts[np.searchsorted(indices, buckets.indices)] = buckets.counts
    return counts
