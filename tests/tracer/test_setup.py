"""``init`` and what comes after it, in this process."""

from __future__ import annotations

import http.server
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tracer
from exporters.logs import RollingLogs
from exporters.memory import MemoryDestination
from tracer import misspelt, setup
from tracer.api import PIPELINE


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    yield
    setup.shutdown(1)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def flusher_threads() -> int:
    return sum(thread.name == "lookout-flusher" for thread in threading.enumerate())


def test_before_init_and_after_shutdown_nothing_is_recorded() -> None:
    """Spans are no-ops, flush and ledger answer."""
    assert not tracer.start_span("early").is_recording()
    assert tracer.flush()
    assert tracer.ledger() == {}
    memory = MemoryDestination()
    tracer.init("svc", collector=None, destinations=[memory])
    with tracer.start_span("recorded"):
        pass
    assert tracer.shutdown(5)
    assert not tracer.start_span("late").is_recording()
    assert [span.name for span in memory.spans] == ["recorded"]


def test_no_thread_before_the_first_span() -> None:
    """init alone starts nothing, so that servers may fork after it."""
    before = flusher_threads()
    memory = MemoryDestination()
    tracer.init("svc", destinations=[memory], collector="http://127.0.0.1:1")
    assert flusher_threads() == before
    tracer.start_span("first").finish()
    until(lambda: len(memory.spans) == 1)
    assert flusher_threads() == before + 1


def test_functions_obtained_before_init_follow_it() -> None:
    """Decorators and tracers of modules imported earlier record, and go to the latest set-up."""

    @tracer.trace("decorated")
    def work() -> None: ...

    scoped = tracer.get_tracer("library", "1.0")
    for _ in range(2):
        memory = MemoryDestination()
        tracer.init("svc", collector=None, destinations=[memory])
        work()
        scoped.start_span("scoped").finish()
        assert tracer.flush(5)
        assert [(span.name, span.scope) for span in memory.spans] == [
            ("decorated", ""),
            ("scoped", "library"),
        ]


def test_init_again_flushes_what_was_there(caplog: pytest.LogCaptureFixture) -> None:
    """A second set-up loses nothing of the first, and one line says that it took its place."""
    first = MemoryDestination()
    tracer.init("one", collector=None, destinations=[first])
    tracer.start_span("a").finish()
    assert caplog.messages == []
    tracer.init("two", collector=None)
    assert [span.name for span in first.spans] == ["a"]
    assert caplog.messages == ["init again: that of 'one' ends, 'two' takes its place"]
    tracer.shutdown()
    tracer.init("three", collector=None)
    assert len(caplog.messages) == 1


def test_a_misspelt_variable_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no effect, so somebody must say so: the self log does, with what was meant."""
    monkeypatch.setattr(misspelt, "_told", set())
    monkeypatch.setenv("LOOKOUT_SERVISE_NAME", "shop")
    monkeypatch.setenv("LOOKOUT_WHATEVER", "of the application's own")
    for _ in range(2):
        tracer.init(collector=None, log_dir=tmp_path)
        tracer.shutdown()
    line = "LOOKOUT_SERVISE_NAME is not known and has no effect; is it LOOKOUT_SERVICE_NAME?"
    assert caplog.messages == [line]
    assert (tmp_path / "tracer-self.log").read_text().count(line) == 1


def test_what_the_collector_reads_is_not_misspelt() -> None:
    """One environment may serve the application and the collector."""
    config = pytest.importorskip("lookout_server.config", exc_type=ImportError)
    client = pytest.importorskip("lookout_client.client")
    misspelt.know(client.MetricsConfig.variables())
    for field in config.ServerConfig.model_fields:
        assert {*map(misspelt.nearest, config.environment_names(field))} == {None}


def test_the_resource_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service, SDK and what the environment adds."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    tracer.init("shop", collector=None)
    resource = PIPELINE.resource
    assert resource.service_name == "shop"
    assert resource.attributes["service.name"] == "shop"
    assert resource.attributes["deployment.environment"] == "test"
    assert resource.attributes["telemetry.sdk.language"] == "python"


def test_a_service_name_among_the_resource_attributes_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As OpenTelemetry rules, where none is given otherwise."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=fromresource")
    tracer.init(collector=None)
    assert PIPELINE.resource.service_name == "fromresource"
    tracer.init("given", collector=None)
    assert PIPELINE.resource.service_name == "given"


def test_disabled_is_off_by_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED: one span that does nothing, no thread, no connection."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    before = flusher_threads()
    sdk = tracer.init("svc")
    assert sdk.collector is None
    assert tracer.start_span("a") is tracer.start_span("b")
    assert flusher_threads() == before


def test_the_ledger_balances() -> None:
    """created = sent + sampled out + dropped, for kept, unsampled and dropped spans."""
    memory = MemoryDestination()
    sampler = tracer.Ratio(0.5)
    sdk = tracer.init(
        "svc", collector=None, destinations=[memory], sampler=sampler, ring_capacity=16
    )
    for _ in range(2_000):
        with tracer.start_span("root"):
            tracer.start_span("child").finish()
    assert tracer.flush(5)
    report = sdk.ledger.report("memory")
    assert report.created == 4_000
    assert report.balanced
    assert 0 < report.sampled_out < 4_000
    assert report.sent == len(memory.spans)


def test_kept_failures_balance_too() -> None:
    """Traces given up by the tail decision are sampled out, kept ones are sent."""
    memory = MemoryDestination()
    sdk = tracer.init(
        "svc", collector=None, destinations=[memory], sampler="never", keep_errors=True
    )
    for failing in (True, False):
        with tracer.start_span("root") as root, tracer.start_span("child"):
            if failing:
                root.set_status(tracer.StatusCode.ERROR)
    assert tracer.flush(5)
    assert [span.name for span in memory.spans] == ["child", "root"]
    report = sdk.ledger.report("memory")
    assert (report.created, report.sent, report.sampled_out) == (4, 2, 2)


def test_unsampled_spans_reach_only_what_counts() -> None:
    """Recorded for statistics, they are shown to no other destination."""

    class Counting(MemoryDestination):
        name = "counting"
        counts_unsampled = True

    kept, counted = MemoryDestination(), Counting()
    tracer.init(
        "svc",
        collector=None,
        destinations=[kept, counted],
        sampler="never",
        count_unsampled=True,
    )
    with tracer.start_span("root"):
        tracer.start_span("child").finish()
    assert tracer.flush(5)
    assert kept.spans == []
    assert [span.name for span in counted.spans] == ["child", "root"]


def test_digest_and_stat_logs(tmp_path: Path) -> None:
    """With a log directory finished spans become lines, and statistics count unsampled ones too."""
    tracer.init("svc", collector=None, log_dir=tmp_path, sampler="never")
    tracer.start_span("unsampled").finish()
    tracer.init("svc", collector=None, log_dir=tmp_path)
    with tracer.start_span("work", tags={"quote": '"\n'}):
        pass
    assert tracer.shutdown(5)
    digests = [file for file in tmp_path.iterdir() if file.name.endswith("digest.log")]
    lines = [json.loads(line) for file in digests for line in file.read_text().splitlines()]
    assert len(lines) == 1
    stats = [file for file in tmp_path.iterdir() if file.name.endswith("stat.log")]
    counted = [json.loads(line) for file in stats for line in file.read_text().splitlines()]
    assert sum(line["count"] for line in counted) == 2


def test_a_log_disk_that_hangs_stops_no_other_destination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans reach the others while a write to the logs does not return."""
    released = threading.Event()
    monkeypatch.setattr(RollingLogs, "accept", lambda *_: released.wait(30))
    memory = MemoryDestination()
    tracer.init(
        "svc", collector=None, log_dir=tmp_path, destinations=[memory], flush_interval_s=0.01
    )
    try:
        for count in (1, 2, 3):
            tracer.start_span("work").finish()
            deadline = time.monotonic() + 10
            while len(memory.spans) < count:
                assert time.monotonic() < deadline, "the logs hold up the others"
                time.sleep(0.005)
    finally:
        released.set()
        tracer.shutdown(5)


def test_an_unwritable_log_directory_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; the application and the other destinations go on."""
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    memory = MemoryDestination()
    tracer.init("svc", collector=None, log_dir=blocked, destinations=[memory])
    for _ in range(3):
        tracer.start_span("work").finish()
        tracer.flush(5)
    assert len(memory.spans) == 3
    assert 1 <= len([r for r in caplog.records if r.levelno >= logging.WARNING]) <= 3


class Collector:
    """A collector that answers after ``delay`` seconds, or never."""

    def __init__(self, delay: float = 0) -> None:
        received: list[Any] = []
        released = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                received.append(self.rfile.read(int(self.headers["Content-Length"])))
                released.wait(delay)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None: ...

        self.received = received
        self.released = released
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize("delay", [0, 60])
def test_flush_and_shutdown_keep_their_deadline(delay: float) -> None:
    """With a collector that answers they succeed, with one that hangs they return in time."""
    collector = Collector(delay)
    try:
        tracer.init("svc", collector=collector.url)
        tracer.start_span("a").finish()
        began = time.monotonic()
        assert tracer.flush(0.5) is (delay == 0)
        assert tracer.shutdown(0.5) is (delay == 0)
        assert time.monotonic() - began < 3
        assert collector.received
    finally:
        collector.close()


def test_a_collector_that_is_not_there_costs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Refused connections neither raise, nor block, nor fill the log."""
    tracer.init("svc", collector="http://127.0.0.1:1")
    for _ in range(50):
        tracer.start_span("a").finish()
    tracer.flush(0.3)
    tracer.shutdown(0.3)
    lines = [record for record in caplog.records if record.name == "lookout"]
    assert 1 <= len(lines) <= 3
    assert not any(record.exc_info for record in lines)


def test_propagators_are_those_configured() -> None:
    """Written as named, read in the same order and then in every other format."""
    tracer.init("svc", collector=None, propagators="b3,baggage")
    headers: dict[str, str] = {}
    with tracer.start_span("a"):
        tracer.inject(headers)
    assert set(headers) == {"b3"}
    assert tracer.extract({"uber-trace-id": "1:2:0:1"}) is not None
    tracer.init("svc", collector=None, propagators_read="b3")
    assert tracer.extract({"uber-trace-id": "1:2:0:1"}) is None


def test_sofa_ids_by_configuration() -> None:
    """Trace ids in SOFATracer's form."""
    tracer.init("svc", collector=None, ids="sofa")
    with tracer.start_span("a") as span:
        assert len(span.sofa_trace_id) < 32
        assert span.sofa_trace_id[8:21].isdigit()


def test_a_handler_that_python_cannot_call_keeps_sigterm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that embeds Python may have a handler of its own: it is left in place, and said."""
    installed: list[object] = []
    monkeypatch.setattr(signal, "getsignal", lambda number: None)  # what Python answers there
    monkeypatch.setattr(signal, "signal", lambda number, handler: installed.append(handler))
    tracer.init("svc", collector=None, flush_on_sigterm=True)
    assert installed == []
    assert "flush_on_sigterm ignored: SIGTERM has a handler not made in Python" in caplog.text
