"""Operations on native histograms that tell the query what was odd about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from . import annotations as notes
from . import histogram as library
from .context import QueryContext
from .frame import Frame
from .histogram import Histogram, IncompatibleHistograms, ResetHint
from .source import ObjectArray, SeriesBlock

ADDITION, SUBTRACTION, AGGREGATION = "addition", "subtraction", "aggregation"


class Recorder:
    """Adds and subtracts, noting conflicts at one place of the query."""

    def __init__(self, context: QueryContext, position: int) -> None:
        self._notes = context.annotations
        self._position = position

    def add(self, left: Histogram, right: Histogram) -> Histogram:
        """left + right; conflicting reset hints and differing custom bounds are noted."""
        return self._noted(library.add(left, right), ADDITION)

    def subtract(self, left: Histogram, right: Histogram) -> Histogram:
        """left - right as a gauge; conflicts are noted like those of :meth:`add`."""
        difference = self._noted(library.subtract(left, right), SUBTRACTION)
        return difference.with_hint(ResetHint.GAUGE)

    def _noted(self, combined: library.Combined, operation: str) -> Histogram:
        if combined.conflicting_resets:
            self._notes.warn(notes.counter_reset_collision(operation), self._position)
        self._note_reconciled(combined.reconciled_bounds, operation)
        return combined.histogram.compact()

    def _note_reconciled(self, reconciled: bool, operation: str) -> None:
        if reconciled:
            self._notes.info(notes.custom_buckets_reconciled(operation), self._position)

    def binary(
        self, operator: str, operation: Callable[[], Histogram]
    ) -> tuple[Histogram, bool] | None:
        """What a binary operator makes of two histograms; None, noted, if they do not fit."""
        try:
            return operation(), True
        except IncompatibleHistograms:
            self._notes.warn(notes.incompatible_bucket_layout(operator), self._position)
            return None

    def plus(self, left: Histogram, right: Histogram) -> Histogram:
        """left + right where resets are dealt with elsewhere: only bounds are noted."""
        combined = library.add(left, right)
        self._note_reconciled(combined.reconciled_bounds, ADDITION)
        return combined.histogram

    def minus(self, left: Histogram, right: Histogram) -> Histogram:
        """left - right where resets are dealt with elsewhere: only bounds are noted."""
        combined = library.subtract(left, right)
        self._note_reconciled(combined.reconciled_bounds, SUBTRACTION)
        return combined.histogram


class HistogramTotal:
    """A sum or mean of histograms, with the notes that go with it."""

    def __init__(self, first: Histogram) -> None:
        self._sum = library.HistogramSum(first)
        self._before: library.HistogramSum | None = None
        self._members = [first]
        self._hints = {first.hint}

    def add(self, histogram: Histogram) -> None:
        """Raises IncompatibleHistograms."""
        self._hints.add(histogram.hint)
        self._members.append(histogram)
        self._sum.add(histogram)

    def total(self) -> Histogram:
        """The sum."""
        return self._sum.total()

    def mean(self) -> Histogram:
        """The mean; of shares rather than by the sum where that would overflow."""
        total = self._sum.total()
        if not total.overflows() or any(member.overflows() for member in self._members):
            return total / len(self._members)
        first, *rest = (member / len(self._members) for member in self._members)
        mean = library.HistogramSum(first)
        for share in rest:
            mean.add(share)
        return mean.total()

    def note(self, context: QueryContext, position: int) -> None:
        """Tell what did not quite fit together."""
        if {ResetHint.RESET, ResetHint.NOT_RESET} <= self._hints:
            text = notes.counter_reset_collision(AGGREGATION)
            context.annotations.warn(text, position)
        if self._sum.reconciled_bounds:
            context.annotations.info(notes.custom_buckets_reconciled(AGGREGATION), position)


def equal(left: Histogram, right: Histogram) -> bool:
    """Whether two histograms hold the same; the reset hint does not count."""
    return left.equals(right)


def scaled(histogram: Histogram, factor: float) -> Histogram:
    """All counts and the sum times a factor."""
    return (histogram * factor).compact()


def divided(histogram: Histogram, divisor: float) -> Histogram:
    """All counts and the sum by a divisor."""
    return (histogram / divisor).compact()


def trimmed(histogram: Histogram, at: float, *, upper: bool) -> Histogram:
    """Only the observations below (``upper``) or above a value, as far as buckets tell."""
    return library.trim_upper(histogram, at) if upper else library.trim_lower(histogram, at)


def negated(histograms: ObjectArray | None) -> ObjectArray | None:
    """Every histogram times -1."""
    return _each(histograms, lambda item: item * -1.0)


def without_reset_hints(frame: Frame) -> Frame:
    """Histograms that no longer say whether there was a reset before them.

    Between the results of a subquery samples may be missing, or repeated.
    """
    known = (ResetHint.RESET, ResetHint.NOT_RESET)
    histograms = _each(
        frame.histograms,
        lambda item: item.with_hint(ResetHint.UNKNOWN) if item.hint in known else item,
    )
    return Frame(frame.labels, frame.values, frame.present, frame.drop_name, histograms)


def totals_only(block: SeriesBlock) -> SeriesBlock:
    """Histograms without their buckets, which tell by a hint whether there was a reset.

    Without buckets nobody could find out any more.
    """
    if block.histograms is None:
        return block
    items = block.histograms.tolist()
    bare: ObjectArray = np.full(len(items), None, dtype=object)
    for start, stop in pairwise(block.offsets.tolist()):
        before: Histogram | None = None
        for index in range(start, stop):
            item = items[index]
            if item is not None:
                bare[index] = _bare(item, before)
                before = item
    return replace(block, histograms=bare)


def _bare(item: Histogram, before: Histogram | None) -> Histogram:
    hint = item.hint
    if hint is ResetHint.UNKNOWN and before is not None:
        reset = library.detect_reset(item, before)
        hint = ResetHint.RESET if reset else ResetHint.NOT_RESET
    return Histogram(
        schema=item.schema,
        count=item.count,
        sum=item.sum,
        custom_values=item.custom_values,
        hint=hint,
    )


def _each(
    histograms: ObjectArray | None, change: Callable[[Histogram], Histogram]
) -> ObjectArray | None:
    if histograms is None:
        return None
    changed: ObjectArray = np.full(histograms.shape, None, dtype=object)
    for at, item in np.ndenumerate(histograms):
        if item is not None:
            changed[at] = change(item)
    return changed
