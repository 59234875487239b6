"""Every graph of the operational dashboards has series to draw, made by real processes."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import urllib3

from examples.demo import start_services
from examples.processes import wait_until
from examples.shop.load import Load
from grafana.expressions import Panel, filled
from grafana.operations import CLICKHOUSE, COLLECTOR, RUNTIME, SPANS, TRACES

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


def _asked(watched: Site, path: str, *, post: bool = False, **parameters: str) -> Any:
    """``data`` of an answer to what Grafana's data source sends."""
    fields = [(name.replace("match", "match[]"), value) for name, value in parameters.items()]
    url = f"{watched.url}/api/v1/{path}"
    if post:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = urllib3.request("POST", url, body=urlencode(fields), headers=form)
    else:
        answer = urllib3.request("GET", f"{url}?{urlencode(fields)}")
    assert answer.status == 200, answer.data
    document = answer.json()
    assert document["status"] == "success"
    return document["data"]


def test_grafana_saves_and_tests_its_data_source(watched: Site) -> None:
    """One and one is two at the fourth second, and we are a Prometheus, not a Mimir."""
    assert _asked(watched, "query", post=True, query="1+1", time="4")["result"] == [4, "2"]
    built = _asked(watched, "status/buildinfo")
    assert built["version"].startswith("3.") and "features" not in built


def test_grafana_explores_and_fills_its_variables(watched: Site) -> None:
    """Its editor finds metrics, labels, values and what they mean; its graphs find points."""
    metric = f"{SPANS}_count"
    await_rows(watched, metric)
    now = int(time.time()) // 60 * 60 + 60
    window = {"start": str(now - 3660), "end": str(now)}
    assert metric in _asked(watched, "label/__name__/values", **window)
    assert "service" in _asked(watched, "labels", match=metric, **window)
    assert "gateway" in _asked(watched, "label/service/values", match=metric, **window)
    assert _asked(watched, "series", match=f'{metric}{{service="gateway"}}', **window)
    assert metric.removesuffix("_count") in _asked(watched, "metadata")
    assert _asked(watched, "rules") == {"groups": []}
    graph = {"query": f"sum by (service) ({metric})", "step": "15", **window}
    found = _asked(watched, "query_range", post=True, **graph)
    assert found["resultType"] == "matrix" and found["result"][0]["values"]


def test_exemplars_lead_to_traces_that_exist(watched: Site) -> None:
    """A point on a graph of durations names a trace, and the link of it opens that trace."""
    found: list[Any] = []

    def there() -> bool:
        now = time.time()
        asked = {"start": f"{now - 600:.3f}", "end": f"{now:.3f}"}
        query = (
            f'histogram_quantile(0.9, sum by (le) (rate({SPANS}_bucket{{service="gateway"}}[1m])))'
        )
        found[:] = _asked(watched, "query_exemplars", post=True, query=query, **asked)
        return bool(found)

    wait_until(there, 30, "exemplars")
    ids = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
    assert ids
    for trace_id in ids:
        wait_until(
            lambda at=trace_id: (
                urllib3.request("GET", f"{watched.url}/api/v2/trace/{at}").status == 200
            ),
            20,
            f"trace {trace_id}",
        )
