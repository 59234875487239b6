"""SOFALookout's histograms: a series per bucket, told apart by the label ``_bucket``.

Its values are ``0-100``, ``100-250`` and, for what is beyond every bound, ``250-``. Counts are
those of one step and of one bucket alone, and a bucket in which nothing fell has no series.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from .. import annotations as notes
from .. import labelsets, tree
from ..context import QueryContext
from ..frame import Frame
from ..source import Float64Array, Labels
from .histograms import check_quantiles, unnamed

if TYPE_CHECKING:
    from ..evaluator import Evaluator

_BUCKET = "_bucket"
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(f"({_NUMBER})-({_NUMBER})?")


def quantile(evaluator: Evaluator, node: tree.Call) -> Frame:
    """``zhistogram_quantile(scalar, vector)``."""
    context = evaluator.context
    wanted = evaluator.scalar(node.args[0])
    frame = evaluator.vector(node.args[1]).floats_only()
    check_quantiles(context, wanted, tree.unwrap(node.args[0]).start)
    position = tree.unwrap(node.args[1]).start
    return unnamed(evaluator, _quantiles(frame, wanted, context, position))


def _quantiles(frame: Frame, wanted: Float64Array, context: QueryContext, position: int) -> Frame:
    groups = _groups(frame, context, position)
    shape = len(groups), frame.steps
    values, present = np.full(shape, np.nan), np.zeros(shape, dtype=np.bool_)
    for number, buckets in enumerate(groups.values()):
        context.check()
        lower, upper, rows = zip(*sorted(buckets), strict=True)
        there = frame.present[list(rows)]
        counts = np.where(there, frame.values[list(rows)], 0.0)
        values[number] = _interpolated(np.array(lower), np.array(upper), counts, wanted)
        present[number] = there.any(axis=0)
    return Frame(list(groups), values, present, np.zeros(len(groups), dtype=np.bool_)).pruned()


def _groups(
    frame: Frame, context: QueryContext, position: int
) -> dict[Labels, list[tuple[float, float, int]]]:
    """Lower bound, upper bound and row of each bucket by the labels they share; warns of others."""
    groups: dict[Labels, list[tuple[float, float, int]]] = {}
    for row, labels in enumerate(frame.labels):
        text = labelsets.get(labels, _BUCKET)
        bounds = bounds_of(text)
        if bounds is None:
            name = labelsets.metric_name(labels) if context.options.delayed_name_removal else ""
            context.annotations.warn(notes.bad_bucket_range(name, text), position)
            continue
        groups.setdefault(labelsets.without(labels, (_BUCKET,)), []).append((*bounds, row))
    return groups


def bounds_of(text: str) -> tuple[float, float] | None:
    """The bounds a value of ``_bucket`` stands for; None if it is no range of numbers from 0 on."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    lower, upper = float(match[1]), float(match[2] or "inf")
    return (lower, upper) if lower < upper else None


def _interpolated(
    lower: Float64Array, upper: Float64Array, counts: Float64Array, wanted: Float64Array
) -> Float64Array:
    """The quantile at each step, linear within its bucket; in the open bucket its lower bound.

    ``counts`` are buckets by steps, not cumulative. As for other histograms the quantile is NaN
    without observations, and infinite where ``wanted`` is outside of 0 to 1.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        reached = np.cumsum(counts, axis=0)
        rank = wanted * reached[-1]
        inside = (reached >= rank) & (counts > 0)
        at = inside.argmax(axis=0), np.arange(counts.shape[1])
        low, width = lower[at[0]], (upper - lower)[at[0]]
        share = (rank - reached[at] + counts[at]) / counts[at]
        result = np.where(np.isinf(width), low, low + width * share)
    result = np.where(inside.any(axis=0), result, np.nan)
    outside = np.where(wanted < 0, -np.inf, np.inf)
    return np.where((wanted < 0) | (wanted > 1), outside, result)
