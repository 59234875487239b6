"""Function calls: evaluates the arguments a function needs, and hands them to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .. import annotations as notes
from .. import info, labelsets, tree
from ..errors import ExecutionError
from ..frame import Frame
from ..ranges import RangeVector
from ..source import BoolArray, Float64Array
from . import extended, histograms, labels, zhistogram
from . import ranged as ranged_functions
from .elementwise import CALENDAR, ELEMENTWISE
from .histograms import unnamed
from .rate import overlapping_starts

if TYPE_CHECKING:
    from ..evaluator import Evaluator, Value

Handler: TypeAlias = "Callable[[Evaluator, tree.Call], Value]"

_NO_NAN_SUFFIX = ("_total", "_sum", "_count", "_bucket")
_ANCHORED = ("changes", "delta", "increase", "rate", "resets")
_SMOOTHED = ("delta", "increase", "rate")


def call(evaluator: Evaluator, node: tree.Call) -> Value:
    """The value of a function call."""
    name = node.function.name
    handler = _HANDLERS.get(name)
    if handler is not None:
        return handler(evaluator, node)
    if name in ELEMENTWISE:
        return _elementwise(evaluator, node)
    if name in CALENDAR:
        return _calendar(evaluator, node)
    if is_ranged(node):
        return _ranged(evaluator, node)
    raise ExecutionError(f"unknown function with name {name}")


def _elementwise(evaluator: Evaluator, node: tree.Call) -> Frame:
    frame = evaluator.vector(node.args[0]).floats_only()
    args = [evaluator.scalar(arg) for arg in node.args[1:]]
    with np.errstate(all="ignore"):
        values = ELEMENTWISE[node.function.name](frame.values, args)
    result = frame.with_values(values)
    if node.function.name == "clamp":
        impossible = args[1] < args[0]
        if impossible.any():
            result = result.where(np.broadcast_to(~impossible, frame.present.shape))
    return unnamed(evaluator, result)


def _calendar(evaluator: Evaluator, node: tree.Call) -> Frame:
    kernel = CALENDAR[node.function.name]
    if not node.args:
        seconds = np.trunc(evaluator.steps.times / 1000)
        return Frame.single(labelsets.NO_LABELS, kernel(seconds, ()))
    frame = evaluator.vector(node.args[0]).floats_only()
    return unnamed(evaluator, frame.with_values(kernel(frame.values, ())))


def is_ranged(node: tree.Call) -> bool:
    """Whether a call is of a function of range vectors that :func:`ranged` computes."""
    return node.function.name in ranged_functions.RANGED


def ranged(evaluator: Evaluator, node: tree.Call) -> Iterator[Frame]:
    """A function of range vectors, some series at a time."""
    name = node.function.name
    at = next(i for i, arg in enumerate(node.args) if _is_range(arg))
    args = [evaluator.scalar(arg) for i, arg in enumerate(node.args) if i != at]
    source = tree.unwrap(node.args[at])
    _check_modifier(name, source)
    position = tree.unwrap(node.args[0]).start
    for vector in evaluator.range_vectors(source):
        result = _ranged_part(evaluator, name, source, vector, args, position).pruned()
        if not ranged_functions.RANGED[name].keeps_name:
            result = result.without_names(evaluator.context.options.delayed_name_removal)
        yield result


def _ranged(evaluator: Evaluator, node: tree.Call) -> Frame:
    result = evaluator.collected(ranged(evaluator, node))
    return result if evaluator.context.options.delayed_name_removal else result.merged()


def _ranged_part(
    evaluator: Evaluator,
    name: str,
    source: tree.Expr,
    vector: RangeVector,
    args: list[Float64Array],
    position: int,
) -> Frame:
    context = evaluator.context
    if _is_extended(source) and name in _SMOOTHED:
        assert isinstance(source, tree.MatrixSelector)
        result = extended.rates(vector, name, source, position, context)
    else:
        result = ranged_functions.evaluate(name, vector, args, position, context)
    if name == "quantile_over_time" and len(result):
        _check_quantiles(evaluator, args[0], result, position)
    if name in ("rate", "increase"):
        _check_counters(evaluator, result, position)
        _check_starts(evaluator, vector, position)
    return result


def _is_range(arg: tree.Expr) -> bool:
    return isinstance(tree.unwrap(arg), (tree.MatrixSelector, tree.Subquery))


def _is_extended(source: tree.Expr) -> bool:
    return isinstance(source, tree.MatrixSelector) and (
        source.selector.anchored or source.selector.smoothed
    )


def _check_modifier(name: str, source: tree.Expr) -> None:
    if not isinstance(source, tree.MatrixSelector):
        return
    for modifier, used, allowed in (
        ("anchored", source.selector.anchored, _ANCHORED),
        ("smoothed", source.selector.smoothed, _SMOOTHED),
    ):
        if used and name not in allowed:
            raise ExecutionError(
                f"{modifier} modifier can only be used with: {', '.join(allowed)} - not with {name}"
            )


def _check_quantiles(
    evaluator: Evaluator, quantiles: Float64Array, result: Frame, position: int
) -> None:
    used = result.present.any(axis=0)
    for quantile in np.unique(quantiles[used]).tolist():
        if math.isnan(quantile) or quantile < 0 or quantile > 1:
            evaluator.context.annotations.warn(notes.invalid_quantile(quantile), position)


def _check_counters(evaluator: Evaluator, result: Frame, position: int) -> None:
    """Note series that rate was taken of, but that are no counters by their name or type."""
    context = evaluator.context
    with_floats = np.flatnonzero(result.is_float().any(axis=1)).tolist()
    found = [result.labels[row] for row in with_floats]
    if context.options.type_and_unit_labels:
        for labels in found:
            name, kind = labelsets.metric_name(labels), labelsets.get(labels, "__type__")
            if name and kind not in ("counter", "histogram"):
                context.annotations.info(notes.possible_non_counter_type(name, kind), position)
        return
    for name in dict.fromkeys(map(labelsets.metric_name, found)):
        if name and not name.endswith(_NO_NAN_SUFFIX):
            context.annotations.info(notes.possible_non_counter(name), position)


def _check_starts(evaluator: Evaluator, vector: RangeVector, position: int) -> None:
    """Warn of start timestamps that lie before the previous sample."""
    for row in np.flatnonzero(overlapping_starts(vector)).tolist():
        text = notes.start_time_overlap(labelsets.metric_name(vector.labels[row]))
        evaluator.context.annotations.warn(text, position)


def _first_or_last(evaluator: Evaluator, node: tree.Call) -> Frame:
    source = tree.unwrap(node.args[0])
    _check_modifier(node.function.name, source)
    last = node.function.name == "last_over_time"
    vectors = evaluator.range_vectors(source)
    return evaluator.collected(
        ranged_functions.first_or_last(vector, last=last).pruned() for vector in vectors
    )


def _absent(evaluator: Evaluator, node: tree.Call) -> Frame:
    there = np.asarray(evaluator.vector(node.args[0]).present.any(axis=0))
    return _absent_frame(node, ~there)


def _absent_over_time(evaluator: Evaluator, node: tree.Call) -> Frame:
    source = tree.unwrap(node.args[0])
    _check_modifier("absent_over_time", source)
    there = np.zeros(evaluator.steps.count, dtype=np.bool_)
    for vector in evaluator.range_vectors(source):
        for chunk in vector.chunks():
            low, high = chunk.bounds()
            there |= (high > low).any(axis=0)
    return _absent_frame(node, ~there)


def _absent_frame(node: tree.Call, absent: BoolArray) -> Frame:
    expected = labels.labels_of_absent(tree.unwrap(node.args[0]))
    return Frame.single(expected, np.ones(len(absent)), absent).pruned()


def _scalar(evaluator: Evaluator, node: tree.Call) -> Float64Array:
    frame = evaluator.vector(node.args[0])
    present = frame.is_float()
    count = present.sum(axis=0)
    total = np.where(present, frame.values, 0.0).sum(axis=0)
    return np.where(count == 1, total, np.nan)


def _vector(evaluator: Evaluator, node: tree.Call) -> Frame:
    return Frame.single(labelsets.NO_LABELS, evaluator.scalar(node.args[0]))


def _time(evaluator: Evaluator, _: tree.Call) -> Float64Array:
    return evaluator.steps.times / 1000


def _constant(value: Callable[[Evaluator], float]) -> Handler:
    return lambda evaluator, _: np.full(evaluator.steps.count, value(evaluator))


def _of_two(ufunc: np.ufunc) -> Handler:
    def handler(evaluator: Evaluator, node: tree.Call) -> Float64Array:
        one, other = (evaluator.scalar(arg) for arg in node.args)
        result: Float64Array = ufunc(one, other)
        return result

    return handler


def _timestamp(evaluator: Evaluator, node: tree.Call) -> Frame:
    source = tree.unwrap(node.args[0])
    if isinstance(source, tree.VectorSelector) and not source.smoothed:
        return unnamed(evaluator, evaluator.instant(source).timestamps())
    frame = evaluator.vector(node.args[0])
    times = np.broadcast_to(evaluator.steps.times / 1000, frame.values.shape)
    return unnamed(evaluator, frame.with_values(times))


def _start_timestamp(evaluator: Evaluator, node: tree.Call) -> Frame:
    source = tree.unwrap(node.args[0])
    known = evaluator.context.options.start_timestamps
    if not known or not isinstance(source, tree.VectorSelector):
        evaluator.vector(node.args[0])
        return Frame.empty(evaluator.steps.count)
    return unnamed(evaluator, evaluator.instant(source).start_timestamps())


def _sort(descending: bool) -> Handler:
    def handler(evaluator: Evaluator, node: tree.Call) -> Frame:
        frame = evaluator.vector(node.args[0]).floats_only()
        if frame.steps != 1:  # a range query's series are sorted by their labels
            return frame
        values = frame.values[:, 0]
        return frame.take(np.argsort(-values if descending else values, kind="stable"))

    return handler


def _sort_by_label(descending: bool) -> Handler:
    def handler(evaluator: Evaluator, node: tree.Call) -> Frame:
        names = [_string(evaluator, arg) for arg in node.args[1:]]
        frame = evaluator.vector(node.args[0])
        return labels.sort_by_label(frame, names, descending=descending)

    return handler


def _string(evaluator: Evaluator, arg: tree.Expr) -> str:
    value = evaluator.evaluate(tree.unwrap(arg))
    assert isinstance(value, str)
    return value


def _label_replace(evaluator: Evaluator, node: tree.Call) -> Frame:
    texts = [_string(evaluator, arg) for arg in node.args[1:]]
    return labels.label_replace(evaluator.vector(node.args[0]), *texts)


def _label_join(evaluator: Evaluator, node: tree.Call) -> Frame:
    target, separator, *sources = (_string(evaluator, arg) for arg in node.args[1:])
    return labels.label_join(evaluator.vector(node.args[0]), target, separator, sources)


_HANDLERS: dict[str, Handler] = {
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "end": _constant(lambda evaluator: evaluator.context.end_ms / 1000),
    "first_over_time": _first_or_last,
    "histogram_avg": histograms.simple,
    "histogram_count": histograms.simple,
    "histogram_fraction": histograms.fraction,
    "histogram_quantile": histograms.quantile,
    "histogram_quantiles": histograms.quantiles,
    "histogram_stddev": histograms.simple,
    "histogram_stdvar": histograms.simple,
    "histogram_sum": histograms.simple,
    "info": info.info,
    "label_join": _label_join,
    "label_replace": _label_replace,
    "last_over_time": _first_or_last,
    "max_of": _of_two(np.maximum),
    "min_of": _of_two(np.minimum),
    "pi": _constant(lambda _: math.pi),
    "range": _constant(lambda e: (e.context.end_ms - e.context.start_ms) / 1000),
    "scalar": _scalar,
    "sort": _sort(descending=False),
    "sort_by_label": _sort_by_label(descending=False),
    "sort_by_label_desc": _sort_by_label(descending=True),
    "sort_desc": _sort(descending=True),
    "start": _constant(lambda evaluator: evaluator.context.start_ms / 1000),
    "start_timestamp": _start_timestamp,
    "step": _constant(lambda evaluator: evaluator.context.step_ms / 1000),
    "time": _time,
    "timestamp": _timestamp,
    "vector": _vector,
    "zhistogram_quantile": zhistogram.quantile,
}
