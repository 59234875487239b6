"""Bodies of remote write, as Prometheus sends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import cramjam

from lookout_server.ingest.remote_write_messages import WriteRequest
from lookout_server.query.prometheus.histogram import Histogram, spans_of

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def compressed(message: Any) -> bytes:
    """A message as the body of a request."""
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def write_request(
    series: Iterable[tuple[Mapping[str, str], Iterable[tuple[int, Any]]]],
) -> bytes:
    """The body for samples ``(time in ms, number or histogram)`` by labels."""
    request = WriteRequest()
    for labels, samples in series:
        one = request.timeseries.add()
        for name, value in sorted(labels.items()):
            one.labels.add(name=name, value=value)
        for time, value in samples:
            add_sample(one, time, value)
    return compressed(request)


def add_sample(series: Any, time: int, value: float | Histogram, start: int = 0) -> None:
    """Add a sample to a TimeSeries message."""
    if not isinstance(value, Histogram):
        series.samples.add(timestamp=time, value=value, start_timestamp=start)
        return
    message = series.histograms.add(
        timestamp=time,
        start_timestamp=start,
        schema=value.schema,
        count_float=value.count,
        sum=value.sum,
        zero_threshold=value.zero_threshold,
        zero_count_float=value.zero_count,
        positive_counts=value.positive.counts.tolist(),
        negative_counts=value.negative.counts.tolist(),
        custom_values=value.custom_values,
        reset_hint=int(value.hint),
    )
    for offset, length in spans_of(value.positive):
        message.positive_spans.add(offset=offset, length=length)
    for offset, length in spans_of(value.negative):
        message.negative_spans.add(offset=offset, length=length)
