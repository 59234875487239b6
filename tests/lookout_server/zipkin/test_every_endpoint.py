"""What holds for every endpoint of the query API alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pyarrow as pa
import pytest
from starlette.applications import Starlette

from lookout_server.config import load
from lookout_server.errors import HANDLERS
from lookout_server.query.zipkin import api
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.port import Limits

from .collector import PlainCollector

START_MS = 1_700_006_400_000
TRACE = f"{0xABC:016x}"
#: Path and the text that shows that the answer is of the spans below.
ENDPOINTS = {
    "services": "kitchen",
    "spans?serviceName=kitchen": "fry",
    "remoteServices?serviceName=kitchen": "larder",
    f"traces?endTs={START_MS + 1000}&lookback=2000": "kitchen",
    f"traces?endTs={START_MS + 1000}&lookback=2000&annotationQuery=pan=hot": "kitchen",
    f"traces?endTs={START_MS + 1000}&lookback=2000&sort=duration": "kitchen",
    f"trace/{TRACE}": "kitchen",
    f"traceMany?traceIds={TRACE},1": "kitchen",
    f"dependencies?endTs={START_MS + 1000}&lookback=2000": "larder",
    f"dependencies?endTs={START_MS + 3_600_000}&lookback=7200000": "larder",
    "autocompleteValues?key=pan": "hot",
}
SPANS = [
    {"traceId": TRACE, "id": "1", "kind": "CLIENT", "name": "fry", "timestamp": START_MS * 1000,
     "duration": 5, "localEndpoint": {"serviceName": "kitchen"},
     "remoteEndpoint": {"serviceName": "larder"}, "tags": {"pan": "hot"}}
]  # fmt: skip


def asking(server: PlainCollector, tenant: str) -> httpx.AsyncClient:
    """A client of the query API as one tenant."""
    routes = [*server.app().routes, *api.routes(server)]
    transport = httpx.ASGITransport(Starlette(routes=routes, exception_handlers=HANDLERS))
    return httpx.AsyncClient(
        transport=transport, base_url="http://collector", headers={"X-Scope-OrgID": tenant}
    )


def collector(store: EmbeddedStore, kind: type[PlainCollector] = PlainCollector) -> PlainCollector:
    return kind(store, load(autocomplete_keys=["pan"]))


def test_the_list_has_every_endpoint(store: EmbeddedStore) -> None:
    """An endpoint that is added must be added here, too; keys are no tenant's."""
    served = {
        path.removeprefix("/api/v2/").partition("/")[0]
        for route in api.routes(collector(store))
        if (path := getattr(route, "path", "")).startswith("/api/v2/")
    }
    tried = {path.partition("?")[0].partition("/")[0] for path in ENDPOINTS}
    assert served == tried | {"autocompleteKeys"}


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("mount", ["/api/v2", "/zipkin/api/v2"])
async def test_tenants_see_their_own_alone(
    store: EmbeddedStore, tenant: str, path: str, mount: str
) -> None:
    """What one tenant stored is answered to it and, whoever asked before, to nobody else."""
    server = collector(store)
    async with asking(server, tenant) as owner, asking(server, f"{tenant}-other") as other:
        assert (await owner.post("/api/v2/spans", json=SPANS)).status_code == 202
        for asked in range(2):  # the second time what is kept in memory answers
            own = await owner.get(f"{mount}/{path}")
            assert own.status_code == 200 and ENDPOINTS[path] in own.text, asked
            their = await other.get(f"{mount}/{path}")
            empty = (404, f"{TRACE} not found") if path.startswith("trace/") else (200, "[]")
            assert (their.status_code, their.text) == empty


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_every_query_can_be_explained(store: EmbeddedStore, tenant: str, path: str) -> None:
    """explain=1 answers with stages, each with its time and rows, and the SQL of those that ask."""
    async with asking(collector(store), tenant) as client:
        await client.post("/api/v2/spans", json=SPANS)
        mark = "&" if "?" in path else "?"
        explained = (await client.get(f"/api/v2/{path}{mark}explain=1")).json()
        assert explained["milliseconds"] > 0
        stages = explained["stages"]
        assert any(stage.get("sql", "").startswith("SELECT") for stage in stages)
        assert all({"stage", "rows", "milliseconds"} <= stage.keys() for stage in stages)


_RUNNING = """
SELECT count() AS n FROM system.processes WHERE startsWith(query, 'SELECT sleepEachRow')
"""


class _Slow(PlainCollector):
    """Has ClickHouse work for longer than a query may."""

    async def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> pa.Table:
        endless = "SELECT sleepEachRow(0.05) FROM numbers(10000) SETTINGS max_block_size = 1"
        return await asyncio.to_thread(self.store.fetch, endless, {}, Limits(seconds=0.2))


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_query_past_its_time_stops(store: EmbeddedStore, tenant: str, path: str) -> None:
    """It is answered 503 with the reason, and ClickHouse soon works on no part of it any more."""
    async with asking(collector(store, _Slow), tenant) as client:
        answer = await client.get(f"/api/v2/{path}")
    assert answer.status_code == 503
    assert answer.text.startswith("the query ran into a limit: Timeout exceeded")
    async with asyncio.timeout(10):
        while store.fetch(_RUNNING).column("n").to_pylist() != [0]:
            await asyncio.sleep(0.05)
