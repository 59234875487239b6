"""SOFALookout's and other pushes over HTTP can be queried as Prometheus series."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import cramjam
import httpx
import orjson
from starlette.testclient import TestClient

from lookout_server.config import ServerConfig
from lookout_server.ingest.push_groups import GroupLocks
from lookout_server.signal import Receipt, Rows
from lookout_server.store.port import Store

from .collector import PlainCollector
from .test_api import data


def line(name: str = "hits") -> bytes:
    now = int(time.time() * 1000)
    return orjson.dumps({"time": now, "tags": {"code": "200"}, name: {"count": 6}})


def test_datas(client: TestClient) -> None:
    """A report of SOFALookout's client, plain and snappy, is there to query."""
    assert client.get("/datas").text == "OK"
    headers = {"app": "shop", "Client-Ip": "10.1.2.3"}
    assert client.post("/datas", content=line(), headers=headers).status_code == 200
    snappy = {**headers, "Content-Encoding": "snappy", "Content-Type": "application/octet-stream"}
    body = bytes(cramjam.snappy.compress_raw(line("more")))
    assert client.post("/datas", content=body, headers=snappy).status_code == 200
    found = data(client, "query", query='{__name__=~"hits.count|more.count"}')["result"]
    assert sorted(series["metric"]["__name__"] for series in found) == ["hits.count", "more.count"]
    assert found[0]["metric"]["app"] == "shop"
    assert found[0]["metric"]["ip"] == "10.1.2.3"


def test_c1_datas_without_app(client: TestClient) -> None:
    """A client that does not say its name is silenced for five minutes."""
    answer = client.post("/datas", content=line())
    assert answer.status_code == 403
    assert (answer.headers["err"], answer.headers["wait-minutes"]) == ("APP_NAME_NULL", "5")


def test_pushes(client: TestClient) -> None:
    """Each protocol's request is answered as its clients expect, and stored."""
    url = "/prom/metrics/job/nightly/app/shop/step/10"
    assert client.put(url, content=b"rows 5\n").status_code == 202
    point = {"metric": "sys.cpu", "timestamp": int(time.time()), "value": 1, "tags": {}}
    headers = {"app": "shop", "step": "10"}
    answer = client.post("/opentsdb/api/put", content=orjson.dumps(point), headers=headers)
    assert answer.status_code == 202
    assert client.post("/metrics/job/batch/a/b", content=b"done 1\n").status_code == 200
    assert client.get("/beat").json()["version"]["number"] == "5.3.2"
    names = data(client, "label/__name__/values")
    assert names == ["done", "push_time_seconds", "rows", "sys.cpu"]


def test_deleting_a_group(client: TestClient) -> None:
    """DELETE ends the series of that group alone: not those of one with more labels."""
    small, large = "/metrics/job/batch", "/metrics/job/batch/instance/b"
    for url in (small, large):
        assert client.post(url, content=b'done{kind="x"} 1\n').status_code == 200
    assert len(data(client, "query", query="done")["result"]) == 2
    assert client.delete(small).status_code == 202
    (left,) = data(client, "query", query="done", time=time.time() + 1)["result"]
    assert left["metric"]["instance"] == "b"
    assert client.delete(small).status_code == 202  # deleting twice is fine
    assert client.delete(large).status_code == 202
    later = time.time() + 1
    assert data(client, "query", query='{job="batch"}', time=later)["result"] == []
    assert len(data(client, "query", query="done[1m]", time=later)["result"]) == 2
    assert client.delete("/metrics/job/").status_code == 400


def visible(client: TestClient) -> set[tuple[str, str, str]]:
    """Name, instance and kind of what a query sees a moment from now."""
    found = data(client, "query", query='{job="batch", __name__!~"push.*"}', time=time.time() + 1)
    labels = [series["metric"] for series in found["result"]]
    return {(own["__name__"], own.get("instance", ""), own.get("kind", "")) for own in labels}


def test_put_replaces_and_post_adds(client: TestClient) -> None:
    """As in Pushgateway: PUT makes the group what was pushed, POST only the pushed names."""
    group, other = "/metrics/job/batch", "/metrics/job/batch/instance/b"
    body = b'done{kind="x"} 1\ndone{kind="y"} 2\nfailed 3\n'
    assert client.put(group, content=body).status_code == 200
    assert client.put(other, content=body).status_code == 200
    of_other = {("done", "b", "x"), ("done", "b", "y"), ("failed", "b", "")}
    assert visible(client) == {("done", "", "x"), ("done", "", "y"), ("failed", "", "")} | of_other
    assert client.post(group, content=b'done{kind="z"} 4\nlate 5\n').status_code == 200
    assert visible(client) == {("done", "", "z"), ("failed", "", ""), ("late", "", "")} | of_other
    assert client.put(group, content=b'done{kind="x"} 6\n').status_code == 200
    assert visible(client) == {("done", "", "x")} | of_other
    assert client.put(group, content=b"").status_code == 200
    assert visible(client) == of_other


class Meeting(PlainCollector):
    """What a group has is looked for when two pushes are in, unless the second is made to wait."""

    def __init__(self, store: Store, config: ServerConfig) -> None:
        super().__init__(store, config)
        self._pushes = 0
        self._both = asyncio.Event()

    async def accept(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Rows:
        rows = await super().accept(signal, fmt, body, receipt)
        self._pushes += fmt == "pushgateway"
        if self._pushes == 2:
            self._both.set()
        return rows

    async def settle(self, signal: str, *, patient: bool = False) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._both.wait(), 0.2)
        return True


async def test_of_simultaneous_puts_one_stays(client: TestClient, tenant: str,
                                              collector: PlainCollector) -> None:  # fmt: skip
    """Two PUTs to one group at once: one replaces the other, they do not end each other."""
    app = Meeting(collector.store, collector.config).app()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://collector/metrics/job/batch",
        headers={"X-Scope-OrgID": tenant},
    ) as pusher:
        bodies = [f'done{{kind="{kind}"}} 1\nfailed{{kind="{kind}"}} 2\n' for kind in "xy"]
        answers = await asyncio.gather(*(pusher.put("", content=body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200, 200]
    left = await asyncio.to_thread(visible, client)
    assert sorted(name for name, _, _ in left) == ["done", "failed"]
    assert len({kind for _, _, kind in left}) == 1


async def test_locks_of_groups_are_forgotten() -> None:
    """Requests of one group share a lock, others have their own; unused ones take no memory."""
    locks = GroupLocks()
    one = locks.of("t", {"job": "a", "instance": "b"})
    assert locks.of("t", {"instance": "b", "job": "a"}) is one
    others = [locks.of("u", {"job": "a", "instance": "b"}), locks.of("t", {"job": "a"})]
    assert one not in others
    assert len(locks) == 3
    del one, others
    assert len(locks) == 0


def test_a_push_that_is_refused_ends_nothing(client: TestClient) -> None:
    """A body that cannot be read leaves the group as it was."""
    assert client.put("/metrics/job/batch", content=b"done 1\n").status_code == 200
    assert client.put("/metrics/job/batch", content=b"done 1 {\n").status_code == 400
    assert visible(client) == {("done", "", "")}


def test_c9_refuse_mode(client: TestClient) -> None:
    """/cmd/down makes the gateway refuse every import with SOFALookout's words, /cmd/up ends it."""
    headers = {"app": "shop"}
    assert client.get("/cmd/down").text == "ok"
    answer = client.post("/datas", content=line(), headers=headers)
    assert (answer.status_code, answer.headers["err"]) == (
        400,
        "lookout gateway is in refuse requests mode",
    )
    assert client.get("/cmd/up").text == "ok"
    assert client.post("/datas", content=line(), headers=headers).status_code == 200
    assert client.get("/cmd/left").status_code == 404


def test_refusals(client: TestClient) -> None:
    """What is missing in the URL is said in the body and in Err."""
    answer = client.post("/prom/metrics/job/a/step/10", content=b"x 1\n")
    assert (answer.status_code, answer.headers["err"]) == (400, "app tag in url is required")
    answer = client.post("/prom/metrics/job/a/app/b", content=b"x 1\n")
    assert answer.text == "step tag in url is required"
    answer = client.post("/prom/metrics/job/a/app/b/step/x", content=b"x 1\n")
    assert answer.text == "step tag in url is invalid"
    for step in (2**63, -(2**63) - 1, 10**30):
        answer = client.post(f"/lookout/metrics/app/b/step/{step}", content=b"x")
        assert answer.status_code == 400
        assert answer.text == "step tag in url is invalid: expected seconds within 64 bits"
