"""Aggregations that need not see all series at once: sum, avg, count, min, max, group."""

from __future__ import annotations

import numpy as np

from .aggregation import Groups, Numbering, floats_of, grouping
from .context import QueryContext
from .frame import Frame, stacked
from .histogram_aggregation import HistogramGroups
from .source import BoolArray, Float64Array, Int64Array
from .sums import RowSums, grown
from .tree import Aggregate, AggregateOp

_TOTALS = frozenset({AggregateOp.SUM, AggregateOp.AVG})
#: Operators for which a native histogram is a sample like any other.
_ANY_SAMPLE = frozenset({AggregateOp.COUNT, AggregateOp.GROUP})
_EXTREMES: dict[AggregateOp, np.ufunc] = {AggregateOp.MIN: np.fmin, AggregateOp.MAX: np.fmax}
FOLDED = _TOTALS | _ANY_SAMPLE | _EXTREMES.keys()

#: Means of values beyond this are summed scaled down, lest the sum overflows. A power of two
#: costs no digits.
_LARGE, _SCALE = 1e290, 2.0**-64


class Fold:
    """One aggregation, fed with some series at a time."""

    def __init__(self, node: Aggregate, steps: int, context: QueryContext) -> None:
        self._node = node
        self._op = node.op
        self._context = context
        self._numbering = Numbering(grouping(node))
        self._sums = RowSums(steps)
        self._counts = np.zeros((0, steps))
        self._extremes = np.zeros((0, steps))
        self._drop = np.zeros(0, dtype=np.bool_)
        self._scale = 1.0
        self._with_histograms: list[Frame] = []

    def add(self, frame: Frame) -> None:
        """Take in some series."""
        if not len(frame):
            return
        of = self._numbering.of(frame)
        groups = len(self._numbering.labels)
        drop = np.zeros(groups, dtype=np.bool_)
        drop[: len(self._drop)] = self._drop
        drop[of[frame.drop_name]] = True
        self._drop = drop
        if frame.histograms is not None and self._op in _TOTALS:
            native = np.flatnonzero(frame.is_histogram().any(axis=1))
            if len(native):
                self._with_histograms.append(frame.take(native))
        floats = self._numbers(frame)
        self._count(floats.present, of, groups)
        if self._op in _TOTALS:
            self._add_sums(floats, of, groups)
        elif self._op in _EXTREMES:
            self._add_extremes(floats, of, groups)

    def _numbers(self, frame: Frame) -> Frame:
        if frame.histograms is None or self._op in _ANY_SAMPLE:
            return frame
        if self._op in _TOTALS:
            return Frame(frame.labels, frame.values, frame.is_float(), frame.drop_name)
        return floats_of(self._node, frame, self._context)

    def _count(self, present: BoolArray, of: Int64Array, groups: int) -> None:
        self._counts = grown(self._counts, groups, 0.0)
        self._reduce(np.add, self._counts, present.astype(np.float64), of)

    def _add_sums(self, frame: Frame, of: Int64Array, groups: int) -> None:
        values = frame.values
        if not frame.present.all():
            values = np.where(frame.present, values, 0.0)
        if self._op is AggregateOp.AVG:
            if self._scale == 1.0 and (np.abs(values) > _LARGE).any():
                self._scale = _SCALE
                self._sums.scale(_SCALE)
            if self._scale != 1.0:
                values = values * self._scale
        self._sums.add(values, of, groups)

    def _add_extremes(self, frame: Frame, of: Int64Array, groups: int) -> None:
        self._extremes = grown(self._extremes, groups, np.nan)
        values = np.where(frame.present, frame.values, np.nan)
        self._reduce(_EXTREMES[self._op], self._extremes, values, of)

    @staticmethod
    def _reduce(ufunc: np.ufunc, into: Float64Array, values: Float64Array, of: Int64Array) -> None:
        order = np.argsort(of, kind="stable")
        ordered = of[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        found = ordered[starts]
        into[found] = ufunc(into[found], ufunc.reduceat(values[order], starts, axis=0))

    def result(self) -> Frame:
        """One row per group."""
        labels = self._numbering.labels
        if not labels:
            return Frame.empty(self._counts.shape[1])
        values = self._values()
        result = Frame(labels, values, self._counts > 0, self._drop)
        if self._with_histograms:
            result = self._with_totals(result)
        return result.pruned()

    def _values(self) -> Float64Array:
        match self._op:
            case AggregateOp.SUM:
                return self._sums.sums()
            case AggregateOp.AVG:
                return self._sums.means(self._counts) / self._scale
            case AggregateOp.COUNT:
                return self._counts
            case AggregateOp.GROUP:
                return np.ones(self._counts.shape)
            case _:
                return self._extremes

    def _with_totals(self, floats: Frame) -> Frame:
        frame = stacked(self._with_histograms)
        totals = HistogramGroups(self._node, frame, self._context)
        key = grouping(self._node)
        numbers = {labels: number for number, labels in enumerate(floats.labels)}
        members = {
            numbers[key(frame.labels[rows[0]])]: rows for rows in Groups(frame, key).members()
        }
        return totals.added_to(floats, members)
