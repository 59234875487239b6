"""The index of series in memory knows what the database knows."""

from __future__ import annotations

import time

from starlette.testclient import TestClient

from lookout_server.store.embedded import EmbeddedStore

from .test_api import NOW, data, write


def test_a_clock_that_was_set_back_hides_no_series(
    client: TestClient, store: EmbeddedStore, tenant: str
) -> None:
    """New series are found at once, also while older rows are of a later time."""
    write(client, ({"__name__": "before"}, [(NOW, 1.0)]))
    ahead_ms = int((time.time() + 3600) * 1000)
    store.execute(
        "INSERT INTO series (tenant, mid, id, seen, kind, labels, updated) "
        f"SELECT tenant, mid, id, seen, kind, labels, fromUnixTimestamp64Milli({ahead_ms}) "
        f"FROM series WHERE tenant = '{tenant}'"
    )
    assert data(client, "query", query="before", time=NOW / 1000)["result"]
    for name in ("after", "later"):
        write(client, ({"__name__": name}, [(NOW, 1.0)]))
        assert data(client, "query", query=name, time=NOW / 1000)["result"]
