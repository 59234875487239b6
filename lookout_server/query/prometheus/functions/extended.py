"""Rates over anchored and smoothed range selectors, and smoothed instant selectors.

Anchored: the window reaches back to the last sample at or before its start, and there is no
extrapolation. Smoothed: values at the borders of the window are interpolated between the samples
on both sides. Source: documentation of the feature flag ``promql-extended-range-selectors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import annotations as notes
from .. import labelsets, selectors, tree
from ..context import QueryContext, Steps
from ..errors import ExecutionError
from ..frame import Frame, filled, stacked
from ..histogram import Histogram, IncompatibleHistograms, ResetHint, detect_reset
from ..native import Recorder
from ..ranges import RangeVector
from ..source import Int64Array, ObjectArray
from . import borders
from .over_time import Cells


@dataclass(slots=True)
class _Samples:
    """The samples of a window and around it, all of one kind."""

    times: list[int]
    values: list[float]
    histograms: list[Histogram]
    begin: int
    end: int
    smoothed: bool

    def edges(self) -> tuple[int, int] | None:
        """Index of the first and the last sample that matter; None if nothing is inside."""
        last = len(self.times) - 1
        first = 0
        while first < last and self.times[first] <= self.begin:
            first += 1
        first = max(0, first - 1)
        if self.smoothed:
            last = next((i for i in range(last) if self.times[i] >= self.end), last)
        if self.times[last] <= self.begin:
            return None
        if self.smoothed and self.times[first] > self.end:
            return None
        return first, last


def rates(
    vector: RangeVector,
    name: str,
    selector: tree.MatrixSelector,
    position: int,
    context: QueryContext,
) -> Frame:
    """``rate``, ``increase`` or ``delta`` of an anchored or smoothed selector."""
    smoothed = selector.selector.smoothed
    plain, mixed = _by_kind(vector)
    parts = [Frame.empty(len(vector.times))]
    for chunk in plain.chunks():
        context.check()
        context.total += chunk.seen()
        parts.append(_frame(chunk, borders.rates(chunk, name, smoothed=smoothed)))
    if len(mixed):
        parts.append(_mixed_rates(mixed, name, smoothed, position, context))
    return stacked(parts)


def _by_kind(vector: RangeVector) -> tuple[RangeVector, RangeVector]:
    """The series of numbers alone, and those with histograms."""
    flags = vector.has_histograms()
    plain = vector.take([row for row, flag in enumerate(flags) if not flag])
    return plain.floats_only(), vector.take([row for row, flag in enumerate(flags) if flag])


def _frame(vector: RangeVector, cells: Cells) -> Frame:
    return Frame(list(vector.labels), *cells, vector.drop_name)


def _mixed_rates(
    vector: RangeVector, name: str, smoothed: bool, position: int, context: QueryContext
) -> Frame:
    low, high = vector.bounds()
    result = _Cells(vector)
    rater = _Rater(name, vector.range_s, Recorder(context, position), context, position)
    for row in range(len(vector)):
        context.check()
        rater.metric = labelsets.metric_name(vector.labels[row])
        for step in np.flatnonzero(high[row] > low[row]).tolist():
            cut = slice(int(low[row, step]), int(high[row, step]))
            samples = _cut(vector, cut, int(vector.ends[step]), smoothed)
            if samples is None:
                context.annotations.warn(notes.mixed_floats_histograms(rater.metric), position)
            else:
                result.put(row, step, rater.rate(samples))
    return result.frame()


class _Cells:
    """A frame of numbers and histograms in the making."""

    def __init__(self, vector: RangeVector) -> None:
        self._vector = vector
        shape = len(vector), len(vector.times)
        self._values = np.full(shape, np.nan)
        self._present = np.zeros(shape, dtype=np.bool_)
        self._histograms: ObjectArray = np.full(shape, None, dtype=object)

    def put(self, row: int, step: int, value: float | Histogram | None) -> None:
        """Set a cell; None leaves it empty."""
        if value is None:
            return
        self._present[row, step] = True
        if isinstance(value, Histogram):
            self._histograms[row, step] = value
        else:
            self._values[row, step] = value

    def frame(self) -> Frame:
        """All cells."""
        vector, kinds = self._vector, None
        if filled(self._histograms).any():
            kinds = self._histograms
        return Frame(list(vector.labels), self._values, self._present, vector.drop_name, kinds)


def _cut(vector: RangeVector, cut: slice, end: int, smoothed: bool) -> _Samples | None:
    """The samples of a window; None where numbers and histograms are mixed."""
    items = [] if vector.histograms is None else vector.histograms[cut].tolist()
    kinds = {item is not None for item in items} or {False}
    if len(kinds) > 1:
        return None
    return _Samples(
        vector.timestamps[cut].tolist(),
        vector.values[cut].tolist(),
        items if kinds == {True} else [],
        end - vector.range_ms,
        end,
        smoothed,
    )


class _Rater:
    """One of the three functions, for one selector."""

    def __init__(
        self,
        name: str,
        range_s: float,
        recorder: Recorder,
        context: QueryContext,
        position: int,
    ) -> None:
        self._counter = name != "delta"
        self._divisor = range_s if name == "rate" else 1.0
        self._recorder = recorder
        self._context = context
        self._position = position
        self.metric = ""

    def rate(self, samples: _Samples) -> float | Histogram | None:
        """The change within the window, by its length for ``rate``."""
        edges = samples.edges()
        if edges is None:
            return None
        if not samples.histograms:
            return self._floats(samples, *edges) / self._divisor
        try:
            result = self._histograms(samples, *edges)
        except IncompatibleHistograms:
            self._warn(notes.mixed_exponential_custom(self.metric))
            return None
        if self._divisor != 1.0:
            result = result / self._divisor
        return result.with_hint(ResetHint.GAUGE).compact()

    def _warn(self, text: str) -> None:
        self._context.annotations.warn(text, self._position)

    def _floats(self, samples: _Samples, first: int, last: int) -> float:
        times, values = samples.times, samples.values
        left = values[first]
        if samples.smoothed and times[first] < samples.begin:
            left = interpolated(
                values[first : first + 2], times[first : first + 2], samples.begin, self._counter
            )
        right = values[last]
        if samples.smoothed and last > 0 and times[last] > samples.end:
            right = interpolated(
                values[last - 1 : last + 1], times[last - 1 : last + 1], samples.end, self._counter
            )
        change = right - left
        if self._counter:
            start = first + 1 if times[first] <= samples.begin else first
            stop = last if times[last] >= samples.end else last + 1
            before = left
            for value in [*values[start:stop], right]:
                if value < before:
                    change += before
                before = value
        return change

    def _histograms(self, samples: _Samples, first: int, last: int) -> Histogram:
        items, times = samples.histograms, samples.times
        self._check_kinds(items[first : last + 1])
        left, right = items[first], items[last]
        if samples.smoothed and times[first] < samples.begin:
            left = self._between(samples, first, samples.begin)
        if samples.smoothed and last > 0 and times[last] > samples.end:
            right = self._between(samples, last - 1, samples.end)
        if not self._counter:
            if any(item.hint is not ResetHint.GAUGE for item in (left, right)):
                self._warn(notes.not_gauge_histogram(self.metric))
            return self._recorder.minus(right, left)
        change = self._recorder.minus(right, left)
        for lost in self._lost(samples, first, last, left, right):
            change = self._recorder.plus(change, lost)
        return change

    def _check_kinds(self, items: Sequence[Histogram]) -> None:
        for item in items:
            if item.is_custom != items[0].is_custom:
                raise IncompatibleHistograms
            if self._counter and item.hint is ResetHint.GAUGE:
                self._warn(notes.not_counter_histogram(self.metric))

    def _between(self, samples: _Samples, index: int, at: int) -> Histogram:
        return interpolated_histogram(
            samples.histograms[index : index + 2],
            samples.times[index : index + 2],
            at,
            self._counter,
            self._recorder,
        )

    def _lost(
        self, samples: _Samples, first: int, last: int, left: Histogram, right: Histogram
    ) -> list[Histogram]:
        """What the counter had reached at each reset between the borders."""
        items = samples.histograms
        start, before = first + 1, left
        crossed = samples.smoothed and samples.times[first] < samples.begin
        if crossed and detect_reset(items[start], items[first]):
            # The interpolation at the left border has already dealt with this reset.
            before = items[start]
            start += 1
        if start > last:
            return []
        lost: list[Histogram] = []
        for item in items[start:last]:
            if detect_reset(item, before):
                lost.append(before)
            before = item
        if detect_reset(right, before):
            lost.append(before)
        return lost


def interpolated(values: Sequence[float], times: Sequence[int], at: int, counter: bool) -> float:
    """The value between two samples; a counter that was reset starts from zero."""
    before, after = values
    if counter and after < before:
        before = 0.0
    return before + (after - before) * (at - times[0]) / (times[1] - times[0])


def interpolated_histogram(
    items: Sequence[Histogram], times: Sequence[int], at: int, counter: bool, recorder: Recorder
) -> Histogram:
    """The histogram between two samples. Raises IncompatibleHistograms."""
    before, after = items
    if before.is_custom != after.is_custom:
        raise IncompatibleHistograms
    if at == times[0]:
        return before
    if at == times[1]:
        return after
    share = (at - times[0]) / (times[1] - times[0])
    if counter and detect_reset(after, before):
        return after * share
    between = recorder.plus(recorder.minus(after, before) * share, before)
    return between.with_hint(after.hint)


def smooth(
    selector: tree.VectorSelector,
    steps: Steps,
    context: QueryContext,
    around: selectors.Surroundings,
) -> Frame:
    """A smoothed instant selector: interpolated between the samples around each step."""
    window = tree.MatrixSelector(selector, 0, None, selector.start, selector.end)
    plain, mixed = _by_kind(selectors.select_range(window, steps, context, around))
    parts = [_frame(plain, borders.smooth(plain))]
    if len(mixed):
        parts.append(_mixed_smooth(mixed, context, selector.start))
    return stacked(parts).pruned()


def _mixed_smooth(vector: RangeVector, context: QueryContext, position: int) -> Frame:
    low, high = vector.bounds()
    until = np.clip(vector.indices_after(vector.ends), low, high)
    smoother, result = _Smoother(vector, context, position), _Cells(vector)
    for row, step in np.argwhere(high > low).tolist():
        bounds = int(low[row, step]), int(until[row, step]), int(high[row, step])
        result.put(row, step, smoother.at(row, int(vector.ends[step]), bounds))
    return result.frame()


class _Smoother:
    def __init__(self, vector: RangeVector, context: QueryContext, position: int) -> None:
        self._times: Int64Array = vector.timestamps
        self._values = vector.values
        self._items = [] if vector.histograms is None else vector.histograms.tolist()
        self._labels = vector.labels
        self._context = context
        self._position = position

    def at(self, row: int, end: int, bounds: tuple[int, int, int]) -> float | Histogram | None:
        """The value at a time; ``bounds`` are low, first sample later than it, and high."""
        low, until, high = bounds
        metric = labelsets.metric_name(self._labels[row])
        kinds = {item is not None for item in self._items[low:high]} or {False}
        if len(kinds) > 1:
            text = notes.mixed_floats_histograms(metric)
            self._context.annotations.warn(text, self._position)
            return None
        if until <= low:
            return None  # nothing yet
        before = until - 1
        if int(self._times[before]) == end or until >= high:
            return self._sample(before)
        pair = slice(before, until + 1)
        times = self._times[pair].tolist()
        if kinds == {False}:
            return interpolated(self._values[pair].tolist(), times, end, False)
        items = self._items[pair]
        counter = items[0].hint is not ResetHint.GAUGE
        recorder = Recorder(self._context, self._position)
        try:
            return interpolated_histogram(items, times, end, counter, recorder)
        except IncompatibleHistograms:
            text = notes.mixed_exponential_custom(metric)
            self._context.annotations.warn(text, self._position)
            return None

    def _sample(self, index: int) -> float | Histogram:
        item = self._items[index] if self._items else None
        return float(self._values[index]) if item is None else item


def with_borders(vector: RangeVector, smoothed: bool) -> RangeVector:
    """What an anchored or smoothed selector shows by itself: values at both borders as samples."""
    low, high = vector.bounds()
    offsets, times, values = [0], [], []
    end = int(vector.ends[0])
    for row in range(len(vector)):
        cut = slice(int(low[row, 0]), int(high[row, 0]))
        samples = None
        if cut.stop > cut.start:
            samples = _cut(vector, cut, end, smoothed)
            if samples is None or samples.histograms:
                raise ExecutionError("anchored modifier is not supported with histograms")
        points = [] if samples is None else _bordered(samples)
        times += [time for time, _ in points]
        values += [value for _, value in points]
        offsets.append(len(times))
    return replace(
        vector,
        offsets=np.array(offsets, dtype=np.int64),
        timestamps=np.array(times, dtype=np.int64),
        values=np.array(values, dtype=np.float64),
        histograms=None,
        starts=None,
        range_ms=vector.range_ms + 1,  # the left border belongs to it
        before_ms=0,
        after_ms=0,
    )


def _bordered(samples: _Samples) -> list[tuple[int, float]]:
    edges = samples.edges()
    if edges is None:
        return []
    first, last = edges
    times, values = samples.times, samples.values
    left, right = values[first], values[last]
    if samples.smoothed and times[first] < samples.begin:
        left = interpolated(
            values[first : first + 2], times[first : first + 2], samples.begin, False
        )
    if samples.smoothed and last > 0 and times[last] > samples.end:
        right = interpolated(
            values[last - 1 : last + 1], times[last - 1 : last + 1], samples.end, False
        )
    start = first + 1 if times[first] <= samples.begin else first
    stop = last if times[last] >= samples.end else last + 1
    inner = list(zip(times[start:stop], values[start:stop], strict=True))
    return [(samples.begin, left), *inner, (samples.end, right)]
