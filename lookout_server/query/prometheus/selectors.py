"""Selectors: which samples of the source a query sees at its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import native, ranges, tree
from .context import QueryContext, Steps
from .frame import Frame, filled
from .matchers import Matcher
from .ranges import RangeVector
from .source import BoolArray, Float64Array, Int64Array, SelectHints, SeriesBlock, is_stale
from .windows import upper_bounds

#: Cells sampled at once: bounds what series with few samples each take in between.
_CHUNK_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a selector, as hints to the source."""

    function: str = ""
    grouping: tuple[str, ...] = ()
    by: bool = False
    skip_buckets: bool = False


#: Times that ``@`` may name are cut to this, so that ranges around them fit 64 bits.
_FARTHEST_MS = 2**62


def reference_times(
    node: tree.VectorSelector | tree.Subquery, steps: Steps, context: QueryContext
) -> Int64Array:
    """The time a selector looks at for each step: offset and ``@`` applied."""
    match node.boundary:
        case tree.Boundary.START:
            fixed: int | None = context.start_ms
        case tree.Boundary.END:
            fixed = context.end_ms
        case _:
            fixed = node.timestamp_ms
    if fixed is None:
        return steps.times - node.offset_ms
    bounded = min(max(fixed - node.offset_ms, -_FARTHEST_MS), _FARTHEST_MS)
    return np.full(steps.count, bounded, dtype=np.int64)


@dataclass(slots=True)
class Sampled:
    """The sample that an instant selector sees per series and step."""

    block: SeriesBlock
    index: Int64Array  # into the block's flat arrays; anything where not present
    present: BoolArray

    def frame(self) -> Frame:
        """The samples' values."""
        histograms = None
        if self.block.histograms is not None and len(self.block.histograms):
            histograms = self.block.histograms.take(self.index, mode="clip")
            histograms[~self.present] = None
            if not filled(histograms).any():
                histograms = None
        return Frame(
            list(self.block.labels),
            _take(self.block.values, self.index),
            self.present,
            np.zeros(len(self.block), dtype=np.bool_),
            histograms,
        ).pruned()

    def timestamps(self) -> Frame:
        """The samples' own times in seconds."""
        return self._frame_of(_take(self.block.timestamps, self.index) / 1000)

    def start_timestamps(self) -> Frame:
        """The samples' start timestamps in seconds, 0 where unknown."""
        if self.block.start_timestamps is None:
            return self._frame_of(np.zeros(self.index.shape))
        return self._frame_of(_take(self.block.start_timestamps, self.index) / 1000)

    def _frame_of(self, values: Float64Array) -> Frame:
        unnamed = np.zeros(len(self.block), dtype=np.bool_)
        return Frame(list(self.block.labels), values, self.present, unnamed).pruned()


def _take(values: Float64Array | Int64Array, index: Int64Array) -> Float64Array:
    if not len(values):
        return np.zeros(index.shape)
    return values.take(index, mode="clip").astype(np.float64, copy=False)


def sample_instant(
    selector: tree.VectorSelector, steps: Steps, context: QueryContext, around: Surroundings
) -> Sampled:
    """The newest sample within the lookback of each step, unless it ends the series."""
    ends = reference_times(selector, steps, context)
    return sample_at(selector.matchers, ends, steps, context, around)


def sample_parts(
    selector: tree.VectorSelector, steps: Steps, context: QueryContext, around: Surroundings
) -> Iterator[Sampled]:
    """What :func:`sample_instant` gives, some series at a time."""
    ends = reference_times(selector, steps, context)
    window = _instant_window(ends, context, around)
    hints = _hints(context, steps, around, 0, newest=not around.skip_buckets)
    rows = max(1, _CHUNK_CELLS // len(ends))
    for block in context.select_parts(selector.matchers, *window, hints):
        for start in range(0, len(block), rows):
            part = block.rows(start, min(start + rows, len(block)))
            yield _sampled(part, ends, context, around)


def sample_at(
    matchers: Sequence[Matcher],
    ends: Int64Array,
    steps: Steps,
    context: QueryContext,
    around: Surroundings,
) -> Sampled:
    """The newest samples within the lookback of given times."""
    window = _instant_window(ends, context, around)
    hints = _hints(context, steps, around, 0, newest=not around.skip_buckets)
    block = context.select(matchers, *window, hints)
    return _sampled(block, ends, context, around)


def _instant_window(
    ends: Int64Array, context: QueryContext, around: Surroundings
) -> tuple[int, int]:
    start = int(ends.min()) - context.options.lookback_ms - _more(context, around) + 1
    return start, int(ends.max())


def _sampled(
    block: SeriesBlock, ends: Int64Array, context: QueryContext, around: Surroundings
) -> Sampled:
    index = upper_bounds(block.timestamps, block.offsets, ends) - 1
    present = index >= block.offsets[:-1, None]
    if len(block.timestamps):
        oldest = ends - context.options.lookback_ms
        present &= block.timestamps.take(index, mode="clip") > oldest
        stale = is_stale(block.values)
        if stale.any():
            present &= ~stale.take(index, mode="clip")
    context.total += int(present.sum())
    if around.skip_buckets:
        block = native.totals_only(block)
    return Sampled(block, index, present)


def select_range(
    selector: tree.MatrixSelector, steps: Steps, context: QueryContext, around: Surroundings
) -> RangeVector:
    """The windows of a range selector, widened for the anchored and smoothed modifiers."""
    windows = _Windows(selector, steps, context, around)
    block = context.select(selector.selector.matchers, *windows.span, windows.hints)
    return windows.over(block)


def range_parts(
    selector: tree.MatrixSelector, steps: Steps, context: QueryContext, around: Surroundings
) -> Iterator[RangeVector]:
    """What :func:`select_range` gives, some series at a time."""
    windows = _Windows(selector, steps, context, around)
    matchers = selector.selector.matchers
    for block in context.select_parts(matchers, *windows.span, windows.hints):
        yield windows.over(block)


class _Windows:
    """The windows of a range selector, whatever series they are over."""

    def __init__(
        self,
        selector: tree.MatrixSelector,
        steps: Steps,
        context: QueryContext,
        around: Surroundings,
    ) -> None:
        inner, lookback = selector.selector, context.options.lookback_ms
        self._steps, self._context, self._around = steps, context, around
        self._range_ms = selector.range_ms
        self._ends = reference_times(inner, steps, context)
        self._before = lookback if inner.anchored or inner.smoothed else 0
        self._after = lookback if inner.smoothed else 0
        self.hints = _hints(context, steps, around, selector.range_ms)

    @property
    def span(self) -> tuple[int, int]:
        """First and last time of which samples are seen."""
        more = self._range_ms + self._before + _more(self._context, self._around)
        return int(self._ends.min()) - more + 1, int(self._ends.max()) + self._after

    def over(self, block: SeriesBlock) -> RangeVector:
        """The windows over some series."""
        if self._around.skip_buckets:
            block = native.totals_only(block)
        starts = self._context.options.start_timestamps
        vector = ranges.from_block(
            block, self._steps.times, self._ends, self._range_ms, starts=starts
        )
        return replace(vector, before_ms=self._before, after_ms=self._after)


def _more(context: QueryContext, around: Surroundings) -> int:
    """How much earlier to start so that a window's first histogram can be told from a reset."""
    return context.options.lookback_ms if around.skip_buckets else 0


def _hints(
    context: QueryContext,
    steps: Steps,
    around: Surroundings,
    range_ms: int,
    *,
    newest: bool = False,
) -> SelectHints:
    return context.hints(
        step_ms=steps.step_ms if steps.count > 1 else 0,
        range_ms=range_ms,
        function=around.function,
        grouping=around.grouping,
        by=around.by,
        skip_buckets=around.skip_buckets,
        newest_per_step=newest,
    )


def surroundings(path: Sequence[tree.Expr]) -> Surroundings:
    """What the nodes around a selector, outermost first, will do with its samples."""
    function, by = "", False
    grouping: tuple[str, ...] = ()
    for node in reversed(path):
        if isinstance(node, tree.Binary):
            break
        if isinstance(node, tree.Call):
            function = node.function.name
            break
        if isinstance(node, tree.Aggregate):
            function, grouping, by = node.op.value, node.grouping, not node.without
            break
    return Surroundings(function, grouping, by, _skips_buckets(path))


def _skips_buckets(path: Sequence[tree.Expr]) -> bool:
    """Whether only counts and sums of native histograms matter (and no subquery hides resets)."""
    skip = False
    for node in reversed(path):
        if isinstance(node, tree.Subquery) or (isinstance(node, tree.Binary) and node.op.is_trim):
            return False
        if isinstance(node, tree.Call):
            name = node.function.name
            if name in ("histogram_count", "histogram_sum", "histogram_avg"):
                skip = True
            elif name in ("histogram_quantile", "histogram_quantiles", "histogram_fraction"):
                return False
    return skip
