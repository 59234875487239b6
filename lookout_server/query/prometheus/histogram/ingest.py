"""Histograms from the fields of protocols and of storage, checked on the way in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from .bounds import (
    CUSTOM_SCHEMA,
    LARGEST_RESERVED_SCHEMA,
    LARGEST_SCHEMA,
    SMALLEST_SCHEMA,
    Counts,
    Indices,
    is_exponential,
)
from .errors import InvalidHistogram
from .model import NO_BUCKETS, Buckets, Histogram, ResetHint
from .resolution import reduce_resolution

#: (offset from the end of the previous span, number of consecutive buckets)
Span = tuple[int, int]

_MOST_BUCKETS = 1_000_000  # a span may claim any length; its buckets must be there to count


@dataclass(frozen=True, slots=True)
class Side:
    """One side's buckets as protocols give them: spans, and deltas or absolute counts."""

    spans: Sequence[Span] = ()
    deltas: Sequence[int] = ()
    counts: Sequence[float] = ()


NO_SIDE = Side()


def from_remote_write(
    *,
    schema: int,
    count: float,
    sum: float,
    zero_threshold: float = 0.0,
    zero_count: float = 0.0,
    positive: Side = NO_SIDE,
    negative: Side = NO_SIDE,
    custom_values: Sequence[float] = (),
    reset_hint: int = 0,
    is_float: bool = False,
) -> Histogram:
    """A histogram from the fields of a remote-write message.

    Args:
        schema: the resolution; a reserved higher one is reduced to the highest supported.
        count: the number of observations.
        sum: their sum.
        zero_threshold: half the width of the zero bucket.
        zero_count: the number of observations in it.
        positive: the positive buckets.
        negative: the negative buckets.
        custom_values: the bounds of custom buckets.
        reset_hint: the number of the reset hint; unknown numbers mean that nothing is known.
        is_float: whether counts are floats (absolute) rather than integers (deltas).

    Raises:
        InvalidHistogram: the fields contradict each other; the text says how.
    """
    _check_schema(schema)
    histogram = Histogram(
        schema=schema,
        count=float(count),
        sum=sum,
        zero_threshold=zero_threshold,
        zero_count=float(zero_count),
        positive=_side("positive", positive, is_float, schema),
        negative=_side("negative", negative, is_float, schema),
        custom_values=tuple(custom_values),
        hint=ResetHint(reset_hint) if 0 <= reset_hint <= 3 else ResetHint.UNKNOWN,
    )
    _check_kind(histogram, negative)
    _check_counts(histogram, exact=not is_float)
    if schema > LARGEST_SCHEMA:
        return reduce_resolution(histogram, LARGEST_SCHEMA)
    return histogram


def from_spans(spans: Sequence[Span], counts: Sequence[float] | Counts) -> Buckets:
    """Buckets from spans and absolute counts that are known to fit each other."""
    if not len(counts):
        return NO_BUCKETS
    return Buckets(_indices(tuple(spans)), np.asarray(counts, dtype=np.float64))


def spans_of(buckets: Buckets) -> list[Span]:
    """The spans that describe the indices of buckets."""
    if not len(buckets):
        return []
    breaks = np.flatnonzero(np.diff(buckets.indices) != 1) + 1
    runs = np.split(buckets.indices, breaks)
    ends = [0, *(int(run[-1]) + 1 for run in runs)]
    return [(int(run[0]) - end, len(run)) for run, end in zip(runs, ends, strict=False)]


@lru_cache(maxsize=4096)
def _indices(spans: tuple[Span, ...]) -> Indices:
    """The indices of the buckets of spans; shared, so that equal layouts compare at once."""
    parts, at = [], 0
    for offset, length in spans:
        at += offset
        parts.append(np.arange(at, at + length, dtype=np.int64))
        at += length
    indices = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    indices.setflags(write=False)
    return indices


def _side(name: str, side: Side, is_float: bool, schema: int) -> Buckets:
    values = side.counts if is_float else side.deltas
    prefix = "custom buckets" if schema == CUSTOM_SCHEMA else f"{name} side"
    _check_spans(prefix, side.spans, len(values))
    counts = np.asarray(values, dtype=np.float64)
    counts = counts if is_float else np.cumsum(counts)
    for index, count in enumerate(counts.tolist()):
        if count < 0:
            raise InvalidHistogram(
                f"{name} side: bucket number {index + 1} has observation count of {count:g}: "
                "histogram has a bucket whose observation count is negative"
            )
    return from_spans([(int(offset), int(length)) for offset, length in side.spans], counts)


def _check_spans(prefix: str, spans: Sequence[Span], buckets: int) -> None:
    for number, (offset, _) in enumerate(spans[1:], start=2):
        if offset < 0:
            raise InvalidHistogram(
                f"{prefix}: span number {number} with offset {offset}: "
                "histogram has a span whose offset is negative"
            )
    needed = sum(length for _, length in spans)
    if needed != buckets or needed > _MOST_BUCKETS:
        raise InvalidHistogram(
            f"{prefix}: spans need {needed} buckets, have {buckets} buckets: "
            "histogram spans specify different number of buckets than provided"
        )


def _check_schema(schema: int) -> None:
    reserved = LARGEST_SCHEMA < schema <= LARGEST_RESERVED_SCHEMA
    if not (is_exponential(schema) or reserved or schema == CUSTOM_SCHEMA):
        raise InvalidHistogram(
            f"histogram has an invalid schema, which must be between {SMALLEST_SCHEMA} and "
            f"{LARGEST_SCHEMA} for exponential buckets, or {CUSTOM_SCHEMA} for custom buckets, "
            f"got schema {schema}"
        )


def _check_kind(histogram: Histogram, negative: Side) -> None:
    """Neither kind of schema may have the fields of the other."""
    if not histogram.is_custom:
        if histogram.custom_values:
            raise InvalidHistogram("histogram with exponential schema must not have custom bounds")
        return
    _check_custom_values(histogram)
    if histogram.zero_count != 0:
        raise InvalidHistogram("custom buckets: must have zero count of 0")
    if histogram.zero_threshold != 0:
        raise InvalidHistogram("custom buckets: must have zero threshold of 0")
    if negative.spans:
        raise InvalidHistogram("custom buckets: must not have negative spans")


def _check_custom_values(histogram: Histogram) -> None:
    values = histogram.custom_values
    if any(map(math.isnan, values)):
        raise InvalidHistogram("custom buckets: histogram custom bounds must not be NaN")
    if any(low >= high for low, high in pairwise(values)):
        raise InvalidHistogram(
            "custom buckets: histogram custom bounds must be in strictly increasing order"
        )
    if any(map(math.isinf, values)):
        raise InvalidHistogram("custom buckets: histogram custom bounds must be finite")
    indices = histogram.positive.indices
    if len(indices) and not 0 <= indices[0] <= indices[-1] <= len(values):
        raise InvalidHistogram("custom buckets: histogram custom bounds are too few")


def _check_counts(histogram: Histogram, *, exact: bool) -> None:
    """Integers must add up, but for NaN, which is in no bucket; floats cannot be held to it."""
    if histogram.zero_count < 0:
        raise InvalidHistogram(
            f"zero bucket has observation count of {histogram.zero_count:g}: "
            "histogram has a bucket whose observation count is negative"
        )
    if histogram.count < 0:
        raise InvalidHistogram(
            f"observation count is {histogram.count:g}: histogram's observation count is negative"
        )
    if exact:
        _check_total(histogram)


def _check_total(histogram: Histogram) -> None:
    counted = histogram.zero_count + sum(
        float(side.counts.sum()) for side in (histogram.positive, histogram.negative)
    )
    if math.isnan(histogram.sum):
        if counted > histogram.count:
            raise InvalidHistogram(
                f"{counted:g} observations found in buckets, but the Count field is "
                f"{histogram.count:g}: histogram's observation count should be at least the number "
                "of observations found in the buckets"
            )
    elif counted != histogram.count:
        raise InvalidHistogram(
            f"{counted:g} observations found in buckets, but the Count field is "
            f"{histogram.count:g}: histogram's observation count should equal the number of "
            "observations found in the buckets (in absence of NaN)"
        )
