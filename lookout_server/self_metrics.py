"""What the collector measures about itself, on a registry of its own: ``GET /metrics``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

if TYPE_CHECKING:
    from .collector import Collector

#: A gauge that is read when scraped: (name, help, label names, () -> (label values, value)).
Reading = Iterable[tuple[tuple[str, ...], float]]

_BATCH_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_ROWS = (1, 10, 100, 1_000, 10_000, 50_000, 100_000)
_DELAY_SECONDS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 5, 10, 30, 60, 300)


class SelfMetrics:
    """The counters the parts write to. One of these per collector."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.bodies = self._counter("bodies", "Bodies accepted.", "signal", "format")
        self.bytes = self._counter("bytes", "Bytes of bodies accepted.", "signal", "format")
        self.rows = self._counter("rows", "Spans or samples accepted.", "signal", "format")
        self._of_bodies: dict[tuple[str, str], tuple[Counter, ...]] = {}
        self.stored = self._counter("stored_rows", "Spans or samples stored.", "signal")
        self.dropped = self._counter(
            "dropped_rows", "Rows accepted and then not stored, by reason.", "signal", "reason"
        )
        self.refused = self._counter("refused", "Requests refused, by reason.", "reason")
        self.rejected = self._counter(
            "rejected_samples",
            "Samples left out of bodies whose others were taken, by reason.",
            "reason",
        )
        self.repeats = self._counter(
            "repeated_bodies",
            "Bodies sent again, and not kept twice.",
            "signal",
        )
        self.retries = self._counter(
            "insert_retries", "Inserts that failed and were repeated.", "signal"
        )
        self.batch_seconds = self._histogram(
            "batch_seconds", "Time to write a batch.", _BATCH_SECONDS, "signal"
        )
        self.batch_rows = self._histogram("batch_rows", "Rows of a batch.", _BATCH_ROWS, "signal")
        self.delay_seconds = self._histogram(
            "stored_delay_seconds",
            "From a body's acceptance to its rows being queryable.",
            _DELAY_SECONDS,
            "signal",
        )

    def count_body(self, signal: str, fmt: str, size: int, rows: int) -> None:
        """A body of ``size`` bytes was accepted."""
        counters = self._of_bodies.get((signal, fmt))
        if counters is None:  # looking children up by their labels is most of counting
            counters = tuple(c.labels(signal, fmt) for c in (self.bodies, self.bytes, self.rows))
            self._of_bodies[signal, fmt] = counters
        for counter, amount in zip(counters, (1, size, rows), strict=True):
            counter.inc(amount)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"lookout_collector_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"lookout_collector_{name}", text, labels, registry=self.registry, buckets=buckets
        )

    def gauge(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Reading]
    ) -> None:
        """Expose values that are looked up when somebody scrapes."""
        self.registry.register(_Gauge(f"lookout_collector_{name}", text, labels, read))

    def observe_process(self, namespace: str, pid: Callable[[], int | None]) -> None:
        """Memory and CPU of another process, named as ours behind ``namespace``; absent: none."""
        # A number that no process has is as good as none.
        ProcessCollector(namespace, lambda: pid() or "none", registry=self.registry)

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


class _Gauge:
    """A collector of client_python over a function."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Reading]
    ) -> None:
        self._description = (name, text, labels)
        self._read = read

    def describe(self) -> Iterator[Metric]:
        name, text, labels = self._description
        yield GaugeMetricFamily(name, text, labels=labels)

    def collect(self) -> Iterator[Metric]:
        name, text, labels = self._description
        family = GaugeMetricFamily(name, text, labels=labels)
        for values, value in self._read():
            family.add_metric(values, value)
        yield family


def age_seconds(unix_ms: int | None) -> float:
    """Seconds since a moment; 0 for none."""
    return 0.0 if unix_ms is None else max(0.0, time.time() - unix_ms / 1000)


def routes(server: Collector) -> list[BaseRoute]:
    """``/metrics``."""

    def metrics(request: Request) -> Response:  # a plain function: runs on a worker thread
        return Response(server.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/metrics", metrics, methods=["GET"])]
