"""Functions of windows that hold native histograms, one window at a time.

Series without histograms never come here. Windows of numbers alone still go through the
vectorised kernels.
"""

from __future__ import annotations

from collections.abc import Callable
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
from ..source import BoolArray, Int64Array, ObjectArray
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


def run(
    vector: RangeVector, kernel: Kernel, function: WindowFunction, told: Notes, *, last_two: bool
) -> Frame:
    """Numbers through ``kernel``, histograms through ``function``, windows of both are noted.

    ``last_two``: only the last two samples of a window matter.
    """
    values, present = kernel(vector.floats_only(), ())
    low, high = vector.bounds()
    if last_two:
        low = np.maximum(low, high - 2)
    assert vector.histograms is not None
    kind = filled(vector.histograms)
    count = np.zeros(len(kind) + 1, dtype=np.int64)
    np.cumsum(kind, out=count[1:])
    number = count[high] - count[low]
    all_histograms = (number > 0) & (number == high - low)
    mixed = (number > 0) & ~all_histograms
    result = Frame(
        list(vector.labels), values, present & (number == 0), vector.drop_name, _none(low.shape)
    )
    for row in np.flatnonzero(mixed.any(axis=1)).tolist():
        metric = labelsets.metric_name(vector.labels[row])
        told.warn(notes.mixed_floats_histograms(metric))
    _fill(result, vector, all_histograms, (low, high), function, told)
    return result


def _none(shape: tuple[int, ...]) -> ObjectArray:
    return np.full(shape, None, dtype=object)


def _fill(
    result: Frame,
    vector: RangeVector,
    wanted: BoolArray,
    bounds: tuple[Int64Array, Int64Array],
    function: WindowFunction,
    told: Notes,
) -> None:
    assert vector.histograms is not None and result.histograms is not None
    low, high = bounds
    resets = _resets(vector)
    result.present = result.present.copy()
    for row in np.flatnonzero(wanted.any(axis=1)).tolist():
        told.context.check()
        metric = labelsets.metric_name(vector.labels[row])
        for step in np.flatnonzero(wanted[row]).tolist():
            cut = slice(int(low[row, step]), int(high[row, step]))
            window = Window(
                metric,
                vector.timestamps[cut],
                vector.histograms[cut].tolist(),
                resets[cut],
                None if vector.starts is None else vector.starts[cut],
                int(vector.ends[step]),
                vector.range_ms,
            )
            value = function(window, told)
            if value is not None:
                result.histograms[row, step] = value
                result.present[row, step] = True


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


#: By name; the flag says that only the last two samples matter.
WINDOWED: dict[str, tuple[WindowFunction, bool]] = {
    "avg_over_time": (avg_over_time, False),
    "delta": (delta, False),
    "idelta": (idelta, True),
    "increase": (increase, False),
    "irate": (irate, True),
    "rate": (rate, False),
    "sum_over_time": (sum_over_time, False),
}
