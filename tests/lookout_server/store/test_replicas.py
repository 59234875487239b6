"""Two replicas of one shard with a Keeper: the schema, and what of it can be run here.

The engine's library takes part in ClickHouse's replication only as far as its DDL: it has no server
for the exchange of parts between replicas ("Parameter 'interserver_http(s)_port' required for
replication is not specified", whatever the configuration says) and refuses ON CLUSTER ("Replicated
DDL queries are disabled"), so that its tables stay read-only. What needs parts to travel is not
tested.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lookout_server.store.migrations import known
from lookout_server.store.server import ServerStore
from lookout_server.store.template import Dialect

from ..clickhouse import (
    LIBRARY,
    MISSING,
    ClickHouseServer,
    keeper,
    keeper_missing,
    replicas,
)

DIALECT = Dialect(cluster="main", replicated=True, on_cluster=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClickHouseServer]]:
    if not LIBRARY.exists():
        pytest.skip(MISSING)
    if reason := keeper_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("replicas")
    with keeper(folder) as port:
        servers = replicas(folder, 2, port)
        yield servers
        for server in servers:
            server.stop()


def test_the_schema_is_replicated(pair: list[ClickHouseServer]) -> None:
    """Every table of every migration is known to the Keeper with both replicas, under one path."""
    stores = [ServerStore(server.url) for server in pair]
    for store in stores:
        for migration in known():
            for statement in DIALECT.render(migration.text):
                if statement.startswith("CREATE"):  # an ALTER wants a table that takes inserts
                    store.execute(statement)
    tables = [
        store.fetch(
            "SELECT table, zookeeper_path, toUInt8(total_replicas) AS replicas "
            "FROM system.replicas ORDER BY table"
        ).to_pylist()
        for store in stores
    ]
    assert tables[0] == tables[1]
    names = {row["table"] for row in tables[0]}
    assert {"spans_local", "samples_local", "lookout_schema_local"} <= names
    for row in tables[0]:
        assert row["zookeeper_path"] == f"/clickhouse/tables/1/default/{row['table']}"
        assert row["replicas"] == 2
    windowless = stores[0].fetch(
        "SELECT name FROM system.tables WHERE engine LIKE 'Replicated%' "
        "AND create_table_query NOT LIKE '%replicated_deduplication_window = 10000%'"
    )
    assert windowless.column("name").to_pylist() == ["lookout_schema_local"]
    for store in stores:
        store.close()
