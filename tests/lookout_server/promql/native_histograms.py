"""Native histograms for tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lookout_server.query.prometheus.histogram import (
    CUSTOM_SCHEMA,
    NO_BUCKETS,
    Buckets,
    Histogram,
)


def side(counts: Mapping[int, float]) -> Buckets:
    """Buckets by index."""
    if not counts:
        return NO_BUCKETS
    indices = sorted(counts)
    values = [float(counts[index]) for index in indices]
    return Buckets(np.array(indices, dtype=np.int64), np.array(values))


def native(
    positive: Mapping[int, float] | None = None,
    negative: Mapping[int, float] | None = None,
    *,
    zero: float = 0.0,
    **fields: Any,
) -> Histogram:
    """A histogram whose count is that of its buckets, unless given."""
    counted = [*(positive or {}).values(), *(negative or {}).values(), zero]
    fields.setdefault("count", float(sum(counted)))
    return Histogram(
        positive=side(positive or {}), negative=side(negative or {}), zero_count=zero, **fields
    )


def custom(counts: Mapping[int, float], *bounds: float, **fields: Any) -> Histogram:
    """A histogram with custom bounds."""
    return native(counts, schema=CUSTOM_SCHEMA, custom_values=bounds, **fields)


def contents(histogram: Histogram) -> dict[tuple[float, float], float]:
    """The populated buckets by their bounds."""
    return {(b.lower, b.upper): b.count for b in histogram.buckets()}


_COUNTS = st.dictionaries(st.integers(-20, 20), st.integers(0, 1000), max_size=8)
_SUMS = st.floats(-1e6, 1e6)


@st.composite
def exponential(draw: Any, *, max_zero: float = 0.01) -> Histogram:
    """Histograms with exponential buckets and whole counts."""
    threshold = draw(st.sampled_from([0.0, 1e-6, max_zero]))
    zero = draw(st.integers(0, 50)) if threshold else 0
    schema = draw(st.integers(-4, 8))
    above = _above(schema, threshold)
    positive = {index + above: count for index, count in draw(_COUNTS).items() if index >= 0}
    negative = {index + above: count for index, count in draw(_COUNTS).items() if index >= 0}
    return native(
        positive,
        negative,
        zero=float(zero),
        zero_threshold=threshold,
        schema=schema,
        sum=draw(_SUMS),
    )


def _above(schema: int, threshold: float) -> int:
    """The index of a bucket that begins above a threshold."""
    if not threshold:
        return 0
    return math.ceil(math.log2(threshold) * 2.0**schema) + 2


@st.composite
def with_custom_buckets(draw: Any) -> Histogram:
    """Histograms with some of a few custom bounds, and whole counts."""
    options = (-10.0, -1.0, 0.0, 0.5, 1.0, 2.5, 10.0)
    bounds = sorted(draw(st.sets(st.sampled_from(options))))
    indices = st.integers(0, len(bounds))
    counts = draw(st.dictionaries(indices, st.integers(0, 1000)))
    return custom(counts, *bounds, sum=draw(_SUMS))
