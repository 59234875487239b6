"""The plain OpenTelemetry SDK with each of our exporters."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from exporters.opentelemetry import (
    CollectorMetricExporter,
    CollectorSpanExporter,
    ConsoleSpanExporter,
    FileSpanExporter,
    LookoutSpanExporter,
    MemorySpanExporter,
    OtlpSpanExporter,
    ZipkinSpanExporter,
)
from exporters.sender import Limits

QUICK = Limits(linger_s=0.01)


def record(exporter: SpanExporter) -> None:
    """What an application on the OpenTelemetry SDK does."""
    provider = TracerProvider(resource=Resource({"service.name": "shop", "zone": "a"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("checkout")
    with tracer.start_as_current_span("order", kind=SpanKind.SERVER) as order:
        order.set_attribute("items", 3)
        order.add_event("reserved", {"stock": True})
        with tracer.start_as_current_span("pay", links=[Link(order.get_span_context())]) as pay:
            pay.set_status(Status(StatusCode.ERROR, "declined"))
    assert provider.force_flush(5_000)
    provider.shutdown()


def ledger_of(exporter: LookoutSpanExporter) -> Any:
    report = exporter.ledger.report(exporter.destination.name)
    assert report.balanced
    return report


@pytest.mark.parametrize("make", [CollectorSpanExporter, ZipkinSpanExporter])
def test_zipkin_formats(receiver: Any, make: Any) -> None:
    """A trace of the SDK arrives whole, at a collector and at a Zipkin server alike."""
    exporter = make(receiver.url, limits=QUICK)
    record(exporter)
    spans = {each["name"]: each for each in receiver.spans}
    assert set(spans) == {"order", "pay"}
    assert spans["pay"]["parentId"] == spans["order"]["id"]
    assert spans["order"]["kind"] == "SERVER"
    assert spans["order"]["localEndpoint"]["serviceName"] == "shop"
    assert spans["order"]["tags"]["items"] == "3"
    assert spans["order"]["tags"]["zone"] == "a"
    assert spans["order"]["tags"]["otel.scope.name"] == "checkout"
    assert spans["pay"]["tags"]["error"] == "declined"
    assert spans["order"]["id"] in spans["pay"]["tags"]["otel.links"]
    assert (ledger_of(exporter).created, ledger_of(exporter).acknowledged) == (2, 2)


def test_otlp(receiver: Any) -> None:
    """The same over OTLP/HTTP in JSON."""
    exporter = OtlpSpanExporter(receiver.url, encoding="json", limits=QUICK)
    record(exporter)
    groups = receiver.requests[0].json["resourceSpans"]
    names = [s["name"] for g in groups for scope in g["scopeSpans"] for s in scope["spans"]]
    assert sorted(names) == ["order", "pay"]
    assert ledger_of(exporter).acknowledged == 2


def test_files(tmp_path: Path) -> None:
    """The same into rolling logs, with statistics."""
    exporter = FileSpanExporter(tmp_path)
    record(exporter)
    lines = [json.loads(x) for x in (tmp_path / "biz-digest.log").read_text().splitlines()]
    assert sorted(line["name"] for line in lines) == ["order", "pay"]
    assert lines[0]["spanId"] in {"0", "0.1"}
    assert (tmp_path / "biz-stat.log").exists()
    assert (tmp_path / "middleware_error.log").exists()


def test_memory_and_console(capsys: Any) -> None:
    """For tests and for development."""
    exporter = MemorySpanExporter()
    record(exporter)
    assert [span.name for span in exporter.spans] == ["pay", "order"]
    record(ConsoleSpanExporter())
    shown = capsys.readouterr().err
    assert "order" in shown and "ERROR declined" in shown


def test_metrics_to_the_collector(receiver: Any) -> None:
    """Sums, gauges and histograms of the SDK arrive as OTLP in JSON."""
    pb = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    from google.protobuf.json_format import ParseDict

    exporter = CollectorMetricExporter(receiver.url, limits=QUICK)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)
    provider = MeterProvider([reader], Resource({"service.name": "shop"}))
    meter = provider.get_meter("checkout")
    meter.create_counter("orders", "1", "Orders taken").add(3, {"zone": "a"})
    meter.create_histogram("latency", "s").record(0.2)
    meter.create_up_down_counter("stock").add(-1)
    provider.force_flush()
    provider.shutdown()
    request = receiver.requests[0]
    assert request.path == "/v1/metrics"
    message = ParseDict(request.json, pb.ExportMetricsServiceRequest())
    metrics = {m.name: m for m in message.resource_metrics[0].scope_metrics[0].metrics}
    assert metrics["orders"].sum.data_points[0].as_int == 3
    assert metrics["orders"].sum.is_monotonic
    assert not metrics["stock"].sum.is_monotonic
    assert metrics["latency"].histogram.data_points[0].count == 1
    assert metrics["latency"].unit == "s"


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("opentelemetry_traces_exporter", "lookout"),
        ("opentelemetry_traces_exporter", "lookout_zipkin"),
        ("opentelemetry_traces_exporter", "lookout_otlp"),
        ("opentelemetry_traces_exporter", "lookout_otlp_grpc"),
        ("opentelemetry_traces_exporter", "lookout_file"),
        ("opentelemetry_traces_exporter", "lookout_console"),
        ("opentelemetry_traces_exporter", "lookout_kafka"),
        ("opentelemetry_traces_exporter", "lookout_clickhouse"),
        ("opentelemetry_metrics_exporter", "lookout"),
    ],
)
def test_entry_points(group: str, name: str) -> None:
    """OTEL_TRACES_EXPORTER=lookout_... finds a class that needs no arguments."""
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    declared = project["project"]["entry-points"][group][name]
    from importlib.metadata import EntryPoint

    made = EntryPoint(name, declared, group).load()()
    made.shutdown()
    installed = {point.name for point in entry_points(group=group)}
    assert name in installed or not installed & {"lookout"}
