"""Functions of windows of native histograms that all have the same layout, without loops.

Other series go window by window, see :mod:`.windowed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .. import annotations as notes
from ..histogram import Histogram, ResetHint
from ..histogram_matrix import COUNT, Layout, resets
from ..source import BoolArray, Float64Array, Int64Array
from ..sums import window_means, window_sums
from .rate import reach

#: Values beyond this may overflow when summed: not for here.
_LARGE = 1e290


@dataclass(slots=True)
class SeriesMatrix:
    """All samples of one series as rows of a matrix, and windows over them."""

    layout: Layout
    cells: Float64Array
    hints: list[ResetHint]
    times: Int64Array
    resets: BoolArray

    @classmethod
    def of(cls, items: Sequence[Histogram | None], times: Int64Array) -> SeriesMatrix | None:
        """The series as a matrix; None if its samples are not all of one layout."""
        histograms = [item for item in items if item is not None]
        if len(histograms) < len(items):
            return None
        layout = Layout.of(histograms)
        if layout is None:
            return None
        cells = layout.matrix(histograms)
        if not (np.abs(cells) < _LARGE).all():
            return None
        hints = [item.hint for item in histograms]
        return cls(layout, cells, hints, times, resets(cells, hints))

    def having(self, hint: ResetHint, windows: Windows) -> BoolArray:
        """Windows with a sample of that hint."""
        flags = np.array([each is hint for each in self.hints])
        return _count(flags, windows.low, windows.high) > 0


@dataclass(slots=True)
class Windows:
    """Some windows of a series: samples ``low`` to ``high``, and the times they end at."""

    low: Int64Array
    high: Int64Array
    ends: Int64Array
    range_ms: int


#: From a series and its windows to a matrix with a row per window and the rows' hints; the
#: texts of warnings go to the function given.
MatrixFunction: TypeAlias = Callable[
    [SeriesMatrix, Windows, str, Callable[[str], None]],
    tuple[Float64Array, list[ResetHint]],
]


def _count(flags: BoolArray, low: Int64Array, high: Int64Array) -> Int64Array:
    total = np.zeros(len(flags) + 1, dtype=np.int64)
    np.cumsum(flags, out=total[1:])
    return total[np.maximum(low, high)] - total[low]


def _extrapolated(counter: bool, per_second: bool) -> MatrixFunction:
    def function(
        series: SeriesMatrix, windows: Windows, metric: str, warn: Callable[[str], None]
    ) -> tuple[Float64Array, list[ResetHint]]:
        low, high = windows.low, windows.high
        _check_kind(series, windows, metric, warn, counter=counter)
        change = series.cells[high - 1] - series.cells[low]
        if counter:
            _add_lost(series, windows, change)
        first, last = series.times[low], series.times[high - 1]
        to_zero = None
        if counter:
            begun, grown = series.cells[low, COUNT], change[:, COUNT]
            to_zero = np.where(
                (grown > 0) & (begun >= 0), (last - first) / 1000 * (begun / grown), np.inf
            )
        begin = windows.ends - windows.range_ms
        to_start, to_end, sampled = reach(first, last, high - low - 1, begin, windows.ends, to_zero)
        factor = (sampled + to_start + to_end) / sampled
        if per_second:
            factor /= windows.range_ms / 1000
        return change * factor[:, None], [ResetHint.GAUGE] * len(low)

    return function


def _add_lost(series: SeriesMatrix, windows: Windows, change: Float64Array) -> None:
    """Add what the counters had reached before each reset within the windows."""
    positions = np.flatnonzero(series.resets)
    begins = np.searchsorted(positions, windows.low, side="right")
    ends = np.searchsorted(positions, windows.high, side="left")
    for window in np.flatnonzero(ends > begins).tolist():
        inside = positions[begins[window] : ends[window]]
        change[window] += series.cells[inside - 1].sum(axis=0)


def _check_kind(
    series: SeriesMatrix,
    windows: Windows,
    metric: str,
    warn: Callable[[str], None],
    *,
    counter: bool,
) -> None:
    if counter:
        if series.having(ResetHint.GAUGE, windows).any():
            warn(notes.not_counter_histogram(metric))
        return
    gauge = np.array([hint is ResetHint.GAUGE for hint in series.hints])
    if not (gauge[windows.low] & gauge[windows.high - 1]).all():
        warn(notes.not_gauge_histogram(metric))


def _instant(counter: bool) -> MatrixFunction:
    def function(
        series: SeriesMatrix, windows: Windows, metric: str, warn: Callable[[str], None]
    ) -> tuple[Float64Array, list[ResetHint]]:
        _check_kind(series, windows, metric, warn, counter=counter)
        last, before = windows.high - 1, windows.high - 2
        change = series.cells[last] - series.cells[before]
        if counter:
            change = np.where(series.resets[last][:, None], series.cells[last], change)
            change /= ((series.times[last] - series.times[before]) / 1000)[:, None]
        return change, [ResetHint.GAUGE] * len(last)

    return function


def _over_time(
    kernel: Callable[[Float64Array, Int64Array, Int64Array, Int64Array], Float64Array],
) -> MatrixFunction:
    def function(
        series: SeriesMatrix, windows: Windows, _: str, warn: Callable[[str], None]
    ) -> tuple[Float64Array, list[ResetHint]]:
        reset = series.having(ResetHint.RESET, windows)
        not_reset = series.having(ResetHint.NOT_RESET, windows)
        if (reset & not_reset).any():
            warn(notes.counter_reset_collision("aggregation"))
        rows, columns = series.cells.shape
        shift = (np.arange(columns) * rows)[:, None]
        result = kernel(
            np.ascontiguousarray(series.cells.T).ravel(),
            np.arange(columns + 1) * rows,
            windows.low + shift,
            windows.high + shift,
        )
        return result.T, _hints(series, windows, reset, not_reset)

    return function


def _hints(
    series: SeriesMatrix, windows: Windows, reset: BoolArray, not_reset: BoolArray
) -> list[ResetHint]:
    gauge = series.having(ResetHint.GAUGE, windows)
    unknown = series.having(ResetHint.UNKNOWN, windows)
    result = np.full(len(gauge), int(ResetHint.UNKNOWN))
    result[reset & ~not_reset & ~unknown] = ResetHint.RESET
    result[not_reset & ~reset & ~unknown] = ResetHint.NOT_RESET
    result[gauge] = ResetHint.GAUGE
    return [ResetHint(hint) for hint in result.tolist()]


#: By name: the function and how many samples a window needs.
MATRIX_FUNCTIONS: dict[str, tuple[MatrixFunction, int]] = {
    "avg_over_time": (_over_time(window_means), 1),
    "delta": (_extrapolated(counter=False, per_second=False), 2),
    "idelta": (_instant(counter=False), 2),
    "increase": (_extrapolated(counter=True, per_second=False), 2),
    "irate": (_instant(counter=True), 2),
    "rate": (_extrapolated(counter=True, per_second=True), 2),
    "sum_over_time": (_over_time(window_sums), 1),
}
