"""A cluster of two shards, without a Keeper: the same schema, the same rows, once each."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lookout_server.config import load
from lookout_server.signal import Receipt
from lookout_server.spans.signal import SpanSignal
from lookout_server.store.migrations import migrate, pending
from lookout_server.store.port import StoreUnavailable
from lookout_server.store.server import ServerStore, driver_url
from lookout_server.store.template import Dialect

from ..clickhouse import LIBRARY, MISSING, ClickHouseServer, shards

DIALECT = Dialect(cluster="main", on_cluster=False)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClickHouseServer]]:
    if not LIBRARY.exists():
        pytest.skip(MISSING)
    servers = shards(tmp_path_factory.mktemp("cluster"), 2)
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def cluster_store(cluster: list[ClickHouseServer]) -> Iterator[ServerStore]:
    opened = ServerStore(cluster[0].url, each_host_of="main")
    migrate(opened, DIALECT)
    yield opened
    opened.close()


def spans(count: int) -> bytes:
    now = time.time_ns() // 1000
    return (
        "["
        + ",".join(
            f'{{"traceId":"{n * 7919:016x}","id":"{n:016x}","timestamp":{now},"name":"get",'
            '"localEndpoint":{"serviceName":"shop"}}'
            for n in range(1, count + 1)
        )
        + "]"
    ).encode()


def count(store: ServerStore, table: str) -> int:
    return int(store.fetch(f"SELECT count() AS n FROM {table}").column("n")[0].as_py())


def test_rows_spread_by_trace_and_once(
    cluster: list[ClickHouseServer], cluster_store: ServerStore
) -> None:
    """Both shards take their part of a batch, and a repeat of it nothing."""
    signal = SpanSignal(load())
    receipt = Receipt("default", time.time_ns() // 1_000_000, {})
    rows = signal.decode("zipkin.v2.json", spans(500), receipt)
    tables = signal.tables([rows])
    for _ in range(2):
        for table, columns in tables.items():
            cluster_store.insert(table, columns, f"batch-{table}")
    assert count(cluster_store, "spans") == 500
    parts = []
    for server in cluster:
        one = ServerStore(server.url)
        parts.append(count(one, "spans_local"))
        assert count(one, "span_search_local") == parts[-1], "a trace's rows lie together"
        one.close()
    assert sum(parts) == 500
    assert min(parts) > 150


def test_schema_is_on_every_host(
    cluster: list[ClickHouseServer], cluster_store: ServerStore
) -> None:
    """Applied once for the cluster, and nothing pending from the other host's view."""
    other = ServerStore(cluster[1].url, each_host_of="main")
    assert pending(other) == []
    other.close()


def test_a_lost_shard_is_told_and_comes_back(
    cluster: list[ClickHouseServer], cluster_store: ServerStore
) -> None:
    """While a shard is away an insert fails as a whole for now; afterwards it is there once."""
    signal = SpanSignal(load())
    receipt = Receipt("default", time.time_ns() // 1_000_000, {})
    table = signal.tables([signal.decode("zipkin.v2.json", spans(200), receipt)])["spans"]
    before = count(cluster_store, "spans")
    cluster[1].stop()
    with pytest.raises(StoreUnavailable):
        cluster_store.insert("spans", table, "lost")
    cluster[1].start()
    deadline = time.monotonic() + 30
    while True:
        try:
            cluster_store.insert("spans", table, "lost")
            break
        except StoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert count(cluster_store, "spans") == before + 200


def test_several_hosts(cluster: list[ClickHouseServer]) -> None:
    """A URL may name several hosts; one that is away is passed over."""
    url = cluster[0].url.replace(":" + str(cluster[0].port), f":1,127.0.0.1:{cluster[0].port}")
    for _ in range(4):  # the order is shuffled
        store = ServerStore(url)
        assert store.fetch("SELECT 1 AS one").column("one").to_pylist() == [1]
        store.close()


def test_driver_url() -> None:
    """Credentials, database and options stay; further hosts become alternatives."""
    url = driver_url("clickhouse://u:p%40ss@a:1,b:2/d?secure=1&compression=zstd")
    assert url.startswith("clickhouse://u:p%40ss@")
    assert "secure=1" in url and "compression=zstd" in url and "connect_timeout=5" in url
    assert ("alt_hosts=b%3A2" in url) or ("alt_hosts=a%3A1" in url)
