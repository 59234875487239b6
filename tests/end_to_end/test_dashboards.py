"""Every graph of the operational dashboards has series to draw, made by real processes."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from examples.demo import start_services
from examples.processes import wait_until
from examples.shop.load import Load
from grafana.expressions import Panel, filled
from grafana.operations import CLICKHOUSE, COLLECTOR, RUNTIME, TRACES

from ..lookout_server.clickhouse import free_port
from .conftest import Site, start_collector

PANELS = [*TRACES, *RUNTIME, *COLLECTOR, *CLICKHOUSE]
#: Longer than servers and proxies keep idle connections by default.
IDLE_SECONDS = 6.0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A collector that scrapes itself, and the shop with its importers, under load."""
    folder = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOOKOUT_SCRAPE_SELF", "1s")
        environment.setenv("LOOKOUT_SPAN_METRICS_INTERVAL", "1s")
        found = Site(folder, start_collector(folder / "data", f"127.0.0.1:{free_port()}"))
    try:
        found.services = start_services(found.url, folder)
        load = Load(found.services["gateway"].url, rate=20)
        load.start()
        _refused(found.url)
        try:
            yield found
        finally:
            load.stop()
    finally:
        for child in (*found.services.values(), found.collector):
            if child.running:
                child.kill()


def _refused(url: str) -> None:
    """A body that is no spans, and a span of another century: one is refused, one dropped."""
    spans = f"{url}/api/v2/spans"
    assert urllib3.request("POST", spans, body=b"[{").status == 400
    old = b'[{"traceId":"1","id":"1","timestamp":1000000,"localEndpoint":{"serviceName":"old"}}]'
    assert urllib3.request("POST", spans, body=old).status == 202


def await_rows(watched: Site, query: str) -> list[dict[str, Any]]:
    """The series of a query, when there are some."""
    found: list[dict[str, Any]] = []

    def asked() -> bool:
        found[:] = watched.query(query)
        return bool(found)

    wait_until(asked, 30, f"series of {query}")
    return found


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_the_graph_has_series(watched: Site, panel: Panel) -> None:
    """Each expression, as Grafana sends it, finds series that carry the legend's labels."""
    for legend, expression in panel.expressions.items():
        rows = await_rows(watched, filled(expression))
        labels = {part.partition("}}")[0] for part in legend.split("{{")[1:]}
        assert any(labels <= row["metric"].keys() for row in rows), legend


def test_an_idle_connection_stays_open(watched: Site) -> None:
    """A client that pauses for some seconds goes on, on the same connection."""
    address = urlsplit(watched.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    for pause in (IDLE_SECONDS, 0.0):
        connection.request("GET", "/-/ready")
        answer = connection.getresponse()
        assert answer.read() is not None and answer.status == 200
        time.sleep(pause)
    connection.close()
