"""Aggregation operators that choose series of a group: topk, bottomk, limitk, limit_ratio."""

from __future__ import annotations

import numpy as np
import xxhash

from . import annotations as notes
from .aggregation import Groups, grouping
from .context import QueryContext
from .errors import ExecutionError
from .frame import Frame
from .numbers import format_go
from .source import BoolArray, Float64Array, Int64Array, Labels
from .tree import Aggregate, AggregateOp, unwrap

_LARGEST_INT, _SMALLEST_INT = 9223372036854774784.0, -9223372036854775808.0


def choose(node: Aggregate, frame: Frame, param: Float64Array, context: QueryContext) -> Frame:
    """The chosen series with their own labels and values."""
    if node.op is AggregateOp.LIMIT_RATIO:
        return _limit_ratio(node, frame, param, context)
    if param.size == 0 or not (np.nanmax(param, initial=-np.inf) >= 1 or np.isnan(param).any()):
        return Frame.empty(frame.steps)
    _check_count(param)
    wanted = np.where(param < 1, 0, param).astype(np.int64)
    if node.op is AggregateOp.LIMITK:
        return _limitk(node, frame, wanted)
    return _best(node, frame, wanted, context)


def _check_count(param: Float64Array) -> None:
    if np.isnan(param).any():
        raise ExecutionError("Parameter value is NaN")
    if param.min() <= _SMALLEST_INT:
        text = format_go(float(param.min()))
        raise ExecutionError(f"Scalar value {text} underflows int64")
    if param.max() >= _LARGEST_INT:
        text = format_go(float(param.max()))
        raise ExecutionError(f"Scalar value {text} overflows int64")


def _best(node: Aggregate, frame: Frame, wanted: Int64Array, context: QueryContext) -> Frame:
    if frame.histograms is not None and frame.is_histogram().any():
        context.annotations.info(notes.histogram_ignored(node.op.value), node.start)
    floats = frame.floats_only()
    if not len(floats):
        return floats
    keys = -floats.values if node.op is AggregateOp.TOPK else floats.values
    keep = np.zeros(floats.present.shape, dtype=np.bool_)
    order: list[Int64Array] = []
    simple = frame.steps > 1 and floats.present.all() and not np.isnan(keys).any()
    for rows in Groups(floats, grouping(node)).members():
        if simple and (wanted == wanted[0]).all():
            keep[rows] = _smallest(keys[rows], int(wanted[0]))
            order.append(rows)
            continue
        ranked = _ranked(keys[rows], floats.present[rows])
        chosen = np.arange(len(rows))[:, None] < wanted
        mask = np.zeros(ranked.shape, dtype=np.bool_)
        np.put_along_axis(mask, ranked, chosen, axis=0)
        keep[rows] = mask & floats.present[rows]
        order.append(rows[ranked[:, 0]] if frame.steps == 1 else rows)
    return (
        Frame(floats.labels, floats.values, keep, floats.drop_name)
        .take(np.concatenate(order))
        .pruned()
    )


def _smallest(keys: Float64Array, count: int) -> BoolArray:
    """The ``count`` smallest of each step; of equal ones the first. Not in any order."""
    if count >= len(keys):
        return np.ones(keys.shape, dtype=np.bool_)
    last = np.partition(keys.T, count - 1, axis=1)[:, count - 1]
    smaller, equal = keys < last, keys == last
    room = count - smaller.sum(axis=0)
    result: BoolArray = smaller | (equal & (equal.cumsum(axis=0) <= room))
    return result


def _ranked(keys: Float64Array, present: BoolArray) -> Int64Array:
    """Row numbers per step, smallest key first, NaN after numbers, absent ones last."""
    order = np.argsort(keys, axis=0, kind="stable")  # NaN last
    if np.isnan(keys[present]).any() or not present.all():
        kind = np.where(present, np.isnan(keys), 2)
        by_kind = np.argsort(np.take_along_axis(kind, order, axis=0), axis=0, kind="stable")
        order = np.take_along_axis(order, by_kind, axis=0)
    return order


def _limitk(node: Aggregate, frame: Frame, wanted: Int64Array) -> Frame:
    keep = np.zeros(frame.present.shape, dtype=np.bool_)
    for rows in Groups(frame, grouping(node)).members():
        present = frame.present[rows]
        keep[rows] = present & (np.cumsum(present, axis=0) <= wanted)
    return frame.where(keep)


def _limit_ratio(
    node: Aggregate, frame: Frame, param: Float64Array, context: QueryContext
) -> Frame:
    if param.size == 0 or not param.any():
        return Frame.empty(frame.steps)
    if np.isnan(param).any():
        raise ExecutionError("Ratio value is NaN")
    position = unwrap(node.param).start if node.param is not None else node.start
    if param.max() > 1:
        text = notes.invalid_ratio(float(param.max()), 1.0)
        context.annotations.warn(text, position)
    if param.min() < -1:
        text = notes.invalid_ratio(float(param.min()), -1.0)
        context.annotations.warn(text, position)
    ratio = np.clip(param, -1, 1)
    share = np.array([_share(labels) for labels in frame.labels])[:, None]
    return frame.where(np.where(ratio >= 0, share < ratio, share >= 1 + ratio))


def _share(labels: Labels) -> float:
    """A number in [0, 1) that depends on nothing but the labels: the one Prometheus takes."""
    parts = (part.encode("utf-8", "surrogateescape") for pair in labels for part in pair)
    return xxhash.xxh64_intdigest(b"".join(_sized(part) for part in parts)) / 2**64


def _sized(part: bytes) -> bytes:
    """A string behind its length, as Prometheus keeps label sets."""
    size = len(part)
    head = bytes([size]) if size < 255 else b"\xff" + size.to_bytes(3, "little")
    return head + part
