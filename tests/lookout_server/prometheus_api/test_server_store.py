"""The same answers from a ClickHouse server as from the embedded database."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from lookout_server.config import ServerConfig
from lookout_server.query.prometheus.histogram import Histogram, from_spans
from lookout_server.query.prometheus.source import STALE
from lookout_server.store.server import ServerStore

from .collector import PlainCollector
from .test_api import NOW, data, write


@pytest.fixture
def server_client(server_store: ServerStore, tenant: str) -> Iterator[TestClient]:
    """A collector on a ClickHouse server."""
    with TestClient(PlainCollector(server_store, ServerConfig(retention=0)).app()) as client:
        client.headers["X-Scope-OrgID"] = tenant
        yield client


def test_on_a_server(server_client: TestClient) -> None:
    """Floats, stale markers, repeated times, histograms and labels survive the native protocol."""
    histogram = Histogram(count=3, sum=4.5, positive=from_spans([(0, 2)], [1, 2]))
    write(
        server_client,
        ({"__name__": "m", "l": "é"}, [(NOW, 1.0), (NOW + 1000, STALE), (NOW + 2000, 2.5)]),
        ({"__name__": "h"}, [(NOW, histogram)]),
    )
    write(server_client, ({"__name__": "m", "l": "é"}, [(NOW, 7.0)]))
    found = data(server_client, "query", query="m[1m]", time=NOW / 1000 + 5)
    assert found["result"][0]["values"] == [[NOW // 1000, "7"], [NOW // 1000 + 2, "2.5"]]
    assert data(server_client, "query", query="m", time=NOW / 1000 + 1)["result"] == []
    found = data(server_client, "query", query="h", time=NOW / 1000)
    assert found["result"][0]["histogram"][1]["buckets"] == [
        [0, "0.5", "1", "1"],
        [0, "1", "2", "2"],
    ]
    assert data(server_client, "label/l/values") == ["é"]
    assert data(server_client, "series", **{"match[]": '{l=~"é|x"}'}) == [
        {"__name__": "m", "l": "é"}
    ]


def test_two_collectors_on_one_server(server_store: ServerStore, tenant: str) -> None:
    """What one collector stores, the other finds: new series, new labels and new samples."""
    config = ServerConfig(retention=0, clickhouse_url=SecretStr("clickhouse://shared"))
    with (
        TestClient(PlainCollector(server_store, config).app()) as one,
        TestClient(PlainCollector(server_store, config).app()) as other,
    ):
        for client in (one, other):
            client.headers["X-Scope-OrgID"] = tenant
        write(one, ({"__name__": "m", "at": "one"}, [(NOW, 1.0)]))
        write(other, ({"__name__": "m", "at": "other"}, [(NOW, 2.0)]))
        for client in (one, other):
            assert _values(client) == {"one": "1", "other": "2"}
        write(other, ({"__name__": "m", "at": "later"}, [(NOW, 3.0)]))
        write(other, ({"__name__": "m", "at": "other"}, [(NOW + 1000, 4.0)]))
        expected = {"one": "1", "other": "4", "later": "3"}
        assert _values(other) == expected
        deadline = time.monotonic() + 10  # its index is at most a second behind
        while _values(one) != expected:
            assert time.monotonic() < deadline, _values(one)
            time.sleep(0.05)
        assert data(one, "label/at/values") == ["later", "one", "other"]


def _values(client: TestClient) -> dict[str, str]:
    found = data(client, "query", query="m", time=NOW / 1000 + 2)["result"]
    return {series["metric"]["at"]: series["value"][1] for series in found}
