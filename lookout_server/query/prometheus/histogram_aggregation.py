"""``sum`` and ``avg`` where some of the samples are native histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from . import annotations as notes
from . import labelsets
from .context import QueryContext
from .frame import Frame
from .histogram import Histogram, IncompatibleHistograms, ResetHint
from .histogram_matrix import Layout
from .native import AGGREGATION, HistogramTotal
from .source import BoolArray, Int64Array, ObjectArray
from .sums import RowSums
from .tree import Aggregate, AggregateOp, unwrap

_NO_HINT = -1
_FIRST_GROUP = np.zeros(1, dtype=np.int64)


class HistogramGroups:
    """Totals of the histograms of each group and step, beside the totals of the numbers."""

    def __init__(self, node: Aggregate, frame: Frame, context: QueryContext) -> None:
        self._mean = node.op is AggregateOp.AVG
        self._frame = frame
        self._context = context
        self._position = unwrap(node.expr).start
        self._native = frame.is_histogram()

    def added_to(self, floats: Frame, members: Mapping[int, Int64Array]) -> Frame:
        """``floats`` (a row per group) with the totals of each group's members in their cells.

        A cell to which both kinds contribute has no value, which is noted.
        """
        histograms: ObjectArray = np.full(floats.values.shape, None, dtype=object)
        present = floats.present.copy()
        for group, rows in members.items():
            self._context.check()
            here = np.asarray(self._native[rows].any(axis=0))
            if here.any():
                present[group] = self._group(rows, here, histograms[group], present[group])
        return Frame(floats.labels, floats.values, present, floats.drop_name, histograms)

    def _group(
        self, rows: Int64Array, here: BoolArray, into: ObjectArray, present: BoolArray
    ) -> BoolArray:
        mixed = here & present
        if mixed.any():
            self._context.annotations.warn(notes.MIXED_AGGREGATION, self._position)
        steps = np.flatnonzero(here & ~mixed)
        present = present & ~here
        for step, total in zip(steps.tolist(), self._totals(rows, steps), strict=True):
            into[step] = total
            present[step] = total is not None
        return present

    def _totals(self, rows: Int64Array, steps: Int64Array) -> Sequence[Histogram | None]:
        """The total of each step, over all steps at once if the histograms allow it."""
        assert self._frame.histograms is not None
        native = self._native[np.ix_(rows, steps)]
        items = self._frame.histograms[np.ix_(rows, steps)]
        items[~native] = None
        layout = Layout.of(item for item in items.ravel().tolist() if item is not None)
        if layout is not None:
            totals = self._at_once(layout, items, native)
            if totals is not None:
                return totals
        return [self._cell(rows, step) for step in steps.tolist()]

    def _at_once(
        self, layout: Layout, items: ObjectArray, native: BoolArray
    ) -> list[Histogram] | None:
        sums = RowSums(items.shape[1] * layout.width)
        hints = np.full(items.shape, _NO_HINT)
        for row, histograms in enumerate(items.tolist()):
            sums.add(layout.matrix(histograms).reshape(1, -1), _FIRST_GROUP, 1)
            for step in np.flatnonzero(native[row]).tolist():
                hints[row, step] = histograms[step].hint
        if not np.isfinite(sums.total).all():
            return None
        cells = sums.sums().reshape(items.shape[1], layout.width)
        if self._mean:
            cells = cells / native.sum(axis=0)[:, None]
        reset = (hints == ResetHint.RESET).any(axis=0)
        not_reset = (hints == ResetHint.NOT_RESET).any(axis=0)
        if (reset & not_reset).any():
            text = notes.counter_reset_collision(AGGREGATION)
            self._context.annotations.warn(text, self._position)
        return layout.histograms(cells, [_combined(column) for column in hints.T])

    def _cell(self, rows: Int64Array, step: int) -> Histogram | None:
        assert self._frame.histograms is not None
        total: HistogramTotal | None = None
        for row in rows[self._native[rows, step]].tolist():
            item = self._frame.histograms[row, step]
            if total is None:
                total = HistogramTotal(item)
                continue
            try:
                total.add(item)
            except IncompatibleHistograms:
                metric = labelsets.metric_name(self._frame.labels[row])
                text = notes.mixed_exponential_custom(metric)
                self._context.annotations.warn(text, self._position)
                return None
        assert total is not None
        total.note(self._context, self._position)
        return (total.mean() if self._mean else total.total()).compact()


def _combined(hints: Int64Array) -> ResetHint:
    """The hint of a sum: a gauge if any is one, else what all agree on."""
    if (hints == ResetHint.GAUGE).any():
        return ResetHint.GAUGE
    found = np.unique(hints[hints != _NO_HINT])
    return ResetHint(int(found[0])) if len(found) == 1 else ResetHint.UNKNOWN
