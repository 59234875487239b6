"""Federated series as protobuf: the one exposition format that carries native histograms.

Source: ``web/federate.go`` of Prometheus, ``io/prometheus/client/metrics.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...ingest.remote_write_messages import MetricFamily
from ...ingest.wire import varint
from .histogram import Histogram, ResetHint, spans_of
from .source import METRIC_NAME, Labels

MEDIA_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
_UNTYPED, _HISTOGRAM, _GAUGE_HISTOGRAM = 3, 4, 5


def encoded(newest: Mapping[Labels, tuple[int, float | Histogram]]) -> bytes:
    """Time (ms) and value of each series, as length-delimited families ordered by name."""
    messages = [family.SerializeToString() for family in _families(newest)]
    return b"".join(varint(len(message)) + message for message in messages)


def _families(newest: Mapping[Labels, tuple[int, float | Histogram]]) -> Iterator[Any]:
    family = None
    for labels in sorted(newest, key=lambda labels: (dict(labels).get(METRIC_NAME, ""), labels)):
        time, value = newest[labels]
        own = {"instance": "", **dict(labels)}
        name, kind = own.pop(METRIC_NAME, ""), _kind(value)
        if family is None or (family.name, family.type) != (name, kind):
            if family is not None:
                yield family
            family = MetricFamily(name=name, type=kind)
        metric = family.metric.add(timestamp_ms=time)
        for key, text in sorted(own.items()):
            metric.label.add(name=key, value=text)
        if isinstance(value, Histogram):
            _fill(metric.histogram, value)
        else:
            metric.untyped.value = value
    if family is not None:
        yield family


def _kind(value: float | Histogram) -> int:
    if not isinstance(value, Histogram):
        return _UNTYPED
    return _GAUGE_HISTOGRAM if value.hint is ResetHint.GAUGE else _HISTOGRAM


def _fill(message: Any, histogram: Histogram) -> None:
    message.sample_count_float = histogram.count
    message.sample_sum = histogram.sum
    message.schema = histogram.schema
    message.zero_threshold = histogram.zero_threshold
    message.zero_count_float = histogram.zero_count
    for spans, counts, side in (
        (message.positive_span, message.positive_count, histogram.positive),
        (message.negative_span, message.negative_count, histogram.negative),
    ):
        for offset, length in spans_of(side):
            spans.add(offset=offset, length=length)
        counts.extend(side.counts.tolist())
