"""Functions of histograms, classic and native."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .. import annotations as notes
from .. import histogram as library
from .. import labelsets, tree
from ..context import QueryContext
from ..frame import Frame, stacked
from ..histogram import Histogram, NanEffect
from ..numbers import format_go
from ..source import BoolArray, Float64Array, Labels
from . import classic

if TYPE_CHECKING:
    from ..evaluator import Evaluator

_SIMPLE: dict[str, Callable[[Histogram], float]] = {
    "histogram_avg": library.mean,
    "histogram_count": lambda histogram: histogram.count,
    "histogram_stddev": lambda histogram: _root(library.variance(histogram)),
    "histogram_stdvar": library.variance,
    "histogram_sum": lambda histogram: histogram.sum,
}


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


def simple(evaluator: Evaluator, node: tree.Call) -> Frame:
    """Functions that give a number for each native histogram and nothing for numbers."""
    frame = evaluator.vector(node.args[0])
    function = _SIMPLE[node.function.name]
    present = frame.is_histogram()
    values = np.zeros(frame.values.shape)
    if frame.histograms is not None:
        for row in np.flatnonzero(present.any(axis=1)).tolist():
            evaluator.context.check()
            for step in np.flatnonzero(present[row]).tolist():
                values[row, step] = function(frame.histograms[row, step])
    return unnamed(evaluator, Frame(frame.labels, values, present, frame.drop_name).pruned())


def unnamed(evaluator: Evaluator, frame: Frame) -> Frame:
    """A result without metric names; rows that then have equal labels made one."""
    delayed = evaluator.context.options.delayed_name_removal
    renamed = frame.without_names(delayed)
    return renamed if delayed else renamed.merged()


def quantile(evaluator: Evaluator, node: tree.Call) -> Frame:
    """``histogram_quantile(scalar, vector)``."""
    wanted = evaluator.scalar(node.args[0])
    frame = evaluator.vector(node.args[1])
    check_quantiles(evaluator.context, wanted, tree.unwrap(node.args[0]).start)
    split = _Split(evaluator, frame, tree.unwrap(node.args[1]).start)
    result = split.quantiles(wanted, tree.unwrap(node.args[1]).start)
    return unnamed(evaluator, result)


def quantiles(evaluator: Evaluator, node: tree.Call) -> Frame:
    """``histogram_quantiles(vector, label, scalar...)``: a series per quantile."""
    frame = evaluator.vector(node.args[0])
    label = evaluator.evaluate(tree.unwrap(node.args[1]))
    assert isinstance(label, str)
    position = tree.unwrap(node.args[0]).start
    split = _Split(evaluator, frame, position)
    parts: list[Frame] = []
    for arg in node.args[2:]:
        wanted = evaluator.scalar(arg)
        check_quantiles(evaluator.context, wanted, tree.unwrap(arg).start)
        part = split.quantiles(wanted, position)
        for value in np.unique(wanted).tolist():
            at = np.broadcast_to(_same(wanted, value), part.present.shape)
            text = _open_metrics(value)
            parts.append(
                part.where(at).renamed(lambda each, t=text: _with(each, label, t))  # type: ignore[misc]
            )
    return unnamed(evaluator, stacked(parts).merged())


def _same(wanted: Float64Array, value: float) -> BoolArray:
    return np.isnan(wanted) if math.isnan(value) else wanted == value


def _with(labels: Labels, name: str, value: str) -> Labels:
    return labelsets.replaced(labels, {name: value})


def _open_metrics(value: float) -> str:
    """A number as OpenMetrics writes it: whole ones with ``.0``."""
    text = format_go(value)
    return text if not text.lstrip("-").isdigit() else f"{text}.0"


def fraction(evaluator: Evaluator, node: tree.Call) -> Frame:
    """``histogram_fraction(lower, upper, vector)``."""
    lower, upper = evaluator.scalar(node.args[0]), evaluator.scalar(node.args[1])
    frame = evaluator.vector(node.args[2])
    split = _Split(evaluator, frame, tree.unwrap(node.args[2]).start)
    return unnamed(evaluator, split.fractions(lower, upper, tree.unwrap(node.args[2]).start))


def check_quantiles(context: QueryContext, wanted: Float64Array, position: int) -> None:
    """Warn of quantiles outside of 0 to 1."""
    for value in np.unique(wanted).tolist():
        if math.isnan(value) or value < 0 or value > 1:
            context.annotations.warn(notes.invalid_quantile(value), position)


class _Split:
    """The histograms of a vector: classic ones by their buckets, native ones by sample."""

    def __init__(self, evaluator: Evaluator, frame: Frame, position: int) -> None:
        self._context = evaluator.context
        self._times = evaluator.steps.times
        self._frame = frame
        self._classics = classic.classics(frame, position, self._context)
        self._native = frame.is_histogram()
        self._clash = self._clashing(position)

    def _clashing(self, position: int) -> dict[Labels, BoolArray]:
        """Steps at which a classic and a native histogram have the same labels."""
        floats = self._frame.is_float()
        clashes = {}
        for row in np.flatnonzero(self._native.any(axis=1)).tolist():
            labels = self._frame.labels[row]
            rows = self._classics.get(labels)
            if rows is None:
                continue
            both = self._native[row] & floats[rows].any(axis=0)
            if both.any():
                clashes[labels] = both
                delayed = self._context.options.delayed_name_removal
                name = labelsets.metric_name(labels) if delayed else ""
                self._context.annotations.warn(notes.mixed_classic_native(name), position)
                self._native[row] &= ~both
        return clashes

    def quantiles(self, wanted: Float64Array, position: int) -> Frame:
        """The quantile of each histogram."""
        kernel = classic.quantile_kernel(position, self._times, self._context)

        def native(histogram: Histogram, step: int, metric: str) -> float:
            value, effect = library.quantile(float(wanted[step]), histogram)
            if effect is NanEffect.RESULT:
                self._info(notes.quantile_nan_result(metric), position)
            elif effect is NanEffect.SKEWED:
                self._info(notes.quantile_nan_skew(metric), position)
            return value

        return self._result(native, lambda buckets: kernel(buckets, wanted))

    def fractions(self, lower: Float64Array, upper: Float64Array, position: int) -> Frame:
        """The share of observations between two values."""

        def native(histogram: Histogram, step: int, metric: str) -> float:
            low, high = float(lower[step]), float(upper[step])
            value, has_nan = library.fraction(low, high, histogram)
            if has_nan:
                self._info(notes.fraction_nan(metric), position)
            return value

        return self._result(native, lambda b: classic.bucket_fractions(b, lower, upper))

    def _info(self, text: str, position: int) -> None:
        self._context.annotations.info(text, position)

    def _result(
        self,
        native: Callable[[Histogram, int, str], float],
        from_buckets: Callable[[classic.Classic], Float64Array],
    ) -> Frame:
        frame = self._frame
        values = np.zeros(frame.values.shape)
        if frame.histograms is not None:
            for row in np.flatnonzero(self._native.any(axis=1)).tolist():
                self._context.check()
                metric = labelsets.metric_name(frame.labels[row])
                for step in np.flatnonzero(self._native[row]).tolist():
                    values[row, step] = native(frame.histograms[row, step], step, metric)
        native_part = Frame(frame.labels, values, self._native, frame.drop_name).pruned()
        return stacked([native_part, self._from_classics(from_buckets)]).pruned()

    def _from_classics(self, from_buckets: Callable[[classic.Classic], Float64Array]) -> Frame:
        labels = list(self._classics)
        shape = len(labels), self._frame.steps
        values, present = np.full(shape, np.nan), np.zeros(shape, dtype=np.bool_)
        for buckets in classic.batches(self._frame, self._classics):
            self._context.check()
            cells = np.ix_(np.array(buckets.numbers), buckets.steps)
            values[cells] = buckets.per_histogram(from_buckets(buckets))
            present[cells] = True
        for number, each in enumerate(labels):
            if each in self._clash:
                present[number] &= ~self._clash[each]
        return Frame(labels, values, present, np.zeros(len(labels), dtype=np.bool_))
