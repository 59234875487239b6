"""Aggregation operators: many series to one per group, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from . import annotations as notes
from . import labelsets
from .context import QueryContext
from .errors import ExecutionError
from .frame import Frame
from .functions.over_time import row_quantiles
from .histogram import describe
from .numbers import format_float
from .quoting import quote
from .source import METRIC_NAME, BoolArray, Float64Array, Int64Array, Labels
from .sums import RowSums
from .tree import Aggregate, AggregateOp, unwrap


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
        numbering = Numbering(key)
        self.of = numbering.of(frame)
        self.labels = numbering.labels
        self.order: Int64Array = np.argsort(self.of, kind="stable")
        counts = np.bincount(self.of, minlength=len(self.labels))
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


class Numbering:
    """Numbers for the groups that turn up."""

    def __init__(self, key: Callable[[Labels], Labels]) -> None:
        self._key = key
        self._numbers: dict[Labels, int] = {}
        self._known: dict[Labels, int] = {}

    @property
    def labels(self) -> list[Labels]:
        """The labels of all groups so far."""
        return list(self._numbers)

    def of(self, frame: Frame) -> Int64Array:
        """The group of each row."""
        found = np.empty(len(frame), dtype=np.int64)
        for row, labels in enumerate(frame.labels):
            number = self._known.get(labels)
            if number is None:
                number = self._numbers.setdefault(self._key(labels), len(self._numbers))
                self._known[labels] = number
            found[row] = number
        return found


def spread(
    node: Aggregate, frame: Frame, param: Float64Array | None, context: QueryContext
) -> Frame:
    """``stddev``, ``stdvar`` and ``quantile``: one row per group."""
    if not len(frame):
        return Frame.empty(frame.steps)
    floats = floats_of(node, frame, context)
    groups = Groups(floats, grouping(node))
    if node.op is AggregateOp.QUANTILE:
        assert param is not None
        values = _quantile(floats, groups, param)
    else:
        values = _variance(floats, groups)
        if node.op is AggregateOp.STDDEV:
            values = np.sqrt(values)
    present = groups.reduce(np.logical_or, floats.present).astype(np.bool_)
    drop = groups.reduce(np.logical_or, floats.drop_name).astype(np.bool_)
    return Frame(groups.labels, values, present, drop).pruned()


def floats_of(node: Aggregate, frame: Frame, context: QueryContext) -> Frame:
    """The numbers of a frame, all rows kept; histograms are noted as ignored."""
    if frame.histograms is None:
        return frame
    if frame.is_histogram().any():
        text = notes.histogram_ignored(node.op.value)
        context.annotations.info(text, unwrap(node.expr).start)
    return Frame(frame.labels, frame.values, frame.is_float(), frame.drop_name)


def _variance(frame: Frame, groups: Groups) -> Float64Array:
    counts = groups.reduce(np.add, frame.present.astype(np.float64))
    sums = RowSums(frame.steps)
    sums.add(np.where(frame.present, frame.values, 0.0), groups.of, len(groups))
    away = np.where(frame.present, frame.values - sums.means(counts)[groups.of], 0.0)
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
    names = frozenset(node.grouping)
    kept = not (node.without and (label in names or label == METRIC_NAME))
    by_others = grouping(node) if node.without or names else lambda _: labelsets.NO_LABELS
    groups = Groups(frame, lambda labels: labelsets.without(by_others(labels), (label,)))
    counts: dict[Labels, Float64Array] = {}
    for labels, rows in zip(groups.labels, groups.members() if len(frame) else (), strict=True):
        for value, count in _value_counts(frame, rows):
            key = labelsets.replaced(labels, {label: value}) if kept else labels
            counts[key] = counts.get(key, 0.0) + count
    if not counts:
        return Frame.empty(frame.steps)
    values = np.stack(list(counts.values()))
    return Frame(list(counts), values, values > 0, np.zeros(len(counts), dtype=np.bool_))


def _value_counts(frame: Frame, rows: Int64Array) -> Iterator[tuple[str, Float64Array]]:
    """Each value that rows have, as text, and how many of them have it at each step."""
    is_float = frame.is_float()[rows]
    steps = np.nonzero(is_float)[1]
    values, which = np.unique(frame.values[rows][is_float], return_inverse=True)
    order = np.argsort(which, kind="stable")
    edges = np.searchsorted(which[order], np.arange(len(values) + 1))
    for number, value in enumerate(values.tolist()):
        own = steps[order[edges[number] : edges[number + 1]]]
        yield format_float(value), np.bincount(own, minlength=frame.steps).astype(np.float64)
    if frame.histograms is not None:
        for row, step in np.argwhere(frame.is_histogram()[rows]).tolist():
            count = np.zeros(frame.steps)
            count[step] = 1.0
            yield describe(frame.histograms[rows[row], step]), count


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
