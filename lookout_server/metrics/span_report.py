"""Span metrics and the service graph as remote-write bodies, the way all metrics take."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

import cramjam

from ..ingest.remote_write_messages import METRIC_TYPES, WriteRequest
from ..query.prometheus.numbers import format_float
from .service_graph import Edge, EdgeCounts
from .span_histograms import BOUNDS, SCHEMA, ZERO_THRESHOLD, DurationHistogram
from .span_metrics import SpanExemplar, SpanKey

DURATION = "lookout_span_duration_seconds"
GRAPH = "traces_service_graph_request"
_SERIES_A_BODY = 5_000
_LES = [*(format_float(bound) for bound in BOUNDS), "+Inf"]


class Report:
    """Series of one tenant at one time, in bodies of bounded size."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._request = WriteRequest()
        self.bodies: list[bytes] = []

    def spans(
        self,
        histograms: Mapping[SpanKey, DurationHistogram],
        exemplars: Mapping[SpanKey, SpanExemplar],
    ) -> None:
        """``lookout_span_duration_seconds`` by service, span_name, kind and status."""
        self._family(DURATION, "histogram", "Durations of the spans received.")
        for key, histogram in histograms.items():
            labels = {
                "service": key.service,
                "span_name": key.name,
                "kind": key.kind,
                "status": key.status,
            }
            self._histogram(DURATION, labels, histogram, exemplars.get(key))

    def graph(self, edges: Mapping[Edge, EdgeCounts]) -> None:
        """``traces_service_graph_request_*`` by client and server."""
        self._family(f"{GRAPH}_total", "counter", "Calls from one service to another.")
        self._family(f"{GRAPH}_failed_total", "counter", "Failed calls.")
        self._family(f"{GRAPH}_server_seconds", "histogram", "As the called service saw it.")
        self._family(f"{GRAPH}_client_seconds", "histogram", "As the calling service saw it.")
        for edge, counts in edges.items():
            labels = {"client": edge.client, "server": edge.server}
            labels["connection_type"] = edge.connection
            started = counts.client_seconds.started_ms
            self._sample(f"{GRAPH}_total", labels, counts.total, started)
            self._sample(f"{GRAPH}_failed_total", labels, counts.failed, started)
            self._histogram(f"{GRAPH}_client_seconds", labels, counts.client_seconds)
            if counts.server_seconds.count:
                self._histogram(f"{GRAPH}_server_seconds", labels, counts.server_seconds)

    def close(self) -> list[bytes]:
        """All bodies."""
        if self._request.timeseries:
            self._end_body()
        return self.bodies

    def _family(self, name: str, mtype: str, help_: str) -> None:
        number = METRIC_TYPES.index(mtype)
        self._request.metadata.add(
            type=number, metric_family_name=name.encode(), help=help_.encode()
        )

    def _histogram(
        self,
        name: str,
        labels: dict[str, str],
        histogram: DurationHistogram,
        exemplar: SpanExemplar | None = None,
    ) -> None:
        started = histogram.started_ms
        place = -1 if exemplar is None else bisect_left(BOUNDS, exemplar.seconds)
        total = 0
        for index, (le, count) in enumerate(zip(_LES, histogram.buckets.tolist(), strict=True)):
            total += count
            series = self._sample(f"{name}_bucket", {**labels, "le": le}, total, started)
            if exemplar is not None and index == place:
                _attach(series, exemplar)
        self._sample(f"{name}_sum", labels, histogram.sum, started)
        self._sample(f"{name}_count", labels, histogram.count, started)
        _fill(self._series(name, labels), histogram, self._now_ms)

    def _sample(self, name: str, labels: dict[str, str], value: float, started: int) -> Any:
        series = self._series(name, labels)
        series.samples.add(timestamp=self._now_ms, value=value, start_timestamp=started)
        return series

    def _series(self, name: str, labels: dict[str, str]) -> Any:
        if len(self._request.timeseries) >= _SERIES_A_BODY:
            self._end_body()
        series = self._request.timeseries.add()
        for key, value in sorted({"__name__": name, **labels}.items()):
            if value:
                series.labels.add(name=key, value=value)
        return series

    def _end_body(self) -> None:
        self.bodies.append(bytes(cramjam.snappy.compress_raw(self._request.SerializeToString())))
        self._request = WriteRequest()


def _attach(series: Any, exemplar: SpanExemplar) -> None:
    message = series.exemplars.add(value=exemplar.seconds, timestamp=exemplar.time_ms)
    message.labels.add(name=b"trace_id", value=exemplar.trace_id.encode())
    message.labels.add(name=b"span_id", value=exemplar.span_id.encode())


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
        for count in counts:
            message.positive_deltas.append(count - before)
            before = count


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
