"""Links of the last hours that are held in memory: those of what is stored, whatever comes."""

from __future__ import annotations

import random
import time
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from lookout_server.config import load
from lookout_server.query.explain import Explanation
from lookout_server.query.zipkin import dependencies, young_links, young_tenant
from lookout_server.query.zipkin.dependencies import Dependencies
from lookout_server.query.zipkin.link_cache import LinkCache
from lookout_server.query.zipkin.young_links import YoungLinks
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.port import StoreError

from .collector import PlainCollector

KINDS = ["CLIENT", "SERVER", "PRODUCER", "CONSUMER", None]
HOUR_MS = 3_600_000
Links = dict[tuple[str, str], tuple[int, int]]


class Collectors:
    """One that holds young links, and answers without."""

    def __init__(self, store: EmbeddedStore, tenant: str) -> None:
        self._store, self._tenant = store, tenant
        self.start()

    def start(self) -> None:
        """Begin anew, as after a restart."""
        self.holding = PlainCollector(self._store, load())
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.holding.app()),
            base_url="http://collector",
            headers={"X-Scope-OrgID": self._tenant},
        )
        young = YoungLinks.of(self.holding)
        assert young is not None
        self.young = young

    async def send(self, spans: list[dict[str, Any]]) -> None:
        assert (await self._client.post("/api/v2/spans", json=spans)).status_code == 202

    async def held(self, end_ms: int, lookback_ms: int = HOUR_MS) -> Links:
        asked = {"endTs": end_ms, "lookback": lookback_ms}
        answer = await self._client.get("/api/v2/dependencies", params=asked)
        assert answer.status_code == 200, answer.text
        assert "X-Lookout-Linked" not in answer.headers
        return {
            (link["parent"], link["child"]): (link["callCount"], link.get("errorCount", 0))
            for link in answer.json()
        }

    async def linked(self, end_ms: int, lookback_ms: int = HOUR_MS) -> Links:
        """The links of what is stored, with nothing remembered."""
        server = PlainCollector(self._store, load())
        asked = Dependencies(server, self._tenant, Explanation(), LinkCache())
        links = (await asked.between(end_ms - lookback_ms, end_ms)).links
        return {
            (link["parent"], link["child"]): (link["callCount"], link.get("errorCount", 0))
            for link in orjson.loads(links.json())
        }  # type: ignore[misc]


@pytest.fixture
def collectors(store: EmbeddedStore, tenant: str) -> Collectors:
    return Collectors(store, tenant)


@pytest.fixture
def nothing_linked_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No question may link a young span: a range that needs it would be cut."""
    monkeypatch.setattr(dependencies, "_SPANS_WAITED", 0)


def now_us() -> int:
    return time.time_ns() // 1000


def any_spans(chance: random.Random, count: int, traces: int) -> list[dict[str, Any]]:
    """Spans of the last twenty minutes, of traces that others of their spans may have come for."""
    begun = now_us()
    places = [
        (chance.randrange(1, traces + 1), chance.randrange(1, 12), chance.random() < 0.2)
        for _ in range(count)
    ]
    return [_span(traces, *place, begun) for place in places]


def _span(traces: int, trace: int, number: int, shared: bool, now: int) -> dict[str, Any]:
    """The one there is at a place in a trace: what it is linked to hangs on no order."""
    chance = random.Random(f"{trace} {number} {shared}")
    other = random.Random(f"{trace} {number}")
    parent = other.randrange(1, number) if number > 1 else 0
    # A trace has its time, and some spans lie far from it.
    age_us = trace * 1_100_000_000 // traces + chance.choice([0, 0, 0, 1, 400_000_000])
    kind = chance.choice(KINDS)
    return {
        "traceId": f"{trace:032x}",
        "id": f"{number:016x}",
        **({"parentId": f"{parent:016x}"} if parent else {}),
        **({"kind": kind} if kind else {}),
        **({"timestamp": now - age_us} if chance.random() < 0.9 else {}),
        "localEndpoint": {"serviceName": chance.choice("abc"), "port": 1},
        **({"remoteEndpoint": {"serviceName": "d"}} if chance.random() < 0.3 else {}),
        **({"tags": {"error": ""}} if chance.random() < 0.1 else {}),
        "shared": shared and number > 1,
    }


@pytest.mark.parametrize("quiet_s", [-1.0, 0.05, 600.0], ids=["closed at once", "some", "open"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_equal_to_what_is_linked_from_the_store(
    collectors: Collectors,
    monkeypatch: pytest.MonkeyPatch,
    nothing_linked_on_demand: None,
    seed: int,
    quiet_s: float,
) -> None:
    """Spans of traces come in many batches, in any order and late: each answer is the linker's."""
    monkeypatch.setattr(young_links, "_QUIET_S", quiet_s)
    chance = random.Random(seed)
    for _ in range(12):
        await collectors.send(any_spans(chance, chance.randrange(1, 60), 30))
        end_ms = now_us() // 1000
        held = await collectors.held(end_ms)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dependencies, "_SPANS_WAITED", 1_000_000)
            assert held == await collectors.linked(end_ms)
        if chance.random() < 0.5:
            collectors.young.link()


async def test_a_range_that_ended_is_what_is_stored_whatever_comes_after(
    collectors: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of its last five minutes is true until one of its traces goes on."""
    monkeypatch.setattr(young_links, "_QUIET_S", -1.0)
    chance = random.Random(8)
    ends = [now_us() // 1000 - ago_ms for ago_ms in (20_000, 200_000)]
    for _ in range(6):
        await collectors.send(any_spans(chance, 9, 90))
        for end_ms in ends:
            assert await collectors.held(end_ms) == await collectors.linked(end_ms)


async def test_what_comes_after_a_range_has_nothing_read_again(
    collectors: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the five minutes it ends in, until a trace that began by then has more spans."""
    monkeypatch.setattr(young_links, "_QUIET_S", -1.0)
    begun = now_us() // 300_000_000 * 300_000_000
    end_ms = begun // 1000 + 10

    def calls(trace: int, number: int, at_ms: int) -> list[dict[str, Any]]:
        local = {"serviceName": f"s{number}"}
        return [
            {"traceId": f"{trace:016x}", "id": f"{number:016x}", "kind": "CLIENT",
             "timestamp": begun + at_ms * 1000, "localEndpoint": local,
             "remoteEndpoint": {"serviceName": "d"}}
        ]  # fmt: skip

    read: list[str] = []
    real = Dependencies._read

    async def spied(self: Dependencies, sql: str, parameters: Any) -> Any:
        if self._young is not None:
            read.append(sql)
        return await real(self, sql, parameters)

    await collectors.send([*calls(1, 1, 5), *calls(2, 2, 20)])
    expected = {("s1", "d"): (1, 0)}
    assert await collectors.held(end_ms) == expected
    monkeypatch.setattr(Dependencies, "_read", spied)
    for trace in range(3, 6):
        await collectors.send(calls(trace, 3, 10 + trace))
        assert await collectors.held(end_ms) == expected
    assert not read
    for number, later in enumerate([calls(1, 4, 30), calls(5, 5, 10)], 1):
        await collectors.send(later)
        held = await collectors.held(end_ms)
        assert len(held) > len(expected)
        assert held == await collectors.linked(end_ms)
        assert len(read) == number
        expected = held


async def test_a_start_reads_the_last_hours(
    collectors: Collectors, nothing_linked_on_demand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first batch after it: traces that go on over a restart are linked as one."""
    monkeypatch.setattr(young_links, "_QUIET_S", -1.0)
    monkeypatch.setattr(young_links, "_AT_ONCE", 40)
    chance = random.Random(3)
    for _ in range(3):
        await collectors.send(any_spans(chance, 50, 30))
        collectors.start()
    await collectors.send(any_spans(chance, 50, 30))
    end_ms = now_us() // 1000
    held = await collectors.held(end_ms)
    monkeypatch.setattr(dependencies, "_SPANS_WAITED", 1_000_000)
    assert held == await collectors.linked(end_ms)


@pytest.mark.parametrize(
    "bound",
    [
        "_OPEN_MOST",
        "_WAITING_MOST",
        "_CLOSED_MOST",
        "_BEGIN_MOST",
        "_LATE_MOST",
        "_LATE_SPANS_MOST",
        "_TRACE_MOST",
    ],
)
async def test_bounds_cost_no_truth(
    collectors: Collectors, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Beyond each bound less is held, and the rest is linked by the question."""
    monkeypatch.setattr(young_links, bound, 3)
    monkeypatch.setattr(young_links, "_QUIET_S", -1.0)
    chance = random.Random(4)
    for _ in range(6):
        await collectors.send(any_spans(chance, 40, 30))
        if chance.random() < 0.5:
            collectors.young.link()
        if chance.random() < 0.3:
            collectors.start()
        end_ms = now_us() // 1000
        assert await collectors.held(end_ms) == await collectors.linked(end_ms)


async def test_a_store_that_fails_is_no_trouble_of_the_writer(
    collectors: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be read is not held; the batch is stored, and holding begins anew."""
    monkeypatch.setattr(young_links, "_QUIET_S", -1.0)
    chance = random.Random(5)
    await collectors.send(any_spans(chance, 40, 9))
    collectors.young.link()

    def failing(*_: Any) -> Any:
        raise StoreError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(collectors.young, "_fetch", failing)
        for _ in range(2):
            await collectors.send(any_spans(chance, 40, 9))
    for _ in range(2):
        end_ms = now_us() // 1000
        assert await collectors.held(end_ms) == await collectors.linked(end_ms)
        await collectors.send(any_spans(chance, 40, 9))


async def test_a_range_may_end_a_moment_ago(
    collectors: Collectors, nothing_linked_on_demand: None
) -> None:
    """Of open traces those count that began by then."""
    begun = now_us() // 300_000_000 * 300_000_000
    chance = random.Random(6)
    spans = any_spans(chance, 60, 30)
    for number, span in enumerate(spans):
        span["timestamp"] = begun + number * 1000
    await collectors.send(spans)
    for end_ms in (begun // 1000 + 20, begun // 1000 + 41):
        held = await collectors.held(end_ms)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dependencies, "_SPANS_WAITED", 1_000_000)
            assert held == await collectors.linked(end_ms)


async def test_tenants_are_held_apart_and_within_bounds(
    store: EmbeddedStore, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound nobody is held in place of one that is heard of."""
    monkeypatch.setattr(young_links, "_TENANTS_MOST", 2)
    others = [Collectors(store, f"{tenant}-{number}") for number in range(3)]
    for other in others[1:]:  # one collector for all of them
        other.young = others[0].young
        other._client._transport = others[0]._client._transport
    chance = random.Random(7)
    for _ in range(3):
        for other in others:
            await other.send(any_spans(chance, 20, 9))
            end_ms = now_us() // 1000
            assert await other.held(end_ms) == await other.linked(end_ms)
    assert len(others[0].young._tenants) == 2


def test_what_is_looked_for_in_sorted_ids_is_found() -> None:
    """Also where there are none, and beyond the last."""
    part = np.array([2, 5, 9], np.uint32)
    folds = np.array([0, 2, 5, 9, 10], np.uint32)
    assert young_tenant.among(folds, part).tolist() == [False, True, True, True, False]
    assert not young_tenant.among(folds, part[:0]).any()
