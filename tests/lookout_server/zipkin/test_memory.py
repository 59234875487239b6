"""What is remembered of earlier answers: within bounds, and never longer than it is true."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from lookout_server.config import load
from lookout_server.query.zipkin import late, memory, search
from lookout_server.query.zipkin import names as name_lists
from lookout_server.query.zipkin.memory import NamesMemory, TraceMemory
from lookout_server.spans.model import Span
from lookout_server.spans.news import LINK_COLUMNS, News
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.port import Store

from .collector import PlainCollector

START_US = 1_700_000_000_000_000
WINDOW = {"endTs": START_US // 1000 + 3_600_000, "lookback": 7_200_000, "limit": 1000}


class CountingStore:
    """A store that counts what is fetched from it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fetches: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def fetch(self, sql: str, *rest: Any) -> Any:
        self.fetches.append(sql)
        return self._store.fetch(sql, *rest)


@pytest.fixture
def counted(store: EmbeddedStore) -> CountingStore:
    return CountingStore(store)


@pytest.fixture
async def client(counted: CountingStore, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    """The span endpoints of a collector that remembers."""
    app = PlainCollector(counted, load(autocomplete_keys=["k"])).app()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://collector",
        headers={"X-Scope-OrgID": tenant},
    ) as opened:
        yield opened


def span(trace: int, number: int, name: str = "get") -> dict[str, Any]:
    return {
        "traceId": f"{trace:x}",
        "id": f"{number:x}",
        "name": name,
        "timestamp": START_US + number,
        "localEndpoint": {"serviceName": "a"},
        "remoteEndpoint": {"serviceName": f"of-{name}"},
        "tags": {"k": name},
    }


async def test_asked_again_nothing_is_read(
    client: httpx.AsyncClient, counted: CountingStore
) -> None:
    """A trace that a search has read, and names asked for before, cost no query; explain=1 does."""
    await client.post("/api/v2/spans", json=[span(1, 1), span(2, 1)])
    paths = ["trace/1", "traceMany?traceIds=1,2", "services", "spans?serviceName=a"]
    paths += ["remoteServices?serviceName=a", "autocompleteValues?key=k"]
    assert len((await client.get("/api/v2/traces", params=WINDOW)).json()) == 2
    first = [(await client.get(f"/api/v2/{path}")).json() for path in paths]
    counted.fetches.clear()
    assert [(await client.get(f"/api/v2/{path}")).json() for path in paths] == first
    assert counted.fetches == []
    for path in paths:
        await client.get(f"/api/v2/{path}{'&' if '?' in path else '?'}explain=1")
    assert len(counted.fetches) == len(paths)


SEARCHES: list[dict[str, Any]] = [
    {},
    {"serviceName": "a", "spanName": "n1"},
    {"serviceName": "a", "annotationQuery": "k=n2"},
    {"annotationQuery": "k and k=n3"},
    {"serviceName": "a", "minDuration": 3},
    {"serviceName": "a", "sort": "duration"},
]


@pytest.fixture(
    params=[(100_000, 500), (-1, 500), (-1, 0)], ids=["few later", "few crossing", "many crossing"]
)
def later(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came after a window is looked through in three ways, by how much of it there is."""
    for name, bound in zip(("_LATER_MOST", "_CROSSING_MOST"), request.param, strict=True):
        monkeypatch.setattr(search, name, bound)


async def test_searches_find_what_was_stored_since(client: httpx.AsyncClient, later: None) -> None:
    """Asked again and again, at ends of their own, searches find what a collector finds that
    remembers nothing, whether spans came into what they looked at or beside it."""
    chance = random.Random(5)
    for number in range(1, 12):
        sent = span(chance.randrange(1, 6), number, f"n{chance.randrange(4)}")
        sent["timestamp"] += chance.randrange(7) * 600_000_000
        sent["duration"] = chance.randrange(1, 9)
        await client.post("/api/v2/spans", json=[sent])
        end = {"endTs": WINDOW["endTs"] - chance.choice([0, 0, 1, 1_200_000])}
        for conditions in SEARCHES:
            asked = WINDOW | end | conditions
            answer = (await client.get("/api/v2/traces", params=asked)).json()
            assert answer == await _from_the_store(client, asked)


async def test_what_comes_after_a_window_has_nothing_read_again(
    client: httpx.AsyncClient, counted: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside ingest only traces that go on are read, and found by what they have there."""
    monkeypatch.setattr(search, "_LATER_MOST", 0)
    monkeypatch.setattr(late, "_IDS_BYTES", 100)
    end = START_US + 400_000_000
    asked = {"endTs": end // 1000, "lookback": 7_200_000, "limit": 10}
    await client.post("/api/v2/spans", json=[span(1, 1), span(2, 2), _at(span(9, 3), end + 10**9)])
    for conditions in SEARCHES:
        await client.get("/api/v2/traces", params=asked | conditions)
    for turn in range(4):
        after = end + 600_000_000 + turn
        await client.post("/api/v2/spans", json=[_at(span(20 + turn, 4), after)])
        counted.fetches.clear()
        for conditions in SEARCHES:
            await client.get("/api/v2/traces", params=asked | conditions)
        assert counted.fetches == []
    await client.post("/api/v2/spans", json=[_at(span(2, 5, "n2"), after) | {"duration": 9}])
    for conditions in SEARCHES:
        answer = (await client.get("/api/v2/traces", params=asked | conditions)).json()
        assert answer == await _from_the_store(client, asked | conditions)
    assert all("FROM spans" in sql and "{folds:" in sql for sql in counted.fetches[:1])
    for turn in range(14):  # more than is kept of batches
        await client.post("/api/v2/spans", json=[_at(span(40 + turn, 4), after)])
    await client.post("/api/v2/spans", json=[_at(span(1, 6, "n2"), after)])
    for turn in range(14):
        await client.post("/api/v2/spans", json=[_at(span(60 + turn, 4), after)])
    for conditions in SEARCHES:
        answer = (await client.get("/api/v2/traces", params=asked | conditions)).json()
        assert answer == await _from_the_store(client, asked | conditions)


def _at(sent: dict[str, Any], at_us: int) -> dict[str, Any]:
    return sent | {"timestamp": at_us}


async def _from_the_store(client: httpx.AsyncClient, asked: dict[str, Any]) -> Any:
    """The answer with nothing remembered."""
    app = client._transport.app  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory.Memory, "get", lambda self, key: None)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://collector", headers=client.headers
        ) as other:
            return (await other.get("/api/v2/traces", params=asked)).json()


async def test_a_search_asked_again_reads_only_where_spans_came(
    client: httpx.AsyncClient, counted: CountingStore
) -> None:
    """Nothing while none came, and the latest minutes alone if they came there."""
    await client.post("/api/v2/spans", json=[span(1, 1), span(2, 2)])
    for conditions in SEARCHES:
        await client.get("/api/v2/traces", params=WINDOW | conditions)
    counted.fetches.clear()
    for conditions in SEARCHES:
        await client.get("/api/v2/traces", params=WINDOW | conditions)
    assert counted.fetches == []
    late = span(3, 3) | {"timestamp": WINDOW["endTs"] * 1000}
    await client.post("/api/v2/spans", json=[late])
    conditions = {"serviceName": "a", "annotationQuery": "k=n2"}
    await client.get("/api/v2/traces", params=WINDOW | conditions)
    candidates = [sql for sql in counted.fetches if "has(tags_" in sql]
    assert len(candidates) == 2  # one for each of two columns, of the first step


LISTS = [
    "services",
    "spans?serviceName=a",
    "remoteServices?serviceName=a",
    "autocompleteValues?key=k",
]


@pytest.mark.parametrize(("most", "reads"), [(5_000, 1), (3, 5)], ids=["few names", "many names"])
async def test_lists_of_few_names_are_read_together(
    client: httpx.AsyncClient,
    counted: CountingStore,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    reads: int,
) -> None:
    """The first list asked for has all of a tenant's read, where these have few names."""
    monkeypatch.setattr(name_lists, "_MOST_OF_ALL", most)
    await client.post("/api/v2/spans", json=[span(1, 1)])
    counted.fetches.clear()
    found = [(await client.get(f"/api/v2/{path}")).json() for path in LISTS]
    assert found == [["a"], ["get"], ["of-get"], ["get"]]
    assert len(counted.fetches) == reads
    await client.post("/api/v2/spans", json=[span(2, 2, "put")])
    counted.fetches.clear()
    found = [(await client.get(f"/api/v2/{path}")).json() for path in LISTS]
    assert found == [["a"], ["get", "put"], ["of-get", "of-put"], ["get", "put"]]
    assert len(counted.fetches) == 3  # of the lists that have more names


async def test_answers_are_those_of_what_is_stored(client: httpx.AsyncClient) -> None:
    """Whatever comes in between: every span and name is in the next answer."""
    chance = random.Random(3)
    names: set[str] = set()
    sent: dict[int, set[str]] = {}
    for number in range(1, 40):
        trace, name = chance.randrange(1, 4), f"n{chance.randrange(12)}"
        await client.post("/api/v2/spans", json=[span(trace, number, name)])
        sent.setdefault(trace, set()).add(f"{number:016x}")
        names.add(name)
        for known, ids in sent.items():
            answer = (await client.get(f"/api/v2/trace/{known:x}")).json()
            assert {found["id"] for found in answer} == ids
        for path in ("spans?serviceName=a", "autocompleteValues?key=k"):
            assert (await client.get(f"/api/v2/{path}")).json() == sorted(names)
        remote = (await client.get("/api/v2/remoteServices?serviceName=a")).json()
        assert remote == sorted(f"of-{one}" for one in names)


def spans_of(trace: int, size: int = 10) -> dict[str, list[Span]]:
    found = Span(f"{trace:016x}", f"{1:016x}", tags={"k": "v" * size})
    return {found.low_trace_id: [found]}


def news(*folds: int, lists: frozenset[tuple[str, str, str]] = frozenset()) -> Iterator[News]:
    yield News(np.array(folds, np.uint32), lists, {}, pa.table({}), pa.table({}))


def test_a_stored_batch_drops_what_it_changes() -> None:
    """Traces and lists that a batch adds to are forgotten, of whatever tenant; others are kept."""
    traces, names = TraceMemory(), NamesMemory()
    for fold in (1, 2, 3):
        traces.keep(("t", fold), spans_of(fold), traces.number())
    traces.stored(news(2, 9))
    assert [traces.get(("t", fold)) is None for fold in (1, 2, 3)] == [False, True, False]
    key = ("t", "span", "a")
    names.keep(key, ["get"], names.number())
    names.stored(news(2))
    assert names.get(key) == ["get"]
    names.stored(news(lists=frozenset([key])))
    assert names.get(key) is None


def test_a_stored_batch_drops_the_steps_that_look_where_it_has_spans() -> None:
    """Of its tenants, and between their first and last five minutes, both in it."""
    steps = memory.StepMemory()
    asked = [("t", (3, 5)), ("t", (5, 5)), ("t", (7, 9)), ("u", (3, 5))]
    held = [memory.Step("SELECT", (), tenant, buckets) for tenant, buckets in asked]
    for step in held:
        steps.keep(step, pa.table({"fold": [1]}), steps.number())
    batch = pa.table({"tenant": ["t", "t", "v"], "bucket": [6, 5, 4], "spans": [1, 1, 1]})
    names = pa.table({"tenant": [], "what": [], "service": []})
    folds = batch.append_column("fold", pa.array([1, 2, 3], pa.uint32()))
    spans = pa.table({name: [] for name in LINK_COLUMNS})
    tables = {"span_counts": batch, "span_names": names, "trace_index": folds, "spans": spans}
    steps.stored([News.of(tables)])
    assert [steps.get(step) is None for step in held] == [True, True, False, False]


def test_what_a_batch_changed_while_it_was_read_is_not_kept() -> None:
    """It may be without the batch, which would never be noticed; what others changed is kept."""
    traces = TraceMemory()
    number = traces.number()
    traces.stored(news(7))
    traces.stored(news(8))
    for fold in (6, 7, 8):
        traces.keep(("t", fold), spans_of(fold), number)
    assert [traces.get(("t", fold)) is None for fold in (6, 7, 8)] == [False, True, True]
    traces.keep(("t", 7), spans_of(7), number + 1)
    assert traces.get(("t", 7)) is not None
    for _ in range(10):  # more than are remembered
        traces.stored(news(9))
    traces.keep(("t", 5), spans_of(5), number)
    assert traces.get(("t", 5)) is None
    number = traces.number()
    traces.forget()
    traces.stored(news(9))
    traces.keep(("t", 5), spans_of(5), number)
    assert traces.get(("t", 5)) is None


def test_memory_is_bounded_in_bytes_and_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently asked for make room; what is huge is not kept, what is old read again."""
    now = 0.0
    monkeypatch.setattr(memory, "_TRACE_BYTES", 20_000)
    traces = TraceMemory()
    monkeypatch.setattr(traces, "_clock", lambda: now)
    traces.keep(("t", 0), spans_of(0, size=11_000), traces.number())
    assert traces.get(("t", 0)) is None
    for fold in range(1, 30):
        traces.keep(("t", fold), spans_of(fold), traces.number())
        assert traces.get(("t", 1)) is not None
    kept = [fold for fold in range(1, 30) if traces.get(("t", fold)) is not None]
    assert kept == [1, *range(30 - len(kept) + 1, 30)] and 5 < len(kept) < 20
    now = memory._AGE_S + 1
    assert traces.get(("t", 1)) is None
