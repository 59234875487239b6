"""Classic histograms: series per bucket, told apart by the label ``le``.

Source: documentation of ``histogram_quantile`` and ``histogram_fraction``. Buckets that decrease
are lifted to the one before (cumulative counts cannot fall), differences within 1e-12 are taken
for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .. import annotations as notes
from .. import labelsets
from ..annotations import ForcedMonotonicity
from ..context import QueryContext
from ..frame import Frame
from ..source import BoolArray, Float64Array, Int64Array, Labels

_SMALL_DIFFERENCE = 1e-12
_BUCKET = "le"


@dataclass(slots=True)
class Classic:
    """The buckets of one histogram at some steps where it has the same ones."""

    labels: Labels
    steps: Int64Array  # positions of the columns
    bounds: Float64Array  # upper bounds, strictly increasing
    counts: Float64Array  # buckets by steps, cumulative


def classics(frame: Frame, position: int, context: QueryContext) -> dict[Labels, list[int]]:
    """The rows that are buckets, by the labels they share; warns of others."""
    found: dict[Labels, list[int]] = {}
    is_float = frame.is_float()
    for row, labels in enumerate(frame.labels):
        if not is_float[row].any():
            continue
        text = labelsets.get(labels, _BUCKET)
        if bound_of(text) is None:
            name = labelsets.metric_name(labels) if context.options.delayed_name_removal else ""
            context.annotations.warn(notes.bad_bucket_label(name, text), position)
            continue
        found.setdefault(labelsets.without(labels, (_BUCKET,)), []).append(row)
    return found


def bound_of(text: str) -> float | None:
    """The upper bound that a value of ``le`` stands for, None if it is no number."""
    if not text or text != text.strip() or "_" in text:
        return None
    try:
        bound = float.fromhex(text) if text.lower().lstrip("+-").startswith("0x") else float(text)
    except (ValueError, OverflowError):
        return None
    return bound


def by_presence(frame: Frame, labels: Labels, rows: list[int]) -> Iterator[Classic]:
    """One histogram's buckets, steps with the same buckets together."""
    bounds = np.array(
        [float(bound_of(labelsets.get(frame.labels[row], _BUCKET)) or 0.0) for row in rows]
    )
    order = np.argsort(bounds, kind="stable")
    bounds = bounds[order]
    ordered = np.array(rows)[order]
    present = frame.is_float()[ordered]
    values = frame.values[ordered]
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        there = patterns[:, number]
        if not there.any():
            continue
        steps = np.flatnonzero(which.ravel() == number)
        counts = values[np.ix_(np.flatnonzero(there), steps)]
        yield Classic(labels, steps, *_coalesced(bounds[there], counts))


def _coalesced(bounds: Float64Array, counts: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Buckets of the same bound (written differently) made one."""
    first = np.r_[True, bounds[1:] != bounds[:-1]]
    if first.all():
        return bounds, counts
    return bounds[first], np.add.reduceat(counts, np.flatnonzero(first), axis=0)


@dataclass(slots=True)
class _Lifted:
    forced: BoolArray  # per step
    lowest: Float64Array
    highest: Float64Array
    difference: Float64Array


def _lift(buckets: Classic) -> _Lifted:
    """Make counts monotonic, in a copy that replaces them."""
    counts = buckets.counts.copy()
    steps = counts.shape[1]
    lifted = _Lifted(
        np.zeros(steps, dtype=np.bool_),
        np.full(steps, np.inf),
        np.full(steps, -np.inf),
        np.zeros(steps),
    )
    before = counts[0]
    for bucket in range(1, len(counts)):
        now = counts[bucket]
        same = _almost_equal(before, now)
        falls = ~same & (now < before)
        if falls.any():
            lifted.forced |= falls
            bound = buckets.bounds[bucket]
            lifted.lowest[falls] = np.minimum(lifted.lowest[falls], bound)
            lifted.highest[falls] = np.maximum(lifted.highest[falls], bound)
            lifted.difference = np.where(
                falls, np.maximum(lifted.difference, before - now), lifted.difference
            )
        counts[bucket] = np.where(same | falls, before, now)
        before = counts[bucket]
    buckets.counts = counts
    return lifted


def _almost_equal(left: Float64Array, right: Float64Array) -> BoolArray:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        sizes = np.minimum(np.abs(left) + np.abs(right), np.finfo(np.float64).max)
        near = np.abs(left - right) / sizes < _SMALL_DIFFERENCE
    near &= (left != 0) & (right != 0)
    same: BoolArray = (left == right) | near | (np.isnan(left) & np.isnan(right))
    return same


def quantile_kernel(
    position: int, times: Int64Array, context: QueryContext
) -> Callable[[Classic, Float64Array], Float64Array]:
    """``histogram_quantile`` of one histogram's buckets, noting where they were lifted."""

    def kernel(buckets: Classic, quantiles: Float64Array) -> Float64Array:
        wanted = quantiles[buckets.steps]
        result, lifted = bucket_quantiles(buckets, wanted)
        if lifted is not None:
            counted = lifted.forced & (wanted >= 0) & (wanted <= 1)
            if counted.any():
                _note_lift(buckets, lifted, counted)
        return result

    def _note_lift(buckets: Classic, lifted: _Lifted, counted: BoolArray) -> None:
        stamps = times[buckets.steps[counted]]
        name = labelsets.metric_name(buckets.labels) if context.options.delayed_name_removal else ""
        finding = ForcedMonotonicity(
            text="",
            position=position,
            first_ms=int(stamps.min()),
            last_ms=int(stamps.max()),
            lowest=float(lifted.lowest[counted].min()),
            highest=float(lifted.highest[counted].max()),
            difference=float(lifted.difference[counted].max()),
            count=int(counted.sum()),
        )
        context.annotations.forced_monotonicity(name, finding)

    return kernel


def bucket_quantiles(
    buckets: Classic, quantiles: Float64Array
) -> tuple[Float64Array, _Lifted | None]:
    """The quantile per step by linear interpolation within the bucket it falls into."""
    steps = len(buckets.steps)
    result = np.full(steps, np.nan)
    lifted = None
    if np.isposinf(buckets.bounds[-1]):
        lifted = _lift(buckets)
        if len(buckets.bounds) >= 2:
            result = _interpolated(buckets, quantiles)
    result = np.where(quantiles < 0, -np.inf, np.where(quantiles > 1, np.inf, result))
    return np.where(np.isnan(quantiles), np.nan, result), lifted


def _interpolated(buckets: Classic, quantiles: Float64Array) -> Float64Array:
    bounds, counts = buckets.bounds, buckets.counts
    last = len(bounds) - 1
    total = counts[-1]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        rank = quantiles * total
        reached = counts[:-1] >= rank
        at = np.where(reached.any(axis=0), np.argmax(reached, axis=0), last)
        each = np.arange(len(at))
        inside = np.minimum(at, last - 1)
        below = np.where(inside > 0, counts[np.maximum(inside - 1, 0), each], 0.0)
        start = np.where(inside > 0, bounds[np.maximum(inside - 1, 0)], 0.0)
        share = (rank - below) / (counts[inside, each] - below)
        result = start + (bounds[inside] - start) * share
        result = np.where((at == 0) & (bounds[0] <= 0), bounds[0], result)
        result = np.where(at == last, bounds[last - 1], result)
    return np.where(total == 0, np.nan, result)


def bucket_fractions(buckets: Classic, lower: Float64Array, upper: Float64Array) -> Float64Array:
    """The share of observations between two bounds per step, by linear interpolation."""
    low, high = lower[buckets.steps], upper[buckets.steps]
    total = buckets.counts[-1]
    if not np.isposinf(buckets.bounds[-1]):
        return np.full(len(buckets.steps), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (_rank_of(buckets, high) - _rank_of(buckets, low)) / total
    share = np.where(low >= high, 0.0, share)
    return np.where((total == 0) | np.isnan(low) | np.isnan(high), np.nan, share)


def _rank_of(buckets: Classic, value: Float64Array) -> Float64Array:
    """How many observations are below ``value``."""
    rank = np.full(len(value), np.nan)
    known = np.zeros(len(value), dtype=np.bool_)
    below = np.zeros(len(value))
    lower = 0.0 if buckets.bounds[0] > 0 else -np.inf
    for bound, count in zip(buckets.bounds.tolist(), buckets.counts, strict=True):
        at_start = ~known & (lower >= value)
        rank = np.where(at_start, below, rank)
        known |= at_start
        inside = ~known & (bound > value)
        with np.errstate(invalid="ignore"):
            part = (value - lower) / (bound - lower) if np.isfinite(lower) else np.ones_like(value)
        rank = np.where(inside, below + (count - below) * part, rank)
        known |= inside
        below, lower = count, bound
    total: Float64Array = buckets.counts[-1]
    return np.where(known, np.minimum(rank, total), total)
