"""Pushed Prometheus text: the gateway's ``/prom/metrics/job/...`` and Pushgateway's paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..metrics.rows import MetricRows, RowsBuilder
from ..metrics.series import METRIC_NAME, LabelLimits
from ..signal import Malformed, Receipt
from .gateway import Point, rows_of
from .prometheus_text import Exposition, TextSample, parse


def decode_gateway(body: bytes, receipt: Receipt) -> MetricRows:
    """Rows by the gateway's rules: its own alphabet, times aligned to the step of the URL."""
    found = _parsed(body)
    points = _points(found.samples, receipt.received_ms)
    rows = rows_of(points, receipt)
    rows.metadata = found.metadata
    return _with_bad_lines(rows, found)


def decode_pushgateway(
    body: bytes, receipt: Receipt, limits: LabelLimits | None = None
) -> MetricRows:
    """Rows of a push to a group: the labels of the URL go before those of the samples.

    Raises Malformed for times, which the group's own would contradict, and for a bad line.
    """
    found = _parsed(body)
    if found.bad_lines:
        raise Malformed(f"text format parsing error: {found.bad_lines[0]}")
    group = {str(name): str(value) for name, value in dict(receipt.hints["tags"]).items()}
    builder = RowsBuilder(receipt.tenant, receipt.received_ms, limits)
    for sample in found.samples:
        if sample.time_ms is not None:
            raise Malformed("pushed metrics must not have timestamps")
        series = builder.series({**dict(sample.labels), **group})
        builder.sample(series, receipt.received_ms, sample.value)
    pushed = builder.series({**group, METRIC_NAME: "push_time_seconds"})
    builder.sample(pushed, receipt.received_ms, receipt.received_ms / 1000)
    for word in found.metadata:
        builder.metadata(word.metric, word.type, word.help, word.unit)
    return builder.build()


def _parsed(body: bytes) -> Exposition:
    try:
        return parse(body.decode())
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: {error}") from error


def _points(samples: Iterable[TextSample], now_ms: int) -> Iterator[Point]:
    for sample in samples:
        tags = dict(sample.labels)
        name = tags.pop(METRIC_NAME)
        yield Point(name, tags, sample.value, now_ms if sample.time_ms is None else sample.time_ms)


def _with_bad_lines(rows: MetricRows, found: Exposition) -> MetricRows:
    if found.bad_lines:
        rows.note("malformed_line", len(found.bad_lines), found.bad_lines[0])
    return rows
