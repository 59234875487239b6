"""Aggregation operators: many series to one per group, step by step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import annotations as notes
from . import labelsets
from .context import QueryContext
from .errors import ExecutionError
from .frame import Frame
from .functions.over_time import row_quantiles
from .histogram import describe
from .histogram_aggregation import HistogramGroups
from .numbers import format_float
from .quoting import quote
from .source import METRIC_NAME, BoolArray, Float64Array, Int64Array, Labels
from .sums import RowSums
from .tree import Aggregate, AggregateOp


def grouping(node: Aggregate) -> Callable[[Labels], Labels]:
    """The labels of the group that a series belongs to."""
    names = frozenset(node.grouping)
    if node.without:
        dropped = names | {METRIC_NAME}
        return lambda labels: labelsets.without(labels, dropped)
    if not names:
        return lambda _: labelsets.NO_LABELS
    return lambda labels: labelsets.only(labels, names)


class Groups:
    """The rows of a frame by group, groups in order of their first row."""

    def __init__(self, frame: Frame, key: Callable[[Labels], Labels]) -> None:
        numbers: dict[Labels, int] = {}
        known: dict[Labels, int] = {}
        of = np.empty(len(frame), dtype=np.int64)
        for row, labels in enumerate(frame.labels):
            number = known.get(labels)
            if number is None:
                number = known[labels] = numbers.setdefault(key(labels), len(numbers))
            of[row] = number
        self.of = of
        self.labels: list[Labels] = list(numbers)
        self.order: Int64Array = np.argsort(of, kind="stable")
        counts = np.bincount(of, minlength=len(self.labels))
        self.starts: Int64Array = np.cumsum(counts) - counts

    def __len__(self) -> int:
        return len(self.labels)

    def reduce(
        self, ufunc: np.ufunc, values: Float64Array | BoolArray | Int64Array
    ) -> Float64Array:
        """``ufunc`` over the rows of each group."""
        result: Float64Array = ufunc.reduceat(values[self.order], self.starts, axis=0)
        return result

    def members(self) -> list[Int64Array]:
        """The rows of each group."""
        return np.split(self.order, self.starts[1:])


def aggregate(
    node: Aggregate, frame: Frame, param: Float64Array | None, context: QueryContext
) -> Frame:
    """One row per group for the operators that reduce a group to a number."""
    if not len(frame):
        return Frame.empty(frame.steps)
    floats = _floats(node, frame, context)
    groups = Groups(floats, grouping(node))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        values = _reduce(node.op, floats, groups, param)
    present = groups.reduce(np.logical_or, floats.present).astype(np.bool_)
    drop = groups.reduce(np.logical_or, floats.drop_name).astype(np.bool_)
    result = Frame(groups.labels, values, present, drop)
    if frame.histograms is not None and node.op in _TOTALS:
        histograms = HistogramGroups(node, frame, context)
        result = histograms.added_to(result, groups.members())
    return result.pruned()


_TOTALS = frozenset({AggregateOp.SUM, AggregateOp.AVG})
#: Operators for which a native histogram is a sample like any other.
_ANY_SAMPLE = frozenset({AggregateOp.COUNT, AggregateOp.GROUP})


def _floats(node: Aggregate, frame: Frame, context: QueryContext) -> Frame:
    if frame.histograms is None or node.op in _ANY_SAMPLE:
        return frame
    if node.op not in _TOTALS and frame.is_histogram().any():
        text = notes.histogram_ignored(node.op.value)
        context.annotations.info(text, node.expr.start)
    return Frame(frame.labels, frame.values, frame.is_float(), frame.drop_name)


def _reduce(
    op: AggregateOp, frame: Frame, groups: Groups, param: Float64Array | None
) -> Float64Array:
    present = frame.present
    match op:
        case AggregateOp.SUM:
            return _row_sums(frame, groups).sums()
        case AggregateOp.AVG:
            return _means(frame, groups)
        case AggregateOp.COUNT:
            return groups.reduce(np.add, present.astype(np.float64))
        case AggregateOp.GROUP:
            return np.ones((len(groups), frame.steps))
        case AggregateOp.MIN:
            return groups.reduce(np.fmin, np.where(present, frame.values, np.nan))
        case AggregateOp.MAX:
            return groups.reduce(np.fmax, np.where(present, frame.values, np.nan))
        case AggregateOp.STDVAR:
            return _variance(frame, groups)
        case AggregateOp.STDDEV:
            return np.sqrt(_variance(frame, groups))
        case AggregateOp.QUANTILE:
            assert param is not None
            return _quantile(frame, groups, param)
        case _:
            raise AssertionError(op)


def _row_sums(frame: Frame, groups: Groups) -> RowSums:
    values = frame.values if frame.present.all() else np.where(frame.present, frame.values, 0.0)
    return RowSums(values, groups.of, len(groups))


def _counts(frame: Frame, groups: Groups) -> Float64Array:
    return groups.reduce(np.add, frame.present.astype(np.float64))


def _means(frame: Frame, groups: Groups) -> Float64Array:
    counts = _counts(frame, groups)
    sums = _row_sums(frame, groups)
    means = sums.means(counts)
    overflown = np.isinf(sums.total)
    if overflown.any():
        # Dividing first cannot overflow, and leaves true infinities as they are.
        share = np.where(frame.present, frame.values, 0.0) / counts[groups.of]
        means = np.where(overflown, RowSums(share, groups.of, len(groups)).sums(), means)
    return means


def _variance(frame: Frame, groups: Groups) -> Float64Array:
    counts = _counts(frame, groups)
    means = _row_sums(frame, groups).means(counts)
    away = np.where(frame.present, frame.values - means[groups.of], 0.0)
    return groups.reduce(np.add, away * away) / counts


def _quantile(frame: Frame, groups: Groups, param: Float64Array) -> Float64Array:
    result = np.full((len(groups), frame.steps), np.nan)
    for group, rows in enumerate(groups.members()):
        present = frame.present[rows]
        counts = present.sum(axis=0)
        for count in np.unique(counts).tolist():
            if not count:
                continue
            steps = np.flatnonzero(counts == count)
            cells = frame.values[rows][:, steps].T[present[:, steps].T].reshape(-1, count)
            result[group, steps] = row_quantiles(cells, param[steps])
    return result


def count_values(node: Aggregate, frame: Frame, label: str) -> Frame:
    """How many series of a group have each value, the value as a label."""
    key = grouping(node)
    names = frozenset(node.grouping) | {label}
    counts: dict[Labels, Float64Array] = {}
    for row, labels in enumerate(frame.labels):
        for value, steps in _values_of(frame, row):
            with_value = labelsets.replaced(labels, {label: value})
            group = key(with_value) if node.without else labelsets.only(with_value, names)
            count = counts.setdefault(group, np.zeros(frame.steps))
            count[steps] += 1
    if not counts:
        return Frame.empty(frame.steps)
    values = np.stack(list(counts.values()))
    return Frame(list(counts), values, values > 0, np.zeros(len(counts), dtype=np.bool_))


def _values_of(frame: Frame, row: int) -> list[tuple[str, list[int]]]:
    """The values of a row as text, each with the steps it stands at."""
    found: dict[str, list[int]] = {}
    for step in np.flatnonzero(frame.present[row]).tolist():
        histogram = None if frame.histograms is None else frame.histograms[row, step]
        plain = float(frame.values[row, step])
        value = format_float(plain) if histogram is None else describe(histogram)
        found.setdefault(value, []).append(step)
    return list(found.items())


def check_label_name(name: str) -> None:
    """Raises ExecutionError unless ``name`` can be a label's name: not empty, and UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ExecutionError(f"invalid label name {quote(name)}") from None
    if not name:
        raise ExecutionError(f"invalid label name {quote(name)}")


def check_quantile(param: Float64Array, position: int, context: QueryContext) -> None:
    """Warn of quantiles outside 0 to 1, once for each side."""
    if np.isnan(param).any():
        context.annotations.warn(notes.invalid_quantile(float("nan")), position)
    rest = param[~np.isnan(param)]
    if len(rest) and rest.max() > 1:
        context.annotations.warn(notes.invalid_quantile(float(rest.max())), position)
    if len(rest) and rest.min() < 0:
        context.annotations.warn(notes.invalid_quantile(float(rest.min())), position)
