"""Dependency links: the bulk linker against the exact one, and stored links that stay true."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout_server.config import load
from lookout_server.query.explain import Explanation
from lookout_server.query.zipkin import bulk_linker, dependencies, link_keeper
from lookout_server.query.zipkin.bulk_linker import LinkedTraces
from lookout_server.query.zipkin.dependencies import Dependencies
from lookout_server.query.zipkin.link_cache import LinkCache
from lookout_server.query.zipkin.link_keeper import LinkKeeper
from lookout_server.query.zipkin.link_sums import LinkSums, total
from lookout_server.query.zipkin.linker import Linker, link_traces
from lookout_server.query.zipkin.young_links import YoungLinks
from lookout_server.spans.columns import ERROR, SHARED, pack_address
from lookout_server.spans.model import KIND_CODES, NOWHERE, Endpoint, Span, make_span
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.port import StoreError, StoreLimit

from .collector import PlainCollector

KINDS = ["", "CLIENT", "SERVER", "PRODUCER", "CONSUMER"]
PLACES = [NOWHERE, Endpoint("a"), Endpoint("b"), Endpoint("a", "1.2.3.4"), Endpoint("", "1.1.1.1")]


def span_id(number: int) -> str:
    return f"{number:016x}"


any_span = st.builds(
    make_span,
    st.integers(1, 2).map(span_id),
    st.integers(1, 5).map(span_id),
    parent_id=st.integers(0, 6).map(lambda n: span_id(n) if n else ""),
    kind=st.sampled_from(KINDS),
    timestamp=st.sampled_from([0, 1_700_006_400_000_000]),
    local=st.sampled_from(PLACES),
    remote=st.sampled_from([NOWHERE, Endpoint("a"), Endpoint("d")]),
    tags=st.sampled_from([{}, {"error": ""}]),
    shared=st.booleans(),
)


def tree_spans(draw: Any) -> list[Span]:
    """A trace whose spans each have a parent among those before."""
    spans: list[Span] = []
    for number in range(1, draw(st.integers(1, 9)) + 1):
        parent = span_id(draw(st.integers(1, number - 1))) if number > 1 else ""
        spans.extend(
            make_span(
                span_id(1),
                span_id(number),
                parent_id=parent,
                kind=draw(st.sampled_from(KINDS)),
                timestamp=1_700_006_400_000_000,
                local=draw(st.sampled_from(PLACES)),
                remote=draw(st.sampled_from([NOWHERE, Endpoint("a"), Endpoint("d")])),
                tags=draw(st.sampled_from([{}, {"error": ""}])),
                shared=shared,
            )
            for shared in ((False, True) if parent and draw(st.booleans()) else (False,))
        )
    return spans


def as_table(spans: list[Span]) -> pa.Table:
    """The columns that the bulk linker reads."""
    return pa.table(
        {
            "low": pa.array([int(s.low_trace_id, 16) for s in spans], pa.uint64()),
            "bucket": pa.array([s.timestamp // 300_000_000 for s in spans], pa.uint32()),
            "parent": pa.array([int(s.parent_id or "0", 16) for s in spans], pa.uint64()),
            "id": pa.array([int(s.id, 16) for s in spans], pa.uint64()),
            "ts": pa.array([s.timestamp for s in spans], pa.int64()),
            "flags": pa.array(
                [
                    KIND_CODES.get(s.kind, 0)
                    | (SHARED if s.shared else 0)
                    | (ERROR if "error" in s.tags else 0)
                    for s in spans
                ],
                pa.uint8(),
            ),
            "service": [s.local.service for s in spans],
            "address": [pack_address(s.local) for s in spans],
            "remote_service": [s.remote.service for s in spans],
        }
    )


def in_bulk(spans: list[Span]) -> dict[tuple[str, str], tuple[int, int]]:
    """Links of the bulk linker."""
    traces = bulk_linker.link_traces(as_table(spans))
    return summed(traces.sums(np.ones(len(traces.home), bool)))


def summed(sums: LinkSums) -> dict[tuple[str, str], tuple[int, int]]:
    return {
        (str(link["parent"]), str(link["child"])): (link["callCount"], link.get("errorCount", 0))
        for link in orjson.loads(sums.json())
    }


def counted(linker: Linker) -> dict[tuple[str, str], tuple[int, int]]:
    return {names: (link.calls, link.errors) for names, link in linker.links.items()}


def exactly(spans: list[Span]) -> Linker:
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.low_trace_id, []).append(span)
    return link_traces(t for t in traces.values() if any(s.timestamp for s in t))


@settings(max_examples=150, deadline=None)
@given(st.lists(any_span, min_size=1, max_size=12))
def test_bulk_linker_is_exact_for_any_spans(spans: list[Span]) -> None:
    """Whatever is broken in traces, linking in bulk gives the links of the exact linker.

    That is of the spans by time, in whatever order they are read, and sent once or again.
    """
    rows = as_table(spans).to_pylist()
    order = sorted(range(len(spans)), key=lambda place: bulk_linker.BY_TIME(rows[place]))
    expected = counted(exactly([spans[place] for place in order]))
    assert in_bulk(spans) == expected
    assert in_bulk([*spans[::-1], *spans]) == expected


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bulk_linker_is_exact_for_trees(data: st.DataObject) -> None:
    """Whole traces, with shared spans, local spans and errors, are linked as Zipkin links them."""
    spans = tree_spans(data.draw)
    assert in_bulk(spans) == counted(exactly(spans))


def test_chosen_links_keep_their_own_names_alone() -> None:
    """What is kept of a few traces is as large as these, not as all that were read with them."""
    spans = [
        make_span(
            span_id(n), span_id(1), kind="CLIENT", timestamp=PAST_US + n,
            local=Endpoint(f"caller-{n}"), remote=Endpoint(f"callee-{n}"),
        )
        for n in range(1, 1001)
    ]  # fmt: skip
    traces = bulk_linker.link_traces(as_table(spans))
    one = np.arange(len(traces.home)) == 7
    chosen = traces.select(one)
    assert sorted(chosen.names) == ["callee-8", "caller-8"]
    assert chosen.nbytes < traces.nbytes / 500
    for sums in (traces.sums(one), chosen.sums(np.ones(1, bool)), total([traces.sums(one)] * 3)):
        assert sorted(sums.names) == ["callee-8", "caller-8"]
        assert sums.nbytes < traces.nbytes / 500
        assert list(summed(sums)) == [("caller-8", "callee-8")]
    nobody = traces.select(np.zeros(len(traces.home), bool))
    assert nobody.names == [] and nobody.sums(np.zeros(0, bool)).json() == b"[]"


def call(
    trace: int, at_us: int, parent: str, child: str, after_us: int = 10
) -> list[dict[str, Any]]:
    """A trace of a server calling another."""
    trace_id = span_id(trace)
    return [
        {"traceId": trace_id, "id": span_id(1), "kind": "CLIENT", "timestamp": at_us,
         "localEndpoint": {"serviceName": parent}},
        {"traceId": trace_id, "id": span_id(1), "kind": "SERVER", "shared": True,
         "timestamp": at_us + after_us, "localEndpoint": {"serviceName": child}},
    ]  # fmt: skip


def opened(store: EmbeddedStore, tenant: str) -> httpx.AsyncClient:
    """A client of a collector that was just started."""
    transport = httpx.ASGITransport(PlainCollector(store, load()).app())
    headers = {"X-Scope-OrgID": tenant}
    return httpx.AsyncClient(transport=transport, base_url="http://collector", headers=headers)


@pytest.fixture
async def client(store: EmbeddedStore, tenant: str) -> Any:
    """A client of the span endpoints, as a tenant of its own."""
    async with opened(store, tenant) as asking:
        yield asking


async def links(client: httpx.AsyncClient, end_ms: int, lookback: int) -> dict[str, int]:
    parameters = {"endTs": end_ms, "lookback": lookback}
    found = (await client.get("/api/v2/dependencies", params=parameters)).json()
    return {f"{link['parent']}>{link['child']}": link["callCount"] for link in found}


BUCKET_US = 300_000_000
#: The start of some five minutes, hours ago: settled.
PAST_US = (time.time_ns() // 1000 // BUCKET_US - 100) * BUCKET_US


async def test_stored_links_are_corrected_by_late_spans(
    client: httpx.AsyncClient,
    store: EmbeddedStore,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked again, by another process too, a settled range is linked again only if untrue."""
    await client.post("/api/v2/spans", json=call(1, PAST_US + 5, "web", "db"))
    asked = PAST_US // 1000 + 600_000, 900_000
    assert await links(client, *asked) == {"web>db": 1}
    linked: list[int] = []
    real = bulk_linker.link_traces

    def spied(table: pa.Table) -> LinkedTraces:
        linked.append(table.num_rows)
        return real(table)

    monkeypatch.setattr(bulk_linker, "link_traces", spied)
    assert await links(client, *asked) == {"web>db": 1}
    async with opened(store, tenant) as another:
        assert await links(another, *asked) == {"web>db": 1}
    assert sum(linked) == 0
    await client.post("/api/v2/spans", json=call(2, PAST_US + 9, "web", "db"))
    assert await links(client, *asked) == {"web>db": 2}


async def test_hours_are_stored_and_corrected(
    client: httpx.AsyncClient, store: EmbeddedStore, tenant: str
) -> None:
    """A settled hour is answered from its own row, until a late span makes that untrue."""
    hour = PAST_US // (12 * BUCKET_US)
    begin_us = hour * 12 * BUCKET_US
    for bucket in range(12):
        await client.post(
            "/api/v2/spans", json=call(bucket + 1, begin_us + bucket * BUCKET_US, "web", "db")
        )
    asked = begin_us // 1000 + 2 * 3_600_000, 3 * 3_600_000
    assert await links(client, *asked) == {"web>db": 12}
    (row,) = _hours(store, tenant)
    assert (row["hour"], row["spans"], row["calls"], row["errors"]) == (hour, 24, [12], [0])
    # Another content of the row shows that it is what is read.
    marked = row | {"calls": [100], "version": row["version"] + 1}
    store.insert("span_link_hours", pa.Table.from_pylist([marked]), f"marked-{tenant}")
    async with opened(store, tenant) as another:
        assert await links(another, *asked) == {"web>db": 100}
    halves = asked[0] - 3_600_000 - 1, 3_600_000 - 2
    assert await links(client, *halves) == {"web>db": 11}  # not all of the hour
    await client.post("/api/v2/spans", json=call(13, begin_us + 3 * BUCKET_US, "web", "cache"))
    assert await links(client, *asked) == {"web>db": 12, "web>cache": 1}
    assert await links(client, *asked) == {"web>db": 12, "web>cache": 1}
    (row,) = _hours(store, tenant)
    assert (row["spans"], sorted(row["calls"])) == (26, [1, 12])


def _hours(store: EmbeddedStore, tenant: str) -> list[dict[str, Any]]:
    found = store.fetch(
        "SELECT * EXCEPT keep FROM span_link_hours FINAL WHERE tenant = {tenant:String}",
        {"tenant": tenant},
    )
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


async def test_an_hour_that_becomes_final_while_asked_is_not_stored_too_early(
    client: httpx.AsyncClient, store: EmbeddedStore, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was linked while it was young is never kept for good, whenever an answer is made."""
    begin_us = PAST_US // (12 * BUCKET_US) * 12 * BUCKET_US
    end_ms = begin_us // 1000 + 3_600_000
    clock = [end_ms + 660_000]  # settled, and young for another hour
    monkeypatch.setattr(dependencies, "now_ms", lambda: clock[0])
    real = bulk_linker.link_traces

    def slow(table: pa.Table) -> LinkedTraces:
        clock[0] = end_ms + 4_500_000
        return real(table)

    asked = end_ms + 3_600_000, 3 * 3_600_000
    await client.post("/api/v2/spans", json=call(1, begin_us, "web", "db"))
    assert await links(client, *asked) == {"web>db": 1}
    late = call(1, begin_us + 5 * BUCKET_US, "db", "disk")
    for span in late:
        span |= {"id": span_id(2), "parentId": span_id(1)}
    await client.post("/api/v2/spans", json=late)
    monkeypatch.setattr(bulk_linker, "link_traces", slow)
    await links(client, *asked)
    assert clock == [end_ms + 4_500_000]
    async with opened(store, tenant) as another:
        assert await links(another, *asked) == {"web>db": 1, "db>disk": 1}


@pytest.mark.parametrize("age", [0, 95], ids=["settled", "young"])
async def test_late_beginning_moves_a_trace(client: httpx.AsyncClient, age: int) -> None:
    """A span that comes late and begins earlier, in other five minutes, counts nothing twice."""
    start = PAST_US + age * BUCKET_US
    child, parent = call(1, start + 5, "web", "db"), call(1, start - 5, "app", "web")
    for span in parent:
        span["id"] = span_id(7)
    for span in child:
        span["parentId"] = span_id(7)
    asked = start // 1000 + 300_000, 1_200_000
    await client.post("/api/v2/spans", json=child)
    assert await links(client, *asked) == {"web>db": 1}
    await client.post("/api/v2/spans", json=parent)
    assert await links(client, *asked) == {"app>web": 1, "web>db": 1}


async def test_many_spans_are_linked_in_parts(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five minutes with more spans than fit into memory at once are linked trace by trace."""
    monkeypatch.setattr(dependencies, "_SPANS_MOST", 3)
    for trace in range(1, 9):
        at = PAST_US + trace * 70_000_000  # over two five minutes
        await client.post("/api/v2/spans", json=call(trace, at, "web", "db", 250_000_000))
    for since in (0, 1_000, 130_000, 299_000):  # edges of part of five minutes, too
        asked = PAST_US // 1000 + 900_000, 900_000 - since
        assert await links(client, *asked) == {"web>db": 8}
    assert await links(client, PAST_US // 1000 + 150_000, 100_000) == {"web>db": 2}


async def test_linking_without_end_is_refused(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range that takes too long to link says so; what was linked by then need not be again."""
    await client.post("/api/v2/spans", json=call(1, PAST_US + 5, "web", "db"))
    monkeypatch.setattr(dependencies, "_LINKING_MOST", -1.0)
    with pytest.raises(StoreLimit, match="ask again, or for less time"):
        await links(client, PAST_US // 1000 + 600_000, 900_000)


@pytest.fixture
def nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """As beside a ClickHouse server: no young links in memory."""
    monkeypatch.setattr(YoungLinks, "of", lambda server: None)


async def test_a_range_ends_before_what_cannot_be_linked_in_time(
    nothing_held: None, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where very much came lately the answer is of the time before, and says so."""
    monkeypatch.setattr(dependencies, "_SPANS_WAITED", 3)
    now_us = PAST_US + 100 * BUCKET_US
    monkeypatch.setattr(dependencies, "now_ms", lambda: now_us // 1000 + 200_000)
    await client.post("/api/v2/spans", json=call(1, PAST_US + 5, "web", "db"))
    await client.post("/api/v2/spans", json=call(2, now_us + 5, "web", "db"))
    asked = {"endTs": now_us // 1000 + 200_000, "lookback": 100 * 300_000 + 200_000}
    answer = await client.get("/api/v2/dependencies", params=asked)
    assert [link["callCount"] for link in answer.json()] == [2]
    assert "X-Lookout-Linked" not in answer.headers
    await client.post("/api/v2/spans", json=call(3, now_us + 5, "web", "db"))
    answer = await client.get("/api/v2/dependencies", params=asked)
    assert [link["callCount"] for link in answer.json()] == [1]
    assert answer.headers["X-Lookout-Linked"] == f"{PAST_US // 1000}-{now_us // 1000 - 1}"
    with pytest.raises(StoreLimit, match="range that begins earlier"):
        await links(client, asked["endTs"], 1000)


async def test_partial_buckets_with_too_many_spans_are_left_off(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range that begins or ends within five minutes of very much is one of whole ones."""
    monkeypatch.setattr(dependencies, "_SPANS_EDGES", 3)
    for trace, at in enumerate((5, 7, BUCKET_US + 5), 1):
        await client.post("/api/v2/spans", json=call(trace, PAST_US + at, f"s{trace}", "db"))
    begin_ms = PAST_US // 1000
    end_ms = begin_ms + 600_000 - 1
    assert set(await links(client, end_ms, 600_000 - 1)) == {"s1>db", "s2>db", "s3>db"}
    asked = {"endTs": end_ms, "lookback": 600_000 - 2}
    answer = await client.get("/api/v2/dependencies", params=asked)
    assert [link["parent"] for link in answer.json()] == ["s3"]
    assert answer.headers["X-Lookout-Linked"] == f"{begin_ms + 300_000}-{end_ms}"
    asked = {"endTs": begin_ms + 200_000, "lookback": 500_000}  # and at its end
    answer = await client.get("/api/v2/dependencies", params=asked)
    assert answer.json() == []
    assert answer.headers["X-Lookout-Linked"] == f"{begin_ms - 300_000}-{begin_ms - 1}"


@pytest.mark.parametrize("most", [3, 400_000], ids=["in parts", "at once"])
async def test_traces_that_cross_the_beginning_count_however_many_spans_are_around(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """They are looked for in parts, and linked in parts; the answer is of the whole range."""
    for name in ("_SPANS_MOST", "_LOOKED_AT_ONCE", "_FOLDS_MOST"):
        monkeypatch.setattr(dependencies, name, most)
    monkeypatch.setattr(dependencies, "_SPANS_WAITED", 3)
    begin_ms = PAST_US // 1000
    for trace in range(1, 21):
        long = 20_000_000 if trace <= 10 else 10
        spans = call(trace, PAST_US - 10_000_000 - trace * 1000, "web", "db", long)
        await client.post("/api/v2/spans", json=spans)
    for trace in range(21, 31):
        await client.post("/api/v2/spans", json=call(trace, PAST_US + trace, "db", "disk"))
    asked = {"endTs": begin_ms + 600_000 - 1, "lookback": 600_000 - 1}
    answer = await client.get("/api/v2/dependencies", params=asked)
    assert {(link["parent"], link["callCount"]) for link in answer.json()} == {
        ("web", 10), ("db", 10),
    }  # fmt: skip
    assert "X-Lookout-Linked" not in answer.headers
    later = {**asked, "lookback": asked["lookback"] - 9_991}  # one of them has ended
    answer = await client.get("/api/v2/dependencies", params=later)
    assert ("web", 9) in {(link["parent"], link["callCount"]) for link in answer.json()}


async def test_how_far_traces_are_followed_over_a_beginning_is_bounded_and_said(
    client: httpx.AsyncClient, store: EmbeddedStore, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where very much is around the beginning the header tells what is left out."""
    for trace, (before, after) in enumerate(((10, 10), (700, 10), (10, 700), (3000, 2000)), 1):
        length = (before + after) * 1_000_000
        spans = call(trace, PAST_US - before * 1_000_000, f"s{trace}", "x", length)
        await client.post("/api/v2/spans", json=spans)
    asked = {"endTs": PAST_US // 1000 + 3_600_000, "lookback": 3_600_000}
    bounds = (6, "123", 1_200_000), (4, "1", 300_000), (8, "1234", 0)
    for name in ("_LOOKED_MOST", "_CROSSING_MOST"):
        for most, callers, crossing in bounds:
            monkeypatch.setattr(dependencies, name, most)
            async with opened(store, tenant) as another:
                answer = await another.get("/api/v2/dependencies", params=asked)
            assert {link["parent"] for link in answer.json()} == {f"s{n}" for n in callers}
            linked = answer.headers.get("X-Lookout-Linked", "").partition("; ")[2]
            assert linked == (f"crossing={crossing}" if crossing else "")


async def test_a_range_may_begin_where_nothing_came_beside_very_much(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five minutes without a span, with more around than is linked at once, fail no question."""
    monkeypatch.setattr(dependencies, "_SPANS_MOST", 3)
    monkeypatch.setattr(dependencies, "_LOOKED_AT_ONCE", 3)
    for trace in range(1, 5):
        for at, name in ((-2, "before"), (2, "after")):
            spans = call(trace + 10 * at + 50, PAST_US + at * BUCKET_US + trace, name, "db")
            await client.post("/api/v2/spans", json=spans)
    assert await links(client, PAST_US // 1000 + 1_200_000, 1_200_000 - 5) == {"after>db": 4}


async def test_a_time_without_spans_is_one_part(store: EmbeddedStore, tenant: str) -> None:
    """What is divided may hold nothing by now: it is read whole, which fails no question."""
    asked = Dependencies(PlainCollector(store, load()), tenant, Explanation(), LinkCache())
    assert await asked._ranges({"c0": 1, "c1": 1}, 3) == [(0, 2**32 - 1)]


async def test_days_before_are_linked_unasked(
    client: httpx.AsyncClient, store: EmbeddedStore, tenant: str
) -> None:
    """Spans of days ago, and those that join them late, have their links stored by themselves."""
    hour = PAST_US // (12 * BUCKET_US) - 30
    begin_us = hour * 12 * BUCKET_US
    keeper = LinkKeeper(PlainCollector(store, load()))
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    for calls in (1, 2):
        await client.post("/api/v2/spans", json=call(calls, begin_us + 5, "web", "db"))
        await keeper.settle_days(pause)
        (row,) = _hours(store, tenant)
        assert (row["hour"], row["spans"], row["calls"]) == (hour, 2 * calls, [calls])
        rounds = len(paused)
        await keeper.settle_days(pause)
        assert len(paused) == rounds > 0


async def test_the_last_hours_do_not_wait_for_days_before(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long linking days takes, the links of the last hours are stored meanwhile."""
    monkeypatch.setattr(link_keeper, "_EVERY_S", 0.001)
    monkeypatch.setattr(link_keeper, "_DAYS_EVERY_S", 0.001)
    keeper = LinkKeeper(PlainCollector(store, load()))
    begun = asyncio.Event()
    again = asyncio.Event()

    async def days() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def last_hours() -> None:
        if begun.is_set():
            again.set()

    monkeypatch.setattr(keeper, "settle_days", days)
    monkeypatch.setattr(keeper, "settle", last_hours)
    await keeper.start()
    await asyncio.wait_for(again.wait(), 10)
    await keeper.stop()


async def test_an_hour_that_fails_leaves_the_others(
    client: httpx.AsyncClient,
    store: EmbeddedStore,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An hour that cannot be linked is told of and tried again; older ones are stored."""
    hour = PAST_US // (12 * BUCKET_US) - 30
    for number in (0, 4):
        at_us = (hour + number) * 12 * BUCKET_US + 5
        await client.post("/api/v2/spans", json=call(number + 1, at_us, "web", "db"))
    keeper = LinkKeeper(PlainCollector(store, load()))
    real = Dependencies.settle

    async def failing(self: Dependencies, since_ms: int, until_ms: int) -> None:
        if since_ms == (hour + 4) * 3_600_000:
            raise StoreError("no such thing", 70)
        await real(self, since_ms, until_ms)

    async def pause(seconds: float) -> None:
        pass

    with monkeypatch.context() as patched:
        patched.setattr(Dependencies, "settle", failing)
        await keeper.settle_days(pause)
    assert [row["hour"] for row in _hours(store, tenant)] == [hour]
    assert f"{tenant}, {(hour + 4) * 3_600_000}" in caplog.text
    await keeper.settle_days(pause)
    assert [row["hour"] for row in _hours(store, tenant)] == [hour, hour + 4]


@pytest.mark.parametrize("end_ms", [PAST_US // 1000 + 600_000, 2**63 - 1])
async def test_a_range_without_end_is_answered(client: httpx.AsyncClient, end_ms: int) -> None:
    """The longest range there is costs what is in it: nothing is gone through that has no spans."""
    await client.post("/api/v2/spans", json=call(1, PAST_US + 5, "web", "db"))
    assert await links(client, end_ms, 2**63 - 1) == {"web>db": 1}
    assert await links(client, 2**63 - 1, 1) == {}


@pytest.mark.parametrize("offset", [0, 1, 150_000_000, BUCKET_US - 1])
async def test_window_is_exact_at_its_edges(client: httpx.AsyncClient, offset: int) -> None:
    """A trace counts if any of its spans lies in the range, to the millisecond, and only once."""
    start = PAST_US + offset
    starts = (start - 500_000_000, start - 2_000, start, start + 700_000_000)
    for trace, at in enumerate(starts, 1):
        after_us = 600_000_000 if trace == 1 else 10
        await client.post("/api/v2/spans", json=call(trace, at, f"s{trace}", "x", after_us))
    begin_ms = -(-start // 1000)
    reaches_in = (start + 10) // 1000 >= begin_ms  # by its second span, if not by its first
    in_window = {"s1>x", "s4>x"} | ({"s3>x"} if reaches_in else set())
    assert set(await links(client, begin_ms + 800_000, 800_000)) == in_window
