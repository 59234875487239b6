"""An application of prometheus_client's, scraped by a real Prometheus that writes to us."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from ..clickhouse import free_port
from ..serving import Serve, Serving

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus on the PATH (Debian: prometheus)"
)


@pytest.fixture
def application() -> Iterator[int]:
    """The port of an application with a counter and a histogram that has an exemplar."""
    registry = CollectorRegistry()
    Counter("shop_orders", "Orders taken.", ["result"], registry=registry).labels("ok").inc(3)
    took = Histogram("shop_seconds", "Time taken.", buckets=(0.1, 1.0), registry=registry)
    took.observe(0.5, {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"})
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1", registry)
    yield port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def serving(serve: Serve) -> Serving:
    return serve()


@pytest.fixture
def prometheus(application: int, serving: Serving, tmp_path: Path) -> Iterator[str]:
    """The URL of a Prometheus that scrapes the application and writes to the collector."""
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""
global: {{scrape_interval: 1s, external_labels: {{site: a}}}}
scrape_configs:
- job_name: shop
  static_configs: [{{targets: ["127.0.0.1:{application}"]}}]
remote_write:
- url: {serving.url}/api/v1/write
  send_exemplars: true
  queue_config: {{batch_send_deadline: 100ms}}
  metadata_config: {{send_interval: 1s}}
"""
    )
    port = free_port()
    command = ["prometheus", f"--config.file={config}", "--enable-feature=exemplar-storage"]
    command += [
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = (tmp_path / "prometheus.log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def _result(url: str, query: str, **more: str) -> list[dict[str, Any]]:
    asked = urlencode({"query": query, **more})
    with urllib.request.urlopen(f"{url}/api/v1/query?{asked}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


@pytest.mark.slow
def test_what_prometheus_writes_is_what_it_answers(serving: Serving, prometheus: str) -> None:
    """Samples, external labels, exemplars and metadata arrive; both answer the same."""
    query = 'shop_orders_total{job="shop"}'
    serving.eventually(lambda: bool(_result(serving.url, query)), 30)
    [found] = _result(serving.url, query)
    assert found["metric"]["site"] == "a" and found["metric"]["result"] == "ok"
    assert found["value"][1] == "3"
    assert [one["value"][1] for one in _result(serving.url, "up")] == ["1"]

    at = str(float(_result(serving.url, f"timestamp({query})")[0]["value"][1]))
    for expression in ("shop_seconds_bucket", "sum by (le) (shop_seconds_bucket)", "up"):
        ours = _result(serving.url, expression, time=at)
        theirs = _result(prometheus, expression, time=at)
        assert _values(ours, "site") == _values(theirs), expression

    def exemplars() -> bool:
        path = "/api/v1/query_exemplars?" + urlencode(
            {"query": "shop_seconds_bucket", "start": str(float(at) - 60), "end": at}
        )
        told = json.loads(serving.request(path)[2])["data"]
        ids = {e["labels"]["trace_id"] for series in told for e in series["exemplars"]}
        return ids == {"4bf92f3577b34da6a3ce929d0e0e4736"}

    serving.eventually(exemplars)

    def described() -> bool:
        told = json.loads(serving.request("/api/v1/metadata?metric=shop_seconds")[2])["data"]
        return [word["type"] for word in told.get("shop_seconds", ())] == ["histogram"]

    serving.eventually(described)


def _values(result: list[dict[str, Any]], without: str = "") -> dict[str, str]:
    """Values by labels, less one that only what is written has."""
    return {
        json.dumps({k: v for k, v in one["metric"].items() if k != without}, sort_keys=True): one[
            "value"
        ][1]
        for one in result
    }
