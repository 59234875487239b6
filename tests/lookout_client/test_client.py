"""`init` to collector: metrics and spans leave the process in one go."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson
import pytest

import lookout_client as lookout
from exporters.compression import decompress
from lookout_client import client, default
from lookout_client.registry import Registry


class Received(NamedTuple):
    path: str
    body: Any


class Collector:
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        received = self.received = list[Received]()
        self.hang: threading.Event | None = None  # until then no request is answered
        self.attempts = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.attempts += 1
                if collector.hang is not None:
                    collector.hang.wait(30)
                    self.close_connection = True
                    return
                body = decompress(self.headers.get("Content-Encoding", ""), body)
                received.append(Received(self.path, orjson.loads(body)))
                self.send_response(202)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def metrics(self) -> dict[str, Any]:
        """The last received state of every metric."""
        return {
            metric["name"]: metric
            for path, body in self.received
            if path == "/v1/metrics"
            for resource in body["resourceMetrics"]
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        }

    def by_process(self, name: str) -> dict[str, str]:
        """The last value of a counter by the pid in the instance id."""
        found = {}
        for path, body in self.received:
            if path == "/v1/metrics":
                (resource,) = body["resourceMetrics"]
                instance = next(
                    item["value"]["stringValue"]
                    for item in resource["resource"]["attributes"]
                    if item["key"] == "service.instance.id"
                )
                for metric in resource["scopeMetrics"][0]["metrics"]:
                    if metric["name"] == name:
                        value = metric["sum"]["dataPoints"][0]["asInt"]
                        found[instance.rpartition(":")[2]] = value
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    lookout.shutdown(2)
    collector.server.shutdown()
    collector.server.server_close()


@pytest.fixture(autouse=True)
def fresh_registry() -> Iterator[None]:
    """The process-wide registry, empty before and after."""
    default.REGISTRY.families.clear()
    yield
    default.REGISTRY.families.clear()


@pytest.fixture
def started(collector: Collector) -> Callable[..., None]:
    def start(**settings: Any) -> None:
        lookout.init(service_name="shop", collector=collector.url, **settings)

    return start


def test_flush_sends_spans_and_metrics(collector: Collector, started: Callable[..., None]) -> None:
    """One flush brings a counter, its exemplar and the span it points to."""
    started()
    with lookout.start_span("order"):
        lookout.counter("orders").inc(3, kind="book")
    assert lookout.flush(5)
    (point,) = collector.metrics()["orders"]["sum"]["dataPoints"]
    assert point["asInt"] == "3"
    assert point["attributes"] == [{"key": "kind", "value": {"stringValue": "book"}}]
    (span,) = next(body for path, body in collector.received if path == "/api/v2/spans")
    assert point["exemplars"][0]["traceId"] == span["traceId"]


def test_metrics_are_pushed_every_interval_and_at_the_end(
    collector: Collector, started: Callable[..., None]
) -> None:
    """Without a flush the interval brings them; what comes after the last push is not lost."""
    started(metrics_interval_s=0.1)
    counter = lookout.counter("ticks")
    counter.inc()
    deadline = threading.Event()
    for _ in range(200):
        if "ticks" in collector.metrics() or deadline.wait(0.05):
            break
    assert collector.metrics()["ticks"]["sum"]["dataPoints"][0]["asInt"] == "1"
    counter.inc()
    assert lookout.shutdown(5)
    assert collector.metrics()["ticks"]["sum"]["dataPoints"][0]["asInt"] == "2"


def test_an_attempt_to_push_takes_no_longer_than_it_may(
    collector: Collector, started: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_METRIC_EXPORT_TIMEOUT ends an attempt that hangs; the same metrics are tried again,
    where the time of spans would not have been over yet."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_TIMEOUT", "200")
    hang = collector.hang = threading.Event()
    started(metrics_interval_s=0.1)
    lookout.counter("c").inc()
    second = threading.Event()
    for _ in range(160):
        if collector.attempts >= 2 or second.wait(0.05):
            break
    assert collector.attempts >= 2
    collector.hang = None
    hang.set()
    assert lookout.flush(20)
    assert collector.metrics()["c"]["sum"]["dataPoints"][0]["asInt"] == "1"


@pytest.mark.parametrize(("exemplars", "pointed"), [("sampled", 0), ("all", 1), ("none", 0)])
def test_whose_traces_exemplars_name(
    collector: Collector, started: Callable[..., None], exemplars: str, pointed: int
) -> None:
    """Of an unsampled trace only where all are asked for."""
    started(exemplars=exemplars, sampler="never")
    with lookout.start_span("unsampled"):
        lookout.counter("c").inc()
    assert lookout.flush(5)
    assert len(collector.metrics()["c"]["sum"]["dataPoints"][0].get("exemplars", [])) == pointed


@pytest.mark.parametrize("last", [lookout.flush, lookout.shutdown])
def test_an_older_push_never_comes_after_a_newer_one(
    collector: Collector, started: Callable[..., None], last: Callable[[float], bool]
) -> None:
    """The interval's push, held up by a slow gauge, is not overtaken by the next one."""
    started(metrics_interval_s=0.1)
    counter = lookout.counter("ticks")
    counter.inc()
    inside, overtaken = threading.Event(), threading.Event()

    def slow() -> float:
        if inside.is_set():
            overtaken.set()
        else:
            inside.set()
            overtaken.wait(0.5)  # as long as another push has to come in, which it must not
        return 1.0

    lookout.gauge("slow", callback=slow)
    assert inside.wait(10)
    counter.inc()
    assert last(30)
    told = [
        int(metric["sum"]["dataPoints"][0]["asInt"])
        for path, body in collector.received
        if path == "/v1/metrics"
        for metric in body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
        if metric["name"] == "ticks"
    ]
    assert told == sorted(told)
    assert told[-1] == 2


def test_the_push_names_the_process(collector: Collector, started: Callable[..., None]) -> None:
    """Series of two processes of one service stay apart by service.instance.id."""
    started(resource={"deployment.environment.name": "test"})
    lookout.counter("c").inc()
    lookout.flush(5)
    body = next(body for path, body in collector.received if path == "/v1/metrics")
    attributes = {
        item["key"]: next(iter(item["value"].values()))
        for item in body["resourceMetrics"][0]["resource"]["attributes"]
    }
    assert attributes["service.name"] == "shop"
    assert attributes["deployment.environment.name"] == "test"
    assert attributes["service.instance.id"].endswith(f":{attributes['process.pid']}")


def test_meters_made_before_init_are_the_same_after_it(
    collector: Collector, started: Callable[..., None]
) -> None:
    """There is no order trap: SOFALookout leaves meters made too early without effect."""
    early = lookout.counter("early")
    early.inc()
    started()
    assert lookout.counter("early") is early
    lookout.flush(5)
    assert collector.metrics()["early"]["sum"]["dataPoints"][0]["asInt"] == "1"


def test_a_meter_made_before_init_points_to_the_first_trace_after_it(
    collector: Collector, started: Callable[..., None]
) -> None:
    """Exemplars begin with `init`, not with the first push after it."""
    early = lookout.counter("early")
    started()
    with lookout.start_span("work"):
        early.inc()
    lookout.flush(5)
    assert collector.metrics()["early"]["sum"]["dataPoints"][0]["exemplars"]


def test_a_forked_worker_pushes_its_own_counts(
    collector: Collector, started: Callable[..., None]
) -> None:
    """A child that never makes a span still pushes, under an instance id of its own."""
    started(metrics_interval_s=0.1)
    counter = lookout.counter("work")
    counter.inc(5)
    child = os.fork()
    if child == 0:
        counter.inc(2)
        signal.pause()
        os._exit(0)
    expected = {str(os.getpid()): "5", str(child): "2"}
    deadline = time.monotonic() + 20
    while collector.by_process("work") != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert collector.by_process("work") == expected


def test_the_push_can_be_turned_off(collector: Collector, started: Callable[..., None]) -> None:
    """`metrics_push=False` leaves only the scrape."""
    started(metrics_push=False)
    lookout.counter("c").inc()
    lookout.flush(5)
    assert collector.metrics() == {}


def test_a_setting_that_does_not_exist_is_named(collector: Collector) -> None:
    """A misspelt setting is an error that names it, and all there are, of both halves."""
    with pytest.raises(TypeError, match="metric_interval") as error:
        lookout.init(collector=collector.url, metric_interval=3)
    for name in ("metrics_interval_s", "log_dir", "destinations"):
        assert name in str(error.value)


@pytest.mark.parametrize("setting", ["metrics_port", "pull_port"])
@pytest.mark.parametrize("given", ["argument", "variable"])
def test_a_port_that_cannot_be_one_is_passed_over(
    setting: str,
    given: str,
    collector: Collector,
    started: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A port beyond 65535 is told in one line, and the application goes on."""
    if given == "variable":
        monkeypatch.setenv(f"LOOKOUT_{setting.upper()}", "99999")
        started()
    else:
        started(**{setting: 99999})
    assert "ignored: expected a number from 0 to 65535" in caplog.text
    lookout.counter("c").inc()
    assert lookout.flush(5)
    assert "c" in collector.metrics()


@pytest.mark.parametrize(
    ("port", "host"), [("metrics_port", "metrics_host"), ("pull_port", "pull_host")]
)
@pytest.mark.parametrize("address", ["taken", "192.0.2.1", "a..b"])
def test_an_address_that_cannot_be_had_is_named_with_its_setting(
    port: str,
    host: str,
    address: str,
    collector: Collector,
    started: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever reads the line knows what to change: host, port and setting are in it."""
    number = int(collector.url.rpartition(":")[2])
    address = "127.0.0.1" if address == "taken" else address
    started(**{port: number, host: address})
    assert f"cannot serve metrics at {address}:{number} ({port}): " in caplog.text


def test_a_metrics_port_that_is_taken_leaves_the_pull_port(
    collector: Collector, started: Callable[..., None]
) -> None:
    """Each of the two servers starts whatever becomes of the other."""
    started(metrics_port=int(collector.url.rpartition(":")[2]), pull_port=0)
    metrics = client._State.metrics
    assert metrics is not None
    assert metrics.server is None
    assert metrics.pull_server is not None


def test_the_table_of_contents_is_complete() -> None:
    """Every name that the package announces can be imported."""
    missing = [name for name in lookout.__all__ if not hasattr(lookout, name)]
    assert missing == []


def test_no_thread_starts_in_the_master_of_uwsgi(
    collector: Collector,
    started: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its workers are forked without regard to threads: none starts there, not even by a flush,
    which sends all the same; that nothing is served is told."""
    master = SimpleNamespace(masterpid=os.getpid, worker_id=lambda: 0)
    monkeypatch.setitem(sys.modules, "uwsgi", master)
    begun: list[str] = []
    start = threading.Thread.start
    monkeypatch.setattr(
        threading.Thread, "start", lambda thread: (begun.append(thread.name), start(thread))
    )
    started(importers="none", metrics_port=0, log_dir=str(tmp_path))
    with lookout.start_span("preload"):
        lookout.counter("loaded").inc()
    assert lookout.flush(5)
    assert [name for name in begun if name.startswith("lookout")] == []
    assert "metrics_port and pull_port ignored" in caplog.text
    assert "loaded" in collector.metrics()
    assert lookout.ledger()["destinations"]["collector"]["acknowledged"] == 1
    assert "preload" in (tmp_path / "biz-digest.log").read_text()


def test_a_fork_resets_a_registry_once(
    started: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a child counts early in its life is not forgotten by a second reset."""
    resets: list[Registry] = []

    def reset(registry: Registry) -> None:
        resets.append(registry)

    monkeypatch.setattr(Registry, "_after_fork", reset)
    started()
    child = os.fork()
    if child == 0:
        os._exit(resets.count(lookout.REGISTRY))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
