"""A real Prometheus scrapes every format without complaint and finds what was recorded."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lookout_client import Registry
from lookout_client.scrape import Exposition, ScrapeServer

FORMATS = ("text", "openmetrics", "protobuf")
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus on the PATH (Debian: prometheus)"
)


def filled_registry() -> Registry:
    registry = Registry()
    registry.exemplars.use(lambda: (0xABC, 0xDEF))
    orders = registry.counter("orders", unit="1", help='A "help"\nwith \\ everything')
    orders.inc(3, kind='a"b\n\\é')
    registry.up_down_counter("open.connections", help="Open.").inc(2)
    registry.gauge("temperature", unit="Cel", help="Outside.").set(-3.5)
    registry.gauge("memory.used", unit="By", help="Used.").set(2**40)
    registry.timer("latency", help="Of requests.").record(0.3, route="/a")
    registry.summary("payload", unit="By", help="Of requests.").record(10)
    native = registry.native_timer("native.latency", help="Of requests.")
    for value in (0.0, 0.001, 0.3, 0.3, 5.0):
        native.record(value)
    return registry


class Prometheus:
    """A running server that scrapes the three formats of one registry."""

    def __init__(self, folder: Path, targets: dict[str, int]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        jobs = [
            {
                "job_name": name,
                "scrape_interval": "300ms",
                "scrape_timeout": "300ms",
                "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
            }
            for name, port in targets.items()
        ]
        (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))
        self.log = folder / "log"
        command = [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--enable-feature=native-histograms,exemplar-storage",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=5) as answer:
            return json.load(answer)["data"]

    def wait_for_scrapes(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                targets = self.get("targets")["activeTargets"]
                if targets and all(target["health"] != "unknown" for target in targets):
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        pytest.fail(f"no scrape within 30 s: {self.log.read_text()}")

    def value(self, query: str) -> float:
        (sample,) = self.get("query", query=query)["result"]
        return float(sample["value"][1])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    registry = filled_registry()
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(ScrapeServer(Exposition(registry, (name,)), "127.0.0.1", 0))
            for name in FORMATS
        }
        ports = {name: server.port for name, server in servers.items()}
        running = Prometheus(tmp_path_factory.mktemp("prometheus"), ports)
        try:
            running.wait_for_scrapes()
            yield running
        finally:
            running.process.terminate()
            running.process.wait(10)


@needs_prometheus
def test_every_format_is_scraped_without_a_warning(prometheus: Prometheus) -> None:
    """All targets are up, nothing is rejected, and the log has no warning about our samples."""
    targets = prometheus.get("targets")["activeTargets"]
    assert [(t["labels"]["job"], t["health"], t["lastError"]) for t in targets] == [
        (name, "up", "") for name in sorted(FORMATS)
    ]
    complaints = [
        line
        for line in prometheus.log.read_text().splitlines()
        if ("level=warn" in line or "level=error" in line) and "127.0.0.1" in line
    ]
    assert complaints == []


@needs_prometheus
@pytest.mark.parametrize("name", FORMATS)
def test_values_arrive(prometheus: Prometheus, name: str) -> None:
    """The same values under the same names in every format."""
    job = f'{{job="{name}"}}'
    assert prometheus.value(f"orders_total{job}") == 3
    assert prometheus.value(f"open_connections{job}") == 2
    assert prometheus.value(f"temperature_celsius{job}") == -3.5
    assert prometheus.value(f"memory_used_bytes{job}") == 2**40
    assert prometheus.value(f"payload_bytes_sum{job}") == 10
    assert prometheus.value(f'latency_seconds_bucket{{job="{name}",le="0.5"}}') == 1
    assert prometheus.value(f"latency_seconds_sum{job}") == 0.3
    (series,) = prometheus.get("series", **{"match[]": f"orders_total{job}"})
    assert series["kind"] == 'a"b\n\\é'


@needs_prometheus
def test_native_histograms_arrive_as_such(prometheus: Prometheus) -> None:
    """Protobuf carries native buckets: counts, sum and quantiles come out of one sample."""
    selector = 'native_latency_seconds{job="protobuf"}'
    assert prometheus.value(f"histogram_count({selector})") == 5
    assert prometheus.value(f"histogram_sum({selector})") == pytest.approx(5.601)
    median = prometheus.value(f"histogram_quantile(0.5, {selector})")
    assert median == pytest.approx(0.3, rel=0.05)  # 8 buckets per power of two


@needs_prometheus
@pytest.mark.parametrize("name", ["openmetrics", "protobuf"])
def test_exemplars_arrive(prometheus: Prometheus, name: str) -> None:
    """Counters and buckets point to the trace they were recorded in."""
    now = time.time()
    for query in (f'orders_total{{job="{name}"}}', f'latency_seconds_bucket{{job="{name}"}}'):
        (found,) = prometheus.get(
            "query_exemplars", query=query, start=str(now - 600), end=str(now + 600)
        )
        assert found["exemplars"][0]["labels"]["trace_id"] == f"{0xABC:032x}"


@needs_prometheus
def test_metadata_arrives(prometheus: Prometheus) -> None:
    """Type, help and, where the format has it, the unit."""
    metadata = prometheus.get("metadata", metric="orders_total")["orders_total"]
    assert {entry["type"] for entry in metadata} == {"counter"}
    assert metadata[0]["help"] == 'A "help"\nwith \\ everything'


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on the PATH")
def test_promtool_finds_nothing_to_improve() -> None:
    """`promtool check metrics` reads the text format and has no remark on the names."""
    body = Exposition(filled_registry()).answer().body
    found = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, check=False
    )
    assert (found.stdout, found.stderr, found.returncode) == (b"", b"", 0)
