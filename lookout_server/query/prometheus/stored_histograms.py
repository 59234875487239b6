"""Native histograms out of the table ``histograms``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from .histogram import Buckets, Histogram, ResetHint, from_spans
from .sample_columns import Order, SampleColumns, SeriesPlaces, column
from .source import ObjectArray

#: Everything a histogram is made of, in the order of :func:`_histogram`'s arguments.
FIELDS = (
    "schema", "count", "sum", "zero_threshold", "zero_count", "reset_hint", "custom_values",
    "positive_offsets", "positive_lengths", "positive_buckets",
    "negative_offsets", "negative_lengths", "negative_buckets",
)  # fmt: skip


def histogram_columns(table: pa.Table, places: SeriesPlaces) -> SampleColumns:
    """The rows of a fetch of id, ts, st and :data:`FIELDS`."""
    ids = column(table, "id").view(np.uint64)
    timestamps = column(table, "ts").view(np.int64)
    starts = column(table, "st").view(np.int64)
    histograms = _objects([_histogram(*row) for row in _rows(table)])
    order = Order([ids], [timestamps], places)
    values = np.zeros(len(order.times))
    return SampleColumns(order.offsets, order.times, values, order([starts]), order([histograms]))


def _rows(table: pa.Table) -> Any:
    return zip(*(table.column(name).to_pylist() for name in FIELDS), strict=True)


def _histogram(
    schema: int,
    count: float,
    total: float,
    zero_threshold: float,
    zero_count: float,
    reset_hint: int,
    custom_values: list[float],
    *sides: list[float],
) -> Histogram:
    positive, negative = _buckets(*sides[:3]), _buckets(*sides[3:])
    return Histogram(
        schema=schema,
        count=count,
        sum=total,
        zero_threshold=zero_threshold,
        zero_count=zero_count,
        positive=positive,
        negative=negative,
        custom_values=tuple(custom_values),
        hint=ResetHint(reset_hint),
    )


def _buckets(offsets: list[float], lengths: list[float], counts: list[float]) -> Buckets:
    spans = [(int(o), int(length)) for o, length in zip(offsets, lengths, strict=True)]
    return from_spans(spans, counts)


def _objects(items: list[Histogram]) -> ObjectArray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
