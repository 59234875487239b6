"""Prometheus' protobuf format: the only one that carries native histograms.

Needs the package protobuf; without it the scrape is answered in a text format.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from exporters.naming import prometheus_labels, unit_words

from ..exemplars import Exemplar
from ..metric import Tags
from ..snapshot import BucketPoint, ExponentialPoint, NumberPoint, Snapshot
from .protobuf_messages import COUNTER, GAUGE, HISTOGRAM, SUMMARY, MetricFamily
from .text import prometheus_type, unique

PROTOBUF_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
_TYPES = {"counter": COUNTER, "gauge": GAUGE, "info": GAUGE, "summary": SUMMARY,
          "histogram": HISTOGRAM}  # fmt: skip

#: The width of the zero bucket that Prometheus' own clients use: 2 to the power of -128.
ZERO_THRESHOLD = 2.0**-128


class ProtobufRenderer:
    """Renders snapshots as length-delimited MetricFamily messages."""

    content_type = PROTOBUF_TYPE

    def render(self, snapshots: Iterable[Snapshot], common_tags: Tags = ()) -> bytes:
        """The exposition of ``snapshots``, every series with ``common_tags`` besides its own."""
        parts = []
        for name, snapshot in unique(snapshots):
            message = _family(name, snapshot, common_tags).SerializeToString()
            parts += [varint(len(message)), message]
        return b"".join(parts)


def varint(number: int) -> bytes:
    """``number`` in protobuf's variable length."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _family(name: str, snapshot: Snapshot, common_tags: Tags) -> Any:
    definition = snapshot.definition
    kind = prometheus_type(definition)
    unit = "_".join(filter(None, unit_words(definition.unit)))
    family = MetricFamily(name=name, help=definition.description, type=_TYPES[kind], unit=unit)
    for point in snapshot.points:
        metric = family.metric.add()
        tags = point.tags
        if common_tags:
            tags = tuple(sorted({**dict(common_tags), **dict(tags)}.items()))
        for key, value in prometheus_labels(tags):
            metric.label.add(name=key, value=value)
        if isinstance(point, NumberPoint):
            _number(getattr(metric, "counter" if kind == "counter" else "gauge"), kind, point)
        elif isinstance(point, ExponentialPoint):
            _native(metric.histogram, point)
        else:
            _distribution(metric, definition.bounds, point)
    return family


def _number(message: Any, kind: str, point: NumberPoint) -> None:
    message.value = point.value
    if kind == "counter":
        _created(message, point.created_ns)
        if point.exemplar is not None:
            _exemplar(message.exemplar, point.exemplar)


def _distribution(metric: Any, bounds: tuple[float, ...], point: BucketPoint) -> None:
    message = metric.histogram if bounds else metric.summary
    message.sample_count = point.recorded
    message.sample_sum = point.total
    _created(message, point.created_ns)
    if bounds:
        exemplars = point.exemplars or {}
        upper_bounds = (*bounds, math.inf)
        for index, count in enumerate(accumulate(point.counts)):
            bucket = message.bucket.add(cumulative_count=count, upper_bound=upper_bounds[index])
            if index in exemplars:
                _exemplar(bucket.exemplar, exemplars[index])


def _native(message: Any, point: ExponentialPoint) -> None:
    message.sample_count = point.recorded
    message.sample_sum = point.total
    message.schema = point.scale
    message.zero_count = point.zero_count
    smallest = (
        min((offset for offset, counts in _signs(point) if counts), default=0) * 2.0**-point.scale
    )  # as a power of two
    message.zero_threshold = ZERO_THRESHOLD if smallest >= -128 else 5e-324
    _created(message, point.created_ns)
    _spans(message.positive_span, message.positive_delta, point.offset, point.counts)
    _spans(
        message.negative_span, message.negative_delta, point.negative_offset, point.negative_counts
    )
    for exemplar in point.exemplars:
        _exemplar(message.exemplars.add(), exemplar)


def _signs(point: ExponentialPoint) -> tuple[tuple[int, list[int]], ...]:
    return (point.offset, point.counts), (point.negative_offset, point.negative_counts)


def _spans(spans: Any, deltas: Any, offset: int, counts: Sequence[int]) -> None:
    """Runs of buckets with their differences. Gaps of up to two empty ones are not worth a span.

    Prometheus names a bucket by its upper bound, OpenTelemetry by its lower: hence the 1.
    """
    previous, next_index = 0, 0
    for index, count in enumerate(counts, offset + 1):
        if not count:
            continue
        gap = index - next_index
        if not spans or gap > 2:
            spans.add(offset=gap, length=0)
            gap = 0
        for value in (*[0] * gap, count):
            deltas.append(value - previous)
            previous = value
            spans[-1].length += 1
        next_index = index + 1


def _created(message: Any, created_ns: int) -> None:
    message.created_timestamp.seconds, message.created_timestamp.nanos = divmod(
        created_ns, 1_000_000_000
    )


def _exemplar(message: Any, exemplar: Exemplar) -> None:
    message.label.add(name="trace_id", value=exemplar.trace_id)
    message.label.add(name="span_id", value=exemplar.span_id)
    message.value = exemplar.value
    seconds, nanos = divmod(exemplar.time_ns, 1_000_000_000)
    message.timestamp.seconds, message.timestamp.nanos = seconds, nanos
