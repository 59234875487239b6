"""Turns classic histograms (``_bucket``, ``_count``, ``_sum``) into native ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .bounds import CUSTOM_SCHEMA, Counts
from .errors import InvalidHistogram
from .model import Buckets, Histogram


def convert_classic(
    cumulative: Mapping[float, float], total: float | None = None, sum: float = 0.0
) -> Histogram:
    """A native histogram with custom buckets from the samples of a classic one.

    Args:
        cumulative: the cumulative counts by upper bound (the label ``le``).
        total: the number of observations, where there is a sample for it.
        sum: the sum of observations.

    Raises:
        InvalidHistogram: the counts decrease, or do not agree with the total.
    """
    bounds = sorted(cumulative)
    if any(map(math.isnan, bounds)):
        raise InvalidHistogram("histogram custom bounds must not be NaN")
    counts = [cumulative[bound] for bound in bounds]
    if not bounds or bounds[-1] != math.inf:
        bounds.append(math.inf)
        counts.append(total if total is not None else (counts[-1] if counts else 0.0))
    if total is not None and total != counts[-1]:
        raise InvalidHistogram("count mismatch between the +Inf bucket and the observation count")
    return _native(tuple(bounds[:-1]), np.array(counts, dtype=np.float64), sum)


def _native(bounds: tuple[float, ...], cumulative: Counts, total: float) -> Histogram:
    counts = np.diff(cumulative, prepend=0.0)
    if np.any(counts < 0):
        raise InvalidHistogram("cumulative bucket counts must not decrease")
    buckets = Buckets(np.arange(len(counts), dtype=np.int64), counts).compact()
    return Histogram(
        schema=CUSTOM_SCHEMA,
        count=float(cumulative[-1]),
        sum=total,
        positive=buckets,
        custom_values=bounds,
    )
