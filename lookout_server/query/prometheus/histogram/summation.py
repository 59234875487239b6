"""Sums of many histograms that keep their rounding errors (Neumaier's algorithm)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .arithmetic import combined_hint, reconcile
from .bounds import Counts, Indices
from .model import Buckets, Histogram
from .resolution import map_to_bounds, reduce_resolution, spread, widen_zero


class HistogramSum:
    """A running sum.

    Attributes:
        conflicting_resets: some summands knew of a counter reset, others of its absence.
        reconciled_bounds: the summands had different custom bounds.
    """

    def __init__(self, first: Histogram) -> None:
        self._sum = first
        self._error = _zeroed(first)
        self.conflicting_resets = False
        self.reconciled_bounds = False

    def add(self, histogram: Histogram) -> None:
        """Add another histogram.

        Raises:
            IncompatibleHistograms: it has custom buckets and the others have not, or vice versa.
        """
        hint, conflicting = combined_hint(self._sum.hint, histogram.hint)
        reconciled = self._sum.custom_values != histogram.custom_values
        self.conflicting_resets |= conflicting
        self.reconciled_bounds |= reconciled
        total, summand = reconcile(self._sum, histogram)
        error = _like(self._error, total)
        self._sum, self._error = _add(total, summand, error)
        self._sum = self._sum.with_hint(hint)

    def total(self) -> Histogram:
        """The sum so far, empty buckets included."""
        return _plus(self._sum, self._error)


def _zeroed(histogram: Histogram) -> Histogram:
    return replace(
        histogram,
        count=0.0,
        sum=0.0,
        zero_count=0.0,
        positive=histogram.positive.with_counts(np.zeros(len(histogram.positive))),
        negative=histogram.negative.with_counts(np.zeros(len(histogram.negative))),
    )


def _like(error: Histogram, total: Histogram) -> Histogram:
    """The errors in the layout the sum has been brought to."""
    if total.is_custom:
        return map_to_bounds(error, total.custom_values)
    error = widen_zero(error, total.zero_threshold)
    return reduce_resolution(error, total.schema)


def _add(total: Histogram, summand: Histogram, error: Histogram) -> tuple[Histogram, Histogram]:
    scalars, lost = _neumaier(_scalars(total), _scalars(summand), _scalars(error))
    positive, positive_error = _add_buckets(total.positive, summand.positive, error.positive)
    negative, negative_error = _add_buckets(total.negative, summand.negative, error.negative)
    return (
        _rebuilt(total, scalars, positive, negative),
        _rebuilt(total, lost, positive_error, negative_error),
    )


def _scalars(histogram: Histogram) -> Counts:
    return np.array([histogram.count, histogram.sum, histogram.zero_count])


def _rebuilt(
    template: Histogram, scalars: Counts, positive: Buckets, negative: Buckets
) -> Histogram:
    count, total, zero_count = scalars.tolist()
    return replace(
        template,
        count=count,
        sum=total,
        zero_count=zero_count,
        positive=positive,
        negative=negative,
    )


def _add_buckets(total: Buckets, summand: Buckets, error: Buckets) -> tuple[Buckets, Buckets]:
    indices = _union(total, summand, error)
    counts, lost = _neumaier(
        spread(total, indices), spread(summand, indices), spread(error, indices)
    )
    return Buckets(indices, counts), Buckets(indices, lost)


def _union(*sides: Buckets) -> Indices:
    first, *others = sides
    indices = first.indices
    for other in others:
        if not np.array_equal(indices, other.indices):
            indices = np.union1d(indices, other.indices)
    return indices


def _neumaier(total: Counts, summand: Counts, error: Counts) -> tuple[Counts, Counts]:
    """The new sum and its accumulated rounding error; an infinite sum has none."""
    with np.errstate(invalid="ignore", over="ignore"):
        result = total + summand
        larger = np.abs(total) >= np.abs(summand)
        lost = np.where(larger, (total - result) + summand, (summand - result) + total)
        return result, np.where(np.isinf(result), 0.0, error + lost)


def _plus(total: Histogram, error: Histogram) -> Histogram:
    scalars = _scalars(total) + _scalars(error)
    indices = _union(total.positive, error.positive)
    negative = _union(total.negative, error.negative)
    return _rebuilt(
        total,
        scalars,
        Buckets(indices, spread(total.positive, indices) + spread(error.positive, indices)),
        Buckets(negative, spread(total.negative, negative) + spread(error.negative, negative)),
    )
