"""A real Prometheus scrapes and sends to us by remote write, through a crash of the collector."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from ..clickhouse import free_port
from ..serving import Serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus on the path"),
]

_CONFIG = """
global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}
scrape_configs:
- job_name: shop
  static_configs: [{{targets: ["{target}"]}}]
remote_write:
- url: {url}/api/v1/write
  send_exemplars: true
  queue_config: {{batch_send_deadline: 100ms, min_backoff: 20ms, max_backoff: 200ms}}
  metadata_config: {{send: true, send_interval: 200ms}}
"""


class Shop:
    """An application with a counter, a gauge that is mostly 0, and a histogram."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._orders = Counter("orders", "Orders taken.", ["result"], registry=registry)
        self._open = Gauge("open_orders", "Orders not served.", registry=registry)
        self._seconds = Histogram("serving_seconds", "Time of an order.", registry=registry)
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.work()
                body: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE_LATEST)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._scrapes = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.target = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def work(self) -> None:
        """What happens between two scrapes."""
        self._scrapes += 1
        self._orders.labels("accepted").inc(1.5, {"trace_id": f"{self._scrapes:032x}"})
        self._open.set(self._scrapes % 7 // 6)
        self._seconds.observe(0.01 * self._scrapes)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def prometheus(directory: Path, target: str, url: str) -> Iterator[str]:
    """A Prometheus with that target that writes to the collector at ``url``."""
    (directory / "prometheus.yml").write_text(_CONFIG.format(target=target, url=url))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--web.listen-address={address}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--config.file={directory / 'prometheus.yml'}",
            "--enable-feature=exemplar-storage",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def ask(url: str, path: str, **parameters: str) -> Any:
    """Data of an answer of the Prometheus API; None where there is none (yet)."""
    try:
        with urllib.request.urlopen(
            f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10
        ) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def samples(url: str, selector: str, start: float, end: float) -> dict[str, list[list[Any]]]:
    """All samples of a selector by their labels, with their own times."""
    seconds = int(end - start) + 1
    found = ask(url, "query", query=f"{selector}[{seconds}s]", time=str(end))
    return {
        json.dumps(one["metric"], sort_keys=True): one["values"]
        for one in (found or {"result": []})["result"]
    }


def test_everything_prometheus_has_is_there(serve: Serve, tmp_path: Path) -> None:
    """Samples, staleness, exemplars and metadata equal Prometheus' own, after a kill -9 too."""
    serving = serve()
    port = serving.url.rpartition(":")[2]
    shop = Shop()
    with prometheus(tmp_path, shop.target, serving.url) as theirs:
        orders = "orders_total"
        start = time.time()
        serving.eventually(lambda: bool(samples(serving.url, orders, start, time.time())), 30)
        serving.kill()
        seen = len(next(iter(samples(theirs, orders, start, time.time()).values())))

        def more() -> bool:
            found = samples(theirs, orders, start, time.time())
            return len(next(iter(found.values()))) > seen + 5

        serving.eventually(more, 30)  # while nobody listens
        serving = serve("--listen", f"127.0.0.1:{port}")
        shop.close()

        def down() -> bool:
            found = ask(theirs, "query", query="up")
            return bool(found["result"]) and found["result"][0]["value"][1] == "0"

        serving.eventually(down, 30)
        end = time.time()
        for selector in ('{job="shop"}', '{__name__=~".+"}'):
            expected = samples(theirs, selector, start, end)
            assert len(expected) > 10
            ours = partial(samples, serving.url, selector, start, end)
            serving.eventually(partial(_equal, ours, expected), 30)
        assert ask(serving.url, "query", query=orders)["result"] == []  # ended by its marker
        window = {"query": orders, "start": str(start), "end": str(end)}
        exemplars = ask(theirs, "query_exemplars", **window)
        assert exemplars[0]["exemplars"]
        assert ask(serving.url, "query_exemplars", **window) == exemplars
        told = ask(serving.url, "metadata", metric="orders")
        assert told == ask(theirs, "metadata", metric="orders")


def _equal(found: Callable[[], object], expected: object) -> bool:
    return found() == expected
