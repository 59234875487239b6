"""Search in ClickHouse against a plain list of traces, page by page and by duration."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from lookout_server.config import load
from lookout_server.ingest.zipkin_json import read_spans
from lookout_server.query.zipkin import search
from lookout_server.query.zipkin.request import TRACES_MAX, parse_request, trace_timestamp
from lookout_server.query.zipkin.search import Page
from lookout_server.spans.model import Span
from lookout_server.store.embedded import EmbeddedStore

from .collector import PlainCollector

START_US = 1_700_006_400_000_000
END_MS = START_US // 1000 + 7_200_000
TRACES = 250
MANY_DIGITS = "9" * 5_000
NUMBERS = ("endTs", "lookback", "limit", "minDuration", "maxDuration")


def shop(chance: random.Random) -> list[dict[str, Any]]:
    """Spans of many traces over two hours, each of one to six spans a few seconds apart."""
    spans = []
    for number in range(1, TRACES + 1):
        begin = START_US + chance.randrange(7_000_000_000)
        for position in range(chance.randint(1, 6)):
            span: dict[str, Any] = {
                "traceId": f"{number * 7919:016x}",
                "id": f"{position + 1:x}",
                "name": chance.choice(["get", "put", "list"]),
                "duration": chance.randrange(1, 4) * 10 ** chance.randrange(2, 6),
                "localEndpoint": {"serviceName": chance.choice("abc")},
                "tags": {"k": chance.choice("xyz"), "user=id": str(chance.randrange(200))},
            }
            if position:
                span["parentId"] = f"{chance.randint(1, position):x}"
            if chance.random() < 0.9:
                span["timestamp"] = begin + position * chance.randrange(3_000_000)
            if chance.random() < 0.1:
                span["tags"]["error"] = ""
            if chance.random() < 0.3:
                span["annotations"] = [{"timestamp": begin, "value": chance.choice(["hit", "k"])}]
            if chance.random() < 0.4:
                span["remoteEndpoint"] = {"serviceName": chance.choice("bd")}
            spans.append(span)
    return spans


@pytest.fixture
async def client(store: EmbeddedStore, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(PlainCollector(store, load()).app())
    headers = {"X-Scope-OrgID": tenant}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://collector", headers=headers
    ) as opened:
        yield opened


def queries(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Combinations of every condition."""
    found = []
    for _ in range(count):
        choices: dict[str, Any] = {
            "serviceName": chance.choice("abcd"),
            "spanName": chance.choice(["get", "PUT", "all", "none"]),
            "remoteServiceName": chance.choice("bde"),
            "annotationQuery": chance.choice(
                ["k=x", "k", "error", "hit", "k=x and k=y", "user=id=7", "k=z and error", "nope"]
            ),
            "minDuration": 10 ** chance.randrange(2, 6),
        }
        query = {name: value for name, value in choices.items() if chance.random() < 0.3}
        if "minDuration" in query and chance.random() < 0.5:
            query["maxDuration"] = query["minDuration"] * 2
        query["limit"] = chance.choice([1, 3, 10, 1000])
        query["endTs"] = END_MS - chance.choice([0, 0, chance.randrange(6_000_000)])
        query["lookback"] = chance.choice([60_000, 900_000, 7_200_000, 86_400_000])
        found.append(query)
    return found


def expected(traces: Sequence[list[Span]], query: dict[str, Any]) -> list[tuple[int, str]]:
    """(timestamp, id) of all that match, most recent first."""
    parameters = {name: str(value) for name, value in query.items()}
    request = parse_request(parameters, now_ms=END_MS, default_lookback=86_400_000)
    keys = [(trace_timestamp(t), t[0].trace_id) for t in traces if request.matches(t)]
    return sorted(keys, reverse=True)


def keys_of(answer: list[list[dict[str, Any]]]) -> list[tuple[int, str]]:
    traces = [read_spans(json.dumps(trace).encode()) for trace in answer]
    return [(trace_timestamp(trace), trace[0].trace_id) for trace in traces]


async def posted(client: httpx.AsyncClient, chance: random.Random) -> list[list[Span]]:
    spans = shop(chance)
    for at in range(0, len(spans), 300):
        await client.post("/api/v2/spans", json=spans[at : at + 300])
    traces: dict[str, list[Span]] = {}
    for span in read_spans(json.dumps(spans).encode()):
        traces.setdefault(span.trace_id, []).append(span)
    return [sorted(t, key=lambda s: (s.timestamp, s.id)) for t in traces.values()]


@pytest.fixture(
    params=[(100_000, 500), (-1, 500), (-1, 0)], ids=["few later", "few crossing", "many crossing"]
)
def later(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came after a window is looked through in three ways, by how much of it there is."""
    for name, bound in zip(("_LATER_MOST", "_CROSSING_MOST"), request.param, strict=True):
        monkeypatch.setattr(search, name, bound)


async def test_search_finds_exactly_what_matches(client: httpx.AsyncClient, later: None) -> None:
    """For any combination of conditions the answer is the most recent traces that match."""
    chance = random.Random(11)
    traces = await posted(client, chance)
    for query in queries(chance, 50):
        answer = (await client.get("/api/v2/traces", params=query)).json()
        wanted = expected(traces, query)
        assert keys_of(answer) == wanted[: query["limit"]], query


@pytest.mark.parametrize("key", ["", "a\x1fb", "\\", "key", " "])
async def test_any_key_is_found(client: httpx.AsyncClient, key: str) -> None:
    """A tag is found by its key alone and with its value, whatever characters the key has."""
    span = {"traceId": "1", "id": "1", "timestamp": START_US, "tags": {key: "v", "other": "w"}}
    await client.post("/api/v2/spans", json=[span, span | {"traceId": "2", "tags": {"o": "v"}}])
    asked = key.strip()  # as Zipkin does; a key of spaces cannot be asked for
    for term in (asked or " ", f"{asked}=v"):
        query = {"annotationQuery": term, "endTs": END_MS}
        answer = (await client.get("/api/v2/traces", params=query)).json()
        found = [trace[0]["traceId"] for trace in answer]
        assert found == [f"{1:016x}"] * (asked == key), term


@pytest.mark.parametrize("limit", [1, 5, 30])
async def test_search_is_exact_where_much_came_after_the_window(
    client: httpx.AsyncClient, later: None, limit: int
) -> None:
    """A trace that matches by a span after the window counts, however many others are there."""
    end_us = END_MS * 1000
    spans = []
    for number in range(1, 601):
        # Before the window's end one in thirty matches, after it all do; some reach across it.
        begin = end_us - 3_000_000 + number * 10_000
        late = end_us + 5_000_000 if number % 40 == 7 else begin
        service = "a" if begin > end_us or number % 30 == 0 else "b"
        spans += [
            {"traceId": f"{number:x}", "id": "1", "timestamp": begin,
             "localEndpoint": {"serviceName": service}},
            {"traceId": f"{number:x}", "id": "2", "parentId": "1", "timestamp": late,
             "localEndpoint": {"serviceName": "a" if late > begin else "c"}},
        ]  # fmt: skip
    await client.post("/api/v2/spans", json=spans)
    traces: dict[str, list[Span]] = {}
    for span in read_spans(json.dumps(spans).encode()):
        traces.setdefault(span.trace_id, []).append(span)
    query = {"serviceName": "a", "limit": limit, "endTs": END_MS, "lookback": 2_500}
    answer = (await client.get("/api/v2/traces", params=query)).json()
    assert keys_of(answer) == expected([*traces.values()], query)[:limit]


async def test_search_gets_past_a_busy_second(client: httpx.AsyncClient) -> None:
    """More traces in one second than are read at once, none of which matches, end the search."""
    spans = [
        {
            "traceId": f"{number:x}",
            "id": "1",
            "timestamp": START_US,
            "duration": 1,
            "localEndpoint": {"serviceName": "busy"},
        }
        for number in range(1, 301)
    ]
    await client.post("/api/v2/spans", json=spans)
    query: dict[str, Any] = {
        "serviceName": "busy",
        "endTs": START_US // 1000 + 2_000,
        "lookback": 1,
        "limit": 3,
    }
    async with asyncio.timeout(20):
        assert (await client.get("/api/v2/traces", params=query)).json() == []


async def test_latest_traces_are_found_by_when_they_began(client: httpx.AsyncClient) -> None:
    """Of traces that all go on when the window ends, only those of the answer are read."""
    spans = []
    for number in range(1, 301):
        root = {"traceId": f"{number:x}", "id": "1", "timestamp": START_US + number * 1000}
        later = START_US + 10_000_000 - number * 1000
        spans += [root, root | {"id": "2", "parentId": "1", "timestamp": later}]
    await client.post("/api/v2/spans", json=spans)
    query = {"endTs": START_US // 1000 + 20_000, "lookback": 60_000, "limit": 3}
    answer = (await client.get("/api/v2/traces", params=query)).json()
    assert [int(trace[0]["traceId"], 16) for trace in answer] == [300, 299, 298]
    explained = (await client.get("/api/v2/traces", params=query | {"explain": "1"})).json()
    read = [stage["rows"] for stage in explained["stages"] if stage["stage"] == "read traces"]
    assert sum(read) <= 2 * 10


@pytest.mark.parametrize("sort", ["timestamp", "duration"])
async def test_pages_give_every_trace_once(client: httpx.AsyncClient, sort: str) -> None:
    """Following the cursor leads through all traces that match, in order, none twice."""
    chance = random.Random(12)
    traces = await posted(client, chance)
    query: dict[str, Any] = {"endTs": END_MS, "lookback": 7_200_000, "serviceName": "a"}
    wanted = [trace_id for _, trace_id in expected(traces, query | {"limit": 1000})]
    seen: list[tuple[int, str]] = []
    more: dict[str, str] = {}
    while True:
        parameters = query | {"limit": 20, "sort": sort} | more
        answer = await client.get("/api/v2/traces", params=parameters)
        for trace in answer.json():
            longest = max(s["duration"] for s in trace if s["localEndpoint"]["serviceName"] == "a")
            key = keys_of([trace])[0][0] if sort == "timestamp" else longest
            seen.append((key, trace[0]["traceId"]))
        cursor = answer.headers.get("X-Lookout-Next-Cursor")
        if cursor is None:
            break
        more = {"cursor": cursor}
    assert seen == sorted(seen, reverse=True)
    assert sorted(trace_id for _, trace_id in seen) == sorted(wanted)


async def test_a_page_by_duration_reads_no_other_traces(client: httpx.AsyncClient) -> None:
    """Wherever a page begins, whole traces are read for it alone, not for those before."""
    spans = [
        {"traceId": f"{n:x}", "id": "1", "timestamp": START_US + n, "duration": n}
        for n in range(1, 201)
    ]
    await client.post("/api/v2/spans", json=spans)
    query: dict[str, Any] = {"endTs": END_MS, "lookback": 7_200_000, "sort": "duration", "limit": 5}
    for page in range(12):
        explained = (await client.get("/api/v2/traces", params=query | {"explain": 1})).json()
        read = sum(s["rows"] for s in explained["stages"] if s["stage"] == "read traces")
        assert read <= 30, explained
        answer = await client.get("/api/v2/traces", params=query)
        longest = 200 - page * 5
        durations = [trace[0]["duration"] for trace in answer.json()]
        assert durations == list(range(longest, longest - 5, -1))
        query["cursor"] = answer.headers["X-Lookout-Next-Cursor"]


async def test_explain_names_the_stages(client: httpx.AsyncClient) -> None:
    """explain=1 answers with the SQL, rows and time of each stage instead of the result."""
    await client.post("/api/v2/spans", json=shop(random.Random(1))[:20])
    for path in ("traces", "services", f"dependencies?endTs={END_MS}", f"trace/{7919:016x}"):
        mark = "&" if "?" in path else "?"
        explained = (await client.get(f"/api/v2/{path}{mark}explain=1&endTs={END_MS}")).json()
        stages = explained["stages"]
        assert stages and all("milliseconds" in stage for stage in stages), path
        assert any("SELECT" in stage.get("sql", "") for stage in stages), path


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("endTs=0", "endTs <= 0"),
        ("lookback=0", "lookback <= 0"),
        ("limit=0", "limit <= 0"),
        ("minDuration=0", "minDuration <= 0"),
        ("minDuration=5&maxDuration=4", "maxDuration < minDuration"),
        ("maxDuration=4", "maxDuration is only valid with minDuration"),
        ("limit=abc", 'For input string: "abc"'),
        ("limit=99999999999", 'For input string: "99999999999"'),
        ("sort=name", "sort is 'name', expected timestamp or duration"),
        ("cursor=!", "cursor '!' is none that this API gave out"),
        *(
            pytest.param(
                f"{name}={MANY_DIGITS}", f'For input string: "{MANY_DIGITS}"', id=f"endless {name}"
            )
            for name in NUMBERS
        ),
    ],
)
async def test_refuses_bad_parameters(client: httpx.AsyncClient, query: str, text: str) -> None:
    """Each rule of the parameters is answered in Zipkin's words; ours name what was expected."""
    answer = await client.get(f"/api/v2/traces?{query}")
    assert (answer.status_code, answer.text) == (400, text)


@pytest.mark.parametrize("sort", ["timestamp", "duration"])
@pytest.mark.parametrize(
    "value", [2**63, -1, -(2**64), 10**4000], ids=["over", "negative", "under", "long"]
)
async def test_refuses_forged_cursors(client: httpx.AsyncClient, sort: str, value: int) -> None:
    """A cursor whose value no trace can have is refused as one that is no cursor at all."""
    cursor = Page(value, f"{1:016x}").cursor()
    answer = await client.get("/api/v2/traces", params={"sort": sort, "cursor": cursor})
    text = f"cursor {cursor!r} is none that this API gave out"
    assert (answer.status_code, answer.text) == (400, text)


@pytest.mark.parametrize("sort", ["timestamp", "duration"])
@pytest.mark.parametrize("value", [0, 2**63 - 1])
async def test_takes_cursors_at_the_ends(client: httpx.AsyncClient, sort: str, value: int) -> None:
    """The least and the greatest value that a trace can have are answered."""
    cursor = Page(value, f"{1:016x}").cursor()
    answer = await client.get("/api/v2/traces", params={"sort": sort, "cursor": cursor})
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize("name", ["endTs", "lookback"])
async def test_refuses_dependencies_of_endless_numbers(
    client: httpx.AsyncClient, name: str
) -> None:
    """A number of more digits than Python reads is malformed, not an error of ours."""
    parameters = {"endTs": str(END_MS), name: MANY_DIGITS}
    answer = await client.get("/api/v2/dependencies", params=parameters)
    assert (answer.status_code, answer.text) == (400, f'For input string: "{MANY_DIGITS}"')


def test_one_answer_is_bounded() -> None:
    """A limit beyond what one answer holds asks for as much as it holds."""
    asked = parse_request({"limit": "2147483647"}, now_ms=END_MS, default_lookback=1000)
    assert asked.limit == TRACES_MAX
