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
#: Histograms times steps evaluated at once.
_BATCH_COLUMNS = 100_000


@dataclass(slots=True)
class Classic:
    """Histograms with the same bounds at steps where all have all their buckets.

    A column of ``counts`` is one histogram at one step, steps running fastest.
    """

    numbers: list[int]  # of the histograms
    labels: list[Labels]
    steps: Int64Array  # positions of the steps
    bounds: Float64Array  # upper bounds, strictly increasing
    counts: Float64Array  # buckets by columns, cumulative

    def per_column(self, per_step: Float64Array) -> Float64Array:
        """A number per step of the query, repeated for each histogram."""
        return np.tile(per_step[self.steps], len(self.numbers))

    def per_histogram(self, columns: Float64Array) -> Float64Array:
        """Columns as a matrix of histograms by steps."""
        return columns.reshape(len(self.numbers), len(self.steps))


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


def batches(frame: Frame, found: dict[Labels, list[int]]) -> Iterator[Classic]:
    """All histograms, those alike together. ``found`` has their rows by labels."""
    present = frame.is_float()
    complete = np.asarray(present.all(axis=1))
    known: dict[str, float] = {}
    alike: dict[tuple[float, ...], list[tuple[int, Labels, list[int]]]] = {}
    for number, (labels, rows) in enumerate(found.items()):
        bounds = np.array([_bound_at(frame, row, known) for row in rows])
        order = np.argsort(bounds, kind="stable")
        bounds, ordered = bounds[order], [rows[at] for at in order.tolist()]
        if complete[ordered].all() and (np.diff(bounds) > 0).all():
            alike.setdefault(tuple(bounds.tolist()), []).append((number, labels, ordered))
        else:
            yield from _by_presence(frame, present, (number, labels, ordered), bounds)
    steps = np.arange(frame.steps)
    for key, members in alike.items():
        at_once = max(1, _BATCH_COLUMNS // max(1, frame.steps))
        for start in range(0, len(members), at_once):
            numbers, labels_of, rows_of = zip(*members[start : start + at_once], strict=True)
            counts = frame.values[np.array(rows_of).T].reshape(len(key), -1)
            yield Classic(list(numbers), list(labels_of), steps, np.array(key), counts)


def _bound_at(frame: Frame, row: int, known: dict[str, float]) -> float:
    text = labelsets.get(frame.labels[row], _BUCKET)
    if text not in known:
        known[text] = bound_of(text) or 0.0
    return known[text]


def _by_presence(
    frame: Frame,
    present: BoolArray,
    histogram: tuple[int, Labels, list[int]],
    bounds: Float64Array,
) -> Iterator[Classic]:
    """One histogram's buckets, steps with the same buckets together."""
    number, labels, rows = histogram
    values = frame.values[rows]
    patterns, which = np.unique(present[rows], axis=1, return_inverse=True)
    for pattern in range(patterns.shape[1]):
        there = patterns[:, pattern]
        if there.any():
            steps = np.flatnonzero(which.ravel() == pattern)
            counts = values[np.ix_(np.flatnonzero(there), steps)]
            yield Classic([number], [labels], steps, *_coalesced(bounds[there], counts))


def _coalesced(bounds: Float64Array, counts: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Buckets of the same bound (written differently) made one."""
    first = np.r_[True, bounds[1:] != bounds[:-1]]
    if first.all():
        return bounds, counts
    return bounds[first], np.add.reduceat(counts, np.flatnonzero(first), axis=0)


@dataclass(slots=True)
class _Lifted:
    forced: BoolArray  # per column
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
    """``histogram_quantile`` of histograms, noting where their buckets were lifted."""

    def kernel(buckets: Classic, quantiles: Float64Array) -> Float64Array:
        wanted = buckets.per_column(quantiles)
        result, lifted = bucket_quantiles(buckets, wanted)
        if lifted is not None:
            counted = lifted.forced & (wanted >= 0) & (wanted <= 1)
            if counted.any():
                _note_lift(buckets, lifted, counted)
        return result

    def _note_lift(buckets: Classic, lifted: _Lifted, counted: BoolArray) -> None:
        delayed = context.options.delayed_name_removal
        width = len(buckets.steps)
        for at, labels in enumerate(buckets.labels):
            columns = at * width + np.flatnonzero(counted[at * width : (at + 1) * width])
            if not len(columns):
                continue
            stamps = times[buckets.steps[columns - at * width]]
            finding = ForcedMonotonicity(
                text="",
                position=position,
                first_ms=int(stamps.min()),
                last_ms=int(stamps.max()),
                lowest=float(lifted.lowest[columns].min()),
                highest=float(lifted.highest[columns].max()),
                difference=float(lifted.difference[columns].max()),
                count=len(columns),
            )
            name = labelsets.metric_name(labels) if delayed else ""
            context.annotations.forced_monotonicity(name, finding)

    return kernel


def bucket_quantiles(
    buckets: Classic, quantiles: Float64Array
) -> tuple[Float64Array, _Lifted | None]:
    """The quantile per column by linear interpolation within the bucket it falls into."""
    result = np.full(buckets.counts.shape[1], np.nan)
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
    """The share of observations between two bounds per column, by linear interpolation."""
    low, high = buckets.per_column(lower), buckets.per_column(upper)
    total = buckets.counts[-1]
    if not np.isposinf(buckets.bounds[-1]):
        return np.full(len(low), np.nan)
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
