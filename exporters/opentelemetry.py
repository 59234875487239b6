"""Every destination as an exporter for the plain OpenTelemetry SDK.

Each is an entry point too, so that it needs no code::

    OTEL_TRACES_EXPORTER=lookout_zipkin OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://zipkin:9411/api/v2/spans

Exporting hands the spans to the destination's own bounded queue and returns: its retries, its
spill and its deadlines take the place of the SDK's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._process import after_fork_in_child
from .clickhouse import ClickHouseDestination
from .collector import CollectorDestination
from .console import ConsoleDestination
from .destination import Deadline, Destination
from .kafka import KafkaDestination
from .ledger import Ledger
from .logs import RollingLogs
from .memory import MemoryDestination
from .otlp import OtlpGrpcDestination, OtlpHttpDestination
from .otlp_metrics import CONTENT_TYPE, PATH, encode_metrics
from .records import REMOTE_PARENT, SAMPLED, EventRecord, LinkRecord, Resource, losses_of
from .sender import Limits
from .zipkin import ZipkinDestination

_UNKNOWN = "unknown_service"


class OtelRecord:
    """A finished span of the OpenTelemetry SDK as a :class:`exporters.records.SpanRecord`."""

    __slots__ = (
        "duration_ns",
        "events",
        "flags",
        "kind",
        "links",
        "losses",
        "name",
        "parent_id",
        "resource",
        "scope",
        "span_id",
        "start_ns",
        "status",
        "status_text",
        "tags",
        "trace_id",
        "tracestate",
    )

    def __init__(self, span: ReadableSpan, resource: Resource) -> None:
        context = span.get_span_context()
        parent = span.parent
        self.trace_id: int = context.trace_id if context else 0
        self.span_id: int = context.span_id if context else 0
        self.parent_id: int = parent.span_id if parent else 0
        self.name = span.name
        self.kind: int = span.kind.value
        self.start_ns: int = span.start_time or 0
        self.duration_ns: int = max(0, (span.end_time or self.start_ns) - self.start_ns)
        self.tags: Mapping[str, Any] | None = span.attributes
        self.events = [_event(event) for event in span.events]
        self.links = [_link(link) for link in span.links]
        self.status: int = span.status.status_code.value
        self.status_text = span.status.description or ""
        self.flags = SAMPLED | (REMOTE_PARENT if parent and parent.is_remote else 0)
        self.tracestate = context.trace_state.to_header() if context else ""
        self.resource = resource
        self.losses = losses_of(span.dropped_attributes, span.dropped_events, span.dropped_links)
        scope = span.instrumentation_scope
        self.scope = scope.name if scope else ""

    @property
    def rpc_id(self) -> str:
        """OpenTelemetry knows no dotted ids: the root is "0", any other span "0.1"."""
        return "0.1" if self.parent_id else "0"


def _event(event: Any) -> EventRecord:
    return EventRecord(event.timestamp, event.name, event.attributes)


def _link(link: Any) -> LinkRecord:
    context = link.context
    return LinkRecord(
        context.trace_id, context.span_id, context.trace_state.to_header(), link.attributes
    )


class LookoutSpanExporter(SpanExporter):
    """Exports to ``destination``; :attr:`ledger` tells what became of every span."""

    def __init__(self, destination: Destination, ledger: Ledger | None = None) -> None:
        self.destination = destination
        self.ledger = ledger if ledger is not None else Ledger()
        self._resources: dict[int, tuple[object, Resource]] = {}
        destination.open(self.ledger)
        after_fork_in_child(self._after_fork)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        records = [OtelRecord(span, self._resource(span)) for span in spans]
        self.ledger.create(len(records))
        if records:
            self.destination.accept(records)
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.destination.flush(Deadline(timeout_millis / 1000))

    def shutdown(self) -> None:
        self.destination.shutdown(Deadline(_EXIT_TIMEOUT_S))

    def _resource(self, span: ReadableSpan) -> Resource:
        theirs = span.resource
        known = self._resources.get(id(theirs))
        if known is None or known[0] is not theirs:
            known = self._resources[id(theirs)] = (theirs, self._converted(theirs))
        return known[1]

    def _converted(self, theirs: Any) -> Resource:
        attributes = dict(theirs.attributes) if theirs is not None else {}
        name = str(attributes.pop("service.name", _UNKNOWN))
        if not self.ledger.service:
            self.ledger.service = name
        return Resource(name, attributes)

    def _after_fork(self) -> None:
        self.ledger.reset()
        self.destination.after_fork()


#: How long shutdown may take: the SDK calls it at exit without a deadline.
_EXIT_TIMEOUT_S = 5.0


class CollectorSpanExporter(LookoutSpanExporter):
    """To Lookout's collector; without arguments to ``LOOKOUT_COLLECTOR``."""

    def __init__(self, urls: str | Sequence[str] | None = None, **options: Any) -> None:
        super().__init__(CollectorDestination(urls or _collector_urls(), **_defaults(options)))


class ZipkinSpanExporter(LookoutSpanExporter):
    """To a Zipkin server: ``OTEL_EXPORTER_ZIPKIN_ENDPOINT`` and ``OTEL_EXPORTER_ZIPKIN_TIMEOUT``.

    The timeout is in milliseconds, as the OpenTelemetry specification has it.
    """

    def __init__(self, endpoint: str | Sequence[str] | None = None, **options: Any) -> None:
        urls = endpoint or os.environ.get("OTEL_EXPORTER_ZIPKIN_ENDPOINT")
        timeout_s = float(os.environ.get("OTEL_EXPORTER_ZIPKIN_TIMEOUT", "10000")) / 1000
        options.setdefault("limits", Limits(timeout_s=timeout_s))
        super().__init__(ZipkinDestination(urls or "http://127.0.0.1:9411", **options))


class OtlpSpanExporter(LookoutSpanExporter):
    """To an OTLP/HTTP receiver: ``OTEL_EXPORTER_OTLP_ENDPOINT``."""

    def __init__(self, urls: str | Sequence[str] | None = None, **options: Any) -> None:
        urls = urls or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://127.0.0.1:4318"
        super().__init__(OtlpHttpDestination(urls, **options))


class OtlpGrpcSpanExporter(LookoutSpanExporter):
    """To an OTLP/gRPC receiver: ``OTEL_EXPORTER_OTLP_ENDPOINT``."""

    def __init__(self, url: str | None = None, **options: Any) -> None:
        url = url or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://127.0.0.1:4317"
        super().__init__(OtlpGrpcDestination(url, **options))


class KafkaSpanExporter(LookoutSpanExporter):
    """To Kafka: ``LOOKOUT_KAFKA_BROKERS`` and ``LOOKOUT_KAFKA_TOPIC``."""

    def __init__(self, brokers: str | Sequence[str] | None = None, **options: Any) -> None:
        brokers = brokers or os.environ.get("LOOKOUT_KAFKA_BROKERS", "127.0.0.1:9092")
        options.setdefault("topic", os.environ.get("LOOKOUT_KAFKA_TOPIC", "zipkin"))
        super().__init__(KafkaDestination(brokers, **options))


class ClickHouseSpanExporter(LookoutSpanExporter):
    """Straight into ClickHouse: ``LOOKOUT_CLICKHOUSE``."""

    def __init__(self, url: str | None = None, **options: Any) -> None:
        url = url or os.environ.get("LOOKOUT_CLICKHOUSE", "clickhouse://127.0.0.1:9000/default")
        super().__init__(ClickHouseDestination(url, **options))


class FileSpanExporter(LookoutSpanExporter):
    """To rolling log files in ``LOOKOUT_LOG_DIR``, ``./logs`` without it."""

    def __init__(self, directory: str | os.PathLike[str] | None = None, **options: Any) -> None:
        directory = directory or os.environ.get("LOOKOUT_LOG_DIR", "logs")
        self._logs = RollingLogs(directory, **options)
        super().__init__(self._logs)

    def shutdown(self) -> None:
        self._logs.write_stats()
        super().shutdown()


class ConsoleSpanExporter(LookoutSpanExporter):
    """Readable lines on standard error."""

    def __init__(self) -> None:
        super().__init__(ConsoleDestination())


class MemorySpanExporter(LookoutSpanExporter):
    """Keeps the spans, for tests: :attr:`spans`."""

    def __init__(self) -> None:
        self._memory = MemoryDestination()
        super().__init__(self._memory)

    @property
    def spans(self) -> list[Any]:
        """What was exported so far."""
        return self._memory.spans


class CollectorMetricExporter(MetricExporter):
    """Metrics of the OpenTelemetry SDK to Lookout's collector, as OTLP/HTTP in JSON."""

    def __init__(
        self,
        urls: str | Sequence[str] | None = None,
        *,
        preferred_temporality: dict[type, Any] | None = None,
        preferred_aggregation: dict[type, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(preferred_temporality, preferred_aggregation)
        options.setdefault("name", "collector-metrics")
        self.destination = CollectorDestination(urls or _collector_urls(), **_defaults(options))
        self.destination.open(Ledger())
        after_fork_in_child(self.destination.after_fork)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        self.destination.post(PATH, encode_metrics(metrics_data), CONTENT_TYPE)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self.destination.flush(Deadline(timeout_millis / 1000))

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.destination.shutdown(Deadline(min(timeout_millis / 1000, _EXIT_TIMEOUT_S)))


def _collector_urls() -> list[str]:
    urls = os.environ.get("LOOKOUT_COLLECTOR", "http://127.0.0.1:9411")
    return [url.strip() for url in urls.split(",") if url.strip()]


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "token": os.environ.get("LOOKOUT_TOKEN"),
        "spill": os.environ.get("LOOKOUT_SPILL_DIR"),
    } | options
