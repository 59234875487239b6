"""``sum`` and ``avg`` where some of the samples are native histograms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from . import annotations as notes
from . import labelsets
from .context import QueryContext
from .frame import Frame
from .histogram import Histogram, IncompatibleHistograms
from .native import HistogramTotal
from .source import BoolArray, Int64Array, ObjectArray
from .tree import Aggregate, AggregateOp


class HistogramGroups:
    """Totals of the histograms of each group and step, beside the totals of the numbers."""

    def __init__(self, node: Aggregate, frame: Frame, context: QueryContext) -> None:
        self._mean = node.op is AggregateOp.AVG
        self._frame = frame
        self._context = context
        self._position = node.expr.start
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
        present = present & ~here
        for step in np.flatnonzero(here & ~mixed).tolist():
            into[step] = self._cell(rows, step)
            present[step] = into[step] is not None
        return present

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
