"""Spans out of the store: the columns to select, and the way back from Arrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache

import pyarrow as pa

from ...spans.columns import DEBUG, KIND_MASK, SHARED, unpack_endpoint
from ...spans.model import KINDS, Annotation, Span
from ...spans.tables import split_token

#: What :func:`spans_of` reads, from the table ``spans``.
SPAN_COLUMNS = (
    "high, low, reinterpretAsUInt64(substring(ids, 1, 8)) AS parent, "
    "reinterpretAsUInt64(substring(ids, 9, 8)) AS id, ts, duration, flags, name, service, "
    "address, remote, annotation_times, annotations, tags_low, tags_high"
)
_WRAP = 2**64


def spans_of(table: pa.Table) -> Iterator[Span]:
    """The spans of a result with SPAN_COLUMNS."""
    columns = (table.column(i).to_pylist() for i in range(table.num_columns))
    endpoint = cache(unpack_endpoint)  # of few places, mostly
    for (
        high,
        low,
        parent,
        id,
        timestamp,
        duration,
        flags,
        name,
        service,
        address,
        remote,
        times,
        values,
        tags_low,
        tags_high,
    ) in zip(*columns, strict=True):
        yield Span(
            f"{high:016x}{low:016x}" if high else f"{low:016x}",
            f"{id:016x}",
            f"{parent:016x}" if parent else "",
            KINDS[flags & KIND_MASK],
            name,
            timestamp,
            duration,
            endpoint(address, service),
            endpoint(remote),
            tuple(
                Annotation(_signed(timestamp + offset), value)
                for offset, value in zip(times, values, strict=True)
            ),
            dict(sorted(map(split_token, (*tags_low, *tags_high)))),
            bool(flags & DEBUG),
            bool(flags & SHARED),
        )


def distinct(spans: Iterable[Span]) -> list[Span]:
    """The spans by time, those sent again left out."""
    spans = list(spans)
    times = Counter(span.id for span in spans)
    kept: dict[object, Span] = {}
    for span in spans:
        # All of a span takes a while to look up, and most ids are there once.
        alone = times[span.id] == 1
        kept[span.id if alone else (span[:10], tuple(span.tags.items()), span[11:])] = span
    return sorted(kept.values(), key=lambda span: (span.timestamp, span.id))


def _signed(value: int) -> int:
    """A 64-bit sum as it was before it wrapped."""
    value %= _WRAP
    return value - _WRAP if value >= _WRAP // 2 else value
