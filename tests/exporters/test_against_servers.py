"""Our exporters against real servers: Lookout's collector, and Zipkin where its jar is there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from exporters.opentelemetry import (
    CollectorSpanExporter,
    FileSpanExporter,
    LookoutSpanExporter,
    OtlpSpanExporter,
    ZipkinSpanExporter,
)
from exporters.sender import Limits

from ..lookout_server.serving import serving

ROOT = Path(__file__).parents[2]
ZIPKIN_FILE = ROOT / ".parts" / "zipkin" / "zipkin-server-3.5.1-exec.jar"
ZIPKIN = Path(os.environ.get("LOOKOUT_ZIPKIN_JAR") or ZIPKIN_FILE)
QUICK = Limits(linger_s=0.01)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running ``lookout serve``."""
    pytest.importorskip("chdb")
    pytest.importorskip("starlette")
    with serving(tmp_path_factory.mktemp("collector")) as running:
        yield running.url


@pytest.fixture(scope="module")
def zipkin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Zipkin server."""
    if not ZIPKIN.exists() or shutil.which("java") is None:
        pytest.skip(f"{ZIPKIN} (scripts/parts-zipkin fetches it) or Java is absent")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    output = tmp_path_factory.mktemp("zipkin") / "output"
    with open(output, "wb") as log:
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        process = subprocess.Popen(
            [*command, "-jar", str(ZIPKIN)],
            env={**os.environ, "QUERY_PORT": str(port), "STORAGE_TYPE": "mem"},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while not _healthy(url):
            assert process.poll() is None, output.read_text()[-2000:]
            assert time.monotonic() < deadline, "Zipkin was not ready in time"
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait(30)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def trace_with(exporter: LookoutSpanExporter) -> str:
    """Export a trace of two spans; its id."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("checkout")
    with tracer.start_as_current_span("order", kind=SpanKind.SERVER) as order:
        order.set_attribute("items", 3)
        order.add_event("reserved")
        with tracer.start_as_current_span("pay", kind=SpanKind.CLIENT) as pay:
            pay.set_attribute("server.address", "bank")
            pay.set_status(Status(StatusCode.ERROR, "declined"))
    assert provider.force_flush(10_000)
    provider.shutdown()
    report = exporter.ledger.report(exporter.destination.name)
    assert report.balanced
    assert (report.created, report.acknowledged) == (2, 2)
    return f"{order.get_span_context().trace_id:032x}"


def check(url: str, trace_id: str) -> None:
    """The server answers the whole trace."""
    spans = {span["name"]: span for span in eventually(lambda: fetch(url, trace_id))}
    assert set(spans) == {"order", "pay"}
    assert spans["pay"]["parentId"] == spans["order"]["id"]
    assert (spans["order"]["kind"], spans["pay"]["kind"]) == ("SERVER", "CLIENT")
    assert spans["order"]["localEndpoint"]["serviceName"] == "shop"
    assert spans["order"]["tags"]["items"] == "3"
    assert spans["order"]["annotations"][0]["value"] == "reserved"
    assert spans["pay"]["remoteEndpoint"]["serviceName"] == "bank"
    assert spans["pay"]["tags"]["error"] == "declined"


def fetch(url: str, trace_id: str) -> Any:
    try:
        with urllib.request.urlopen(f"{url}/api/v2/trace/{trace_id}", timeout=10) as answer:
            spans = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        return None
    return spans if len(spans) == 2 else None


def eventually(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (answer := ask()):
        assert time.monotonic() < deadline, "the trace did not arrive"
        time.sleep(0.05)
    return answer


EXPORTERS: dict[str, Callable[[str], LookoutSpanExporter]] = {
    "collector": lambda url: CollectorSpanExporter(url, limits=QUICK),
    "zipkin json": lambda url: ZipkinSpanExporter(url, limits=QUICK),
    "zipkin protobuf": lambda url: ZipkinSpanExporter(url, limits=QUICK, encoding="protobuf"),
    "otlp protobuf": lambda url: OtlpSpanExporter(url, limits=QUICK),
    "otlp json": lambda url: OtlpSpanExporter(url, limits=QUICK, encoding="json"),
}


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_collector_takes_every_format(collector: str, name: str) -> None:
    """A trace of the OpenTelemetry SDK can be asked for, whichever way it was sent."""
    check(collector, trace_with(EXPORTERS[name](collector)))


@pytest.mark.parametrize("name", ["collector", "zipkin json", "zipkin protobuf"])
def test_zipkin_takes_both_formats(zipkin: str, name: str) -> None:
    """The same at a real Zipkin server."""
    check(zipkin, trace_with(EXPORTERS[name](zipkin)))


def test_logs_shipped_are_as_good_as_sent(collector: str, tmp_path: Path) -> None:
    """Written to a log and shipped later, the collector answers the same."""
    trace_id = trace_with(FileSpanExporter(tmp_path))
    command = [sys.executable, "-m", "lookout_server", "ship", str(tmp_path)]
    result = subprocess.run(
        [*command, "--to", collector, "--once"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    check(collector, trace_id)
