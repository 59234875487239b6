"""Span metrics and the service graph as remote-write bodies, the way all metrics take."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import sub
from struct import Struct
from typing import Any

import cramjam

from ..ingest.remote_write_messages import METRIC_TYPES, TimeSeries, WriteRequest
from ..ingest.wire import varint
from ..query.prometheus.numbers import format_float
from .service_graph import Edge, EdgeCounts
from .span_histograms import BOUNDS, SCHEMA, ZERO_THRESHOLD, DurationHistogram
from .span_metrics import SpanExemplar, SpanKey

DURATION = "lookout_span_duration_seconds"
GRAPH = "traces_service_graph_request"
_SERIES_A_BODY = 5_000


class Report:
    """Series of one tenant at one time, in bodies of bounded size.

    Series are written as bytes: a key has seventeen with nearly the same labels, and as objects of
    the protobuf library 2,000 keys held up the collector for half a second.
    """

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._now = b"\x10" + varint(now_ms)  # as a field of a sample
        self._families = WriteRequest()
        self._series: list[bytes] = []
        self.bodies: list[bytes] = []

    def spans(
        self,
        histograms: Mapping[SpanKey, DurationHistogram],
        exemplars: Mapping[SpanKey, SpanExemplar],
    ) -> None:
        """``lookout_span_duration_seconds`` by service, span_name, kind and status."""
        self._family(DURATION, "histogram", "Durations of the spans received.")
        for key, histogram in histograms.items():
            labels = _Labels(
                service=key.service, span_name=key.name, kind=key.kind, status=key.status
            )
            self._histogram(DURATION, labels, histogram, exemplars.get(key))

    def graph(self, edges: Mapping[Edge, EdgeCounts]) -> None:
        """``traces_service_graph_request_*`` by client and server."""
        self._family(f"{GRAPH}_total", "counter", "Calls from one service to another.")
        self._family(f"{GRAPH}_failed_total", "counter", "Failed calls.")
        self._family(f"{GRAPH}_server_seconds", "histogram", "As the called service saw it.")
        self._family(f"{GRAPH}_client_seconds", "histogram", "As the calling service saw it.")
        for edge, counts in edges.items():
            labels = _Labels(
                client=edge.client, server=edge.server, connection_type=edge.connection
            )
            times = self._times(counts.client_seconds.started_ms)
            self._sample(labels.of(f"{GRAPH}_total"), counts.total, times)
            self._sample(labels.of(f"{GRAPH}_failed_total"), counts.failed, times)
            self._histogram(f"{GRAPH}_client_seconds", labels, counts.client_seconds)
            if counts.server_seconds.count:
                self._histogram(f"{GRAPH}_server_seconds", labels, counts.server_seconds)

    def close(self) -> list[bytes]:
        """All bodies."""
        if self._series:
            self._end_body()
        return self.bodies

    def _family(self, name: str, mtype: str, help_: str) -> None:
        number = METRIC_TYPES.index(mtype)
        self._families.metadata.add(
            type=number, metric_family_name=name.encode(), help=help_.encode()
        )

    def _histogram(
        self,
        name: str,
        labels: _Labels,
        histogram: DurationHistogram,
        exemplar: SpanExemplar | None = None,
    ) -> None:
        times = self._times(histogram.started_ms)
        place = -1 if exemplar is None else bisect_left(BOUNDS, exemplar.seconds)
        buckets = f"{name}_bucket"
        total = 0
        for index, count in enumerate(histogram.buckets.tolist()):
            total += count
            more = _exemplar(exemplar) if exemplar is not None and index == place else b""
            self._sample(labels.of(buckets, _LES[index]), total, times, more)
        self._sample(labels.of(f"{name}_sum"), histogram.sum, times)
        self._sample(labels.of(f"{name}_count"), histogram.count, times)
        native = TimeSeries()
        _fill(native, histogram, self._now_ms)
        self._add(labels.of(name) + native.SerializeToString())

    def _times(self, started_ms: int) -> bytes:
        """Now and the start as fields of a sample."""
        return self._now + b"\x18" + varint(started_ms)

    def _sample(self, labels: bytes, value: float, times: bytes, more: bytes = b"") -> None:
        sample = _SAMPLE.pack(0x09, value) + times
        self._add(labels + _delimited(0x12, sample) + more)

    def _add(self, series: bytes) -> None:
        if len(self._series) >= _SERIES_A_BODY:
            self._end_body()
        self._series.append(_delimited(0x0A, series))

    def _end_body(self) -> None:
        plain = b"".join([*self._series, self._families.SerializeToString()])
        self.bodies.append(bytes(cramjam.snappy.compress_raw(plain)))
        self._series.clear()
        self._families.Clear()


_SAMPLE = Struct("<Bd")


class _Labels:
    """Labels of a key's series but for the name and ``le``, as fields of a TimeSeries.

    Remote write wants them sorted; one without a value is not there.
    """

    def __init__(self, **labels: str) -> None:
        fields = [(name, _label(name, value)) for name, value in sorted(labels.items()) if value]
        self._before = b"".join(field for name, field in fields if name < "le")
        self._after = b"".join(field for name, field in fields if name > "le")

    def of(self, metric: str, le: bytes = b"") -> bytes:
        """All labels of one series; ``le`` as a field too."""
        return _name(metric) + self._before + le + self._after


def _label(name: str, value: str) -> bytes:
    """A label as a field of a TimeSeries."""
    return _delimited(0x0A, _delimited(0x0A, name.encode()) + _delimited(0x12, value.encode()))


@lru_cache(maxsize=64)
def _name(metric: str) -> bytes:
    return _label("__name__", metric)


def _delimited(tag: int, content: bytes) -> bytes:
    """A field of bytes."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    return bytes((tag,)) + varint(size) + content


_LES = [_label("le", text) for text in [*(format_float(bound) for bound in BOUNDS), "+Inf"]]


def _exemplar(exemplar: SpanExemplar) -> bytes:
    """The exemplar as a field of a TimeSeries."""
    series = TimeSeries()
    message = series.exemplars.add(value=exemplar.seconds, timestamp=exemplar.time_ms)
    message.labels.add(name=b"trace_id", value=exemplar.trace_id.encode())
    message.labels.add(name=b"span_id", value=exemplar.span_id.encode())
    return bytes(series.SerializeToString())


def _fill(series: Any, histogram: DurationHistogram, now_ms: int) -> None:
    """The same as a native histogram."""
    message = series.histograms.add(
        timestamp=now_ms,
        start_timestamp=histogram.started_ms,
        schema=SCHEMA,
        count_int=histogram.count,
        sum=histogram.sum,
        zero_threshold=ZERO_THRESHOLD,
        zero_count_int=histogram.zeros,
    )
    before = 0
    for offset, counts in _runs(histogram.native):
        message.positive_spans.add(offset=offset, length=len(counts))
        message.positive_deltas.extend(map(sub, counts, [before, *counts]))
        before = counts[-1]


def _runs(native: Mapping[int, int]) -> Iterator[tuple[int, list[int]]]:
    """Gap since the last run, and the counts of neighbouring buckets."""
    end, run = 0, list[int]()
    offset = 0
    for index in sorted(native):
        if run and index == end:
            run.append(native[index])
        else:
            if run:
                yield offset, run
            offset, run = index - end, [native[index]]
        end = index + 1
    if run:
        yield offset, run
