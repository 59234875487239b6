"""Functions of windows that hold native histograms.

Series without histograms never come here, and windows of numbers alone still go through the
kernels of numbers. A series whose histograms all have the same layout is evaluated at once
(:mod:`.histogram_windows`), any other one window at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .. import annotations as notes
from .. import labelsets
from ..context import QueryContext
from ..frame import Frame, filled
from ..histogram import (
    Histogram,
    IncompatibleHistograms,
    ResetHint,
    detect_reset,
    reduce_resolution,
)
from ..native import HistogramTotal, Recorder
from ..ranges import RangeVector
from ..source import BoolArray, Float64Array, Int64Array, ObjectArray
from .histogram_windows import MATRIX_FUNCTIONS, SeriesMatrix, Windows
from .over_time import Kernel
from .rate import started_anew


@dataclass(slots=True)
class Window:
    """The histograms of one window, and what is around them."""

    metric: str
    times: Int64Array
    histograms: list[Histogram]
    resets: list[bool]  # whether a counter was reset before each
    starts: Int64Array | None
    end: int
    range_ms: int

    @property
    def begin(self) -> int:
        return self.end - self.range_ms


@dataclass(slots=True)
class Notes:
    """Where a function tells what it found."""

    context: QueryContext
    position: int

    def warn(self, text: str) -> None:
        self.context.annotations.warn(text, self.position)

    @property
    def recorder(self) -> Recorder:
        return Recorder(self.context, self.position)


WindowFunction: TypeAlias = Callable[[Window, Notes], Histogram | None]


def run(vector: RangeVector, name: str, kernel: Kernel, told: Notes) -> Frame:
    """Numbers through ``kernel``, histograms through what has the same name here.

    Windows that hold both have no value, which is noted.
    """
    values, present = kernel(vector.floats_only(), ())
    low, high = vector.bounds()
    if name in _LAST_TWO:
        low = np.maximum(low, high - 2)
    assert vector.histograms is not None
    kind = filled(vector.histograms)
    count = np.zeros(len(kind) + 1, dtype=np.int64)
    np.cumsum(kind, out=count[1:])
    number = count[high] - count[low]
    all_histograms = (number > 0) & (number == high - low)
    mixed = (number > 0) & ~all_histograms
    for row in np.flatnonzero(mixed.any(axis=1)).tolist():
        metric = labelsets.metric_name(vector.labels[row])
        told.warn(notes.mixed_floats_histograms(metric))
    filling = _Filling(name, vector, values, present & (number == 0), told)
    for row in np.flatnonzero(all_histograms.any(axis=1)).tolist():
        told.context.check()
        filling.row(row, np.flatnonzero(all_histograms[row]), low[row], high[row])
    return filling.result


class _Filling:
    """The cells of a result that come from histograms."""

    def __init__(
        self, name: str, vector: RangeVector, values: Float64Array, present: BoolArray, told: Notes
    ) -> None:
        self._name = name
        self._vector = vector
        self._told = told
        nothing: ObjectArray = np.full(values.shape, None, dtype=object)
        self.result = Frame(list(vector.labels), values, present, vector.drop_name, nothing)

    def row(self, row: int, steps: Int64Array, low: Int64Array, high: Int64Array) -> None:
        """Evaluate the windows of some steps, at once if the series allows it."""
        series = self._vector.rows(row, row + 1)
        assert series.histograms is not None
        start = int(self._vector.offsets[row])
        low, high = low[steps] - start, high[steps] - start
        items = series.histograms.tolist()
        if series.starts is None or not series.starts.any():
            matrix = SeriesMatrix.of(items, series.timestamps)
            if matrix is not None:
                self._at_once(row, steps, matrix, low, high)
                return
        self._one_by_one(row, steps, series, low, high)

    def _at_once(
        self,
        row: int,
        steps: Int64Array,
        series: SeriesMatrix,
        low: Int64Array,
        high: Int64Array,
    ) -> None:
        function, least = MATRIX_FUNCTIONS[self._name]
        enough = high - low >= least
        if not enough.any():
            return
        vector, steps = self._vector, steps[enough]
        windows = Windows(low[enough], high[enough], vector.ends[steps], vector.range_ms)
        metric = labelsets.metric_name(vector.labels[row])
        cells, hints = function(series, windows, metric, self._told.warn)
        self._put(row, steps.tolist(), series.layout.histograms(cells, hints))

    def _one_by_one(
        self,
        row: int,
        steps: Int64Array,
        series: RangeVector,
        low: Int64Array,
        high: Int64Array,
    ) -> None:
        function, vector = WINDOWED[self._name], self._vector
        metric = labelsets.metric_name(vector.labels[row])
        resets = _resets(series)
        assert series.histograms is not None
        values: list[Histogram | None] = []
        for step, begin, end in zip(steps.tolist(), low.tolist(), high.tolist(), strict=True):
            cut = slice(begin, end)
            window = Window(
                metric,
                series.timestamps[cut],
                series.histograms[cut].tolist(),
                resets[cut],
                None if series.starts is None else series.starts[cut],
                int(vector.ends[step]),
                vector.range_ms,
            )
            values.append(function(window, self._told))
        self._put(row, steps.tolist(), values)

    def _put(self, row: int, steps: list[int], values: Sequence[Histogram | None]) -> None:
        assert self.result.histograms is not None
        for step, value in zip(steps, values, strict=True):
            self.result.histograms[row, step] = value
            self.result.present[row, step] = value is not None


def _resets(vector: RangeVector) -> list[bool]:
    """Per sample, whether a counter reset lies between it and the one before."""
    assert vector.histograms is not None
    items = vector.histograms.tolist()
    flags = [False] * len(items)
    for index in range(1, len(items)):
        now, before = items[index], items[index - 1]
        if now is not None and before is not None:
            flags[index] = detect_reset(now, before)
    if vector.starts is not None:
        anew = started_anew(
            vector.starts[:-1], vector.timestamps[:-1], vector.starts[1:], vector.timestamps[1:]
        )
        for index in np.flatnonzero(anew).tolist():
            flags[index + 1] = True
    return flags


# ---------------------------------------------------------------------- sums and means


def sum_over_time(window: Window, told: Notes) -> Histogram | None:
    total = _total(window, told)
    return None if total is None else total.total()


def avg_over_time(window: Window, told: Notes) -> Histogram | None:
    total = _total(window, told)
    return None if total is None else total.mean()


def _total(window: Window, told: Notes) -> HistogramTotal | None:
    total = HistogramTotal(window.histograms[0])
    try:
        for histogram in window.histograms[1:]:
            total.add(histogram)
    except IncompatibleHistograms:
        told.warn(notes.mixed_exponential_custom(window.metric))
        return None
    total.note(told.context, told.position)
    return total


# ---------------------------------------------------------------------- rates


def rate(window: Window, told: Notes) -> Histogram | None:
    return _extrapolated(window, told, counter=True, per_second=True)


def increase(window: Window, told: Notes) -> Histogram | None:
    return _extrapolated(window, told, counter=True, per_second=False)


def delta(window: Window, told: Notes) -> Histogram | None:
    return _extrapolated(window, told, counter=False, per_second=False)


def _extrapolated(
    window: Window, told: Notes, *, counter: bool, per_second: bool
) -> Histogram | None:
    started = counter and _started_inside(window)
    if len(window.histograms) < 2 and not started:
        return None
    try:
        change = _change(window, told, counter=counter)
        if started:
            assert window.starts is not None
            first = window.histograms[0]
            change = first if change is None else told.recorder.plus(change, first)
    except IncompatibleHistograms:
        told.warn(notes.mixed_exponential_custom(window.metric))
        return None
    assert change is not None
    factor = _factor(window, change, counter=counter, started=started)
    return change * (factor / (window.range_ms / 1000) if per_second else factor)


def _started_inside(window: Window) -> bool:
    """Whether the counter of the first sample started, at zero, within the window."""
    if window.starts is None:
        return False
    start = int(window.starts[0])
    return start != 0 and window.begin < start < int(window.times[0])


def _change(window: Window, told: Notes, *, counter: bool) -> Histogram | None:
    """Last less first, plus what was lost in resets."""
    items = window.histograms
    if len(items) < 2:
        return None
    first, last = items[0], items[-1]
    _note_types(window, told, counter=counter)
    skip_first = counter and window.resets[1]
    if counter:
        used = items[1:] if skip_first else items
        if any(item.is_custom != last.is_custom for item in used):
            raise IncompatibleHistograms
        last = reduce_resolution(last, min(item.schema for item in used))
    result = last if skip_first else told.recorder.minus(last, first)
    if counter:
        for index in range(2 if skip_first else 1, len(items)):
            if window.resets[index]:
                result = told.recorder.plus(result, items[index - 1])
    return result.with_hint(ResetHint.GAUGE).compact()


def _note_types(window: Window, told: Notes, *, counter: bool) -> None:
    items = window.histograms
    if counter:
        if any(item.hint is ResetHint.GAUGE for item in items):
            told.warn(notes.not_counter_histogram(window.metric))
    elif any(item.hint is not ResetHint.GAUGE for item in (items[0], items[-1])):
        told.warn(notes.not_gauge_histogram(window.metric))


def _factor(window: Window, change: Histogram, *, counter: bool, started: bool) -> float:
    """What extends the change between samples to the whole window, see :mod:`.rate`."""
    first, last = int(window.times[0]), int(window.times[-1])
    gaps = len(window.times) - 1
    to_start, to_end = (first - window.begin) / 1000, (window.end - last) / 1000
    sampled = (last - first) / 1000
    between = sampled / gaps if gaps else 0.0
    threshold = between * 1.1
    if started:
        assert window.starts is not None
        to_start, sampled = 0.0, (last - int(window.starts[0])) / 1000
    else:
        if to_start >= threshold:
            to_start = between / 2
        count = window.histograms[0].count
        if counter and change.count > 0 and count >= 0:
            to_start = min(to_start, sampled * (count / change.count))
    if to_end >= threshold:
        to_end = between / 2
    return (sampled + to_start + to_end) / sampled if sampled else 1.0


def irate(window: Window, told: Notes) -> Histogram | None:
    return _instant(window, told, counter=True)


def idelta(window: Window, told: Notes) -> Histogram | None:
    return _instant(window, told, counter=False)


def _instant(window: Window, told: Notes, *, counter: bool) -> Histogram | None:
    if len(window.histograms) < 2:
        return None
    _note_types(window, told, counter=counter)
    before, last = window.histograms
    result = last
    if not (counter and window.resets[1]):
        try:
            result = told.recorder.minus(last, before)
        except IncompatibleHistograms:
            told.warn(notes.mixed_exponential_custom(window.metric))
            return None
    result = result.with_hint(ResetHint.GAUGE).compact()
    if not counter:
        return result
    return result / ((int(window.times[1]) - int(window.times[0])) / 1000)


#: Functions for which only the last two samples of a window matter.
_LAST_TWO = frozenset({"idelta", "irate"})
WINDOWED: dict[str, WindowFunction] = {
    "avg_over_time": avg_over_time,
    "delta": delta,
    "idelta": idelta,
    "increase": increase,
    "irate": irate,
    "rate": rate,
    "sum_over_time": sum_over_time,
}
