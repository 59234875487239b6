"""Counts of spans that are remembered are those that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from lookout_server.config import load
from lookout_server.query.explain import Explanation
from lookout_server.query.zipkin import count_memory
from lookout_server.query.zipkin.count_memory import CountMemory
from lookout_server.query.zipkin.link_store import LinkStore
from lookout_server.spans.news import News
from lookout_server.store.embedded import EmbeddedStore

from .collector import PlainCollector


def news(**buckets: Mapping[int, int]) -> Iterator[News]:
    """A batch that has so many spans by tenant and five minutes."""
    yield News(np.empty(0, np.uint32), frozenset(), buckets, pa.table({}), pa.table({}))


def test_stored_batches_are_counted_by_tenant_and_time() -> None:
    """What comes is added, of each tenant by itself; a range has its own five minutes alone."""
    memory = CountMemory()
    memory.keep("t", 5, {5: 1, 7: 2}, memory.number())
    memory.keep("u", 5, {}, memory.number())
    memory.stored(news(t={4: 9, 7: 3, 8: 1}, u={6: 1}, v={6: 1}))
    assert memory.counts("t", 5, 9) == {5: 1, 7: 5, 8: 1}
    assert memory.counts("t", 7, 7) == {7: 5}
    assert memory.counts("u", 5, 9) == {6: 1}
    assert memory.counts("t", 4, 9) is None  # nobody has read those before
    assert memory.counts("v", 6, 6) is None


def test_what_was_stored_while_it_was_read_is_not_guessed() -> None:
    """A batch may be among what was read, or not: that is not kept."""
    memory = CountMemory()
    number = memory.number()
    memory.stored(news(t={5: 1}))
    memory.keep("t", 5, {5: 1}, number)
    assert memory.counts("t", 5, 5) is None


def test_what_is_read_while_a_batch_is_stored_is_not_guessed() -> None:
    """Its counts can be read before it is told that they can: it would be counted twice."""
    memory = CountMemory()
    (batch,) = news(t={5: 1})
    memory.underway(batch)
    memory.keep("t", 5, {5: 1}, memory.number())
    memory.stored([batch])
    assert memory.counts("t", 5, 5) is None
    memory.keep("t", 5, {5: 1}, memory.number())
    assert memory.counts("t", 5, 5) == {5: 1}


def test_a_batch_that_was_stored_in_pieces_is_not_counted_twice() -> None:
    """After it was forgotten what is read may have some of it already."""
    memory = CountMemory()
    memory.keep("t", 5, {5: 1}, memory.number())
    memory.forget()
    assert memory.counts("t", 5, 5) is None
    memory.keep("t", 5, {5: 2}, memory.number())
    memory.stored(news(t={5: 1}))
    assert memory.counts("t", 5, 5) is None
    memory.keep("t", 5, {5: 2}, memory.number())
    memory.stored(news(t={5: 1}))
    assert memory.counts("t", 5, 5) == {5: 3}


def test_counts_are_bounded_in_number_and_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tenants least recently asked for make room, one with too much is not kept."""
    monkeypatch.setattr(count_memory, "_BUCKETS_MOST", 8)
    now = 0.0
    memory = CountMemory(lambda: now)
    memory.keep("huge", 0, dict.fromkeys(range(5), 1), memory.number())
    assert memory.counts("huge", 0, 9) is None
    for tenant in "tuvwx":
        memory.keep(tenant, 0, {1: 1, 2: 1}, memory.number())
        assert memory.counts("t", 0, 9) == {1: 1, 2: 1}
    assert [memory.counts(tenant, 0, 9) is None for tenant in "uvwx"] == [True, False, False, False]
    memory.stored(news(t={3: 1, 4: 1, 5: 1}))
    assert memory.counts("t", 0, 9) is None
    now = count_memory._AGE_S + 1
    assert memory.counts("x", 0, 9) is None


def test_tenants_without_spans_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for tenants that are none does not fill the memory."""
    monkeypatch.setattr(count_memory, "_TENANTS_MOST", 2)
    memory = CountMemory()
    for tenant in "tuv":
        memory.keep(tenant, 0, {}, memory.number())
    assert [memory.counts(tenant, 0, 9) for tenant in "tuv"] == [None, {}, {}]


async def test_counts_in_memory_are_those_of_the_store(store: EmbeddedStore, tenant: str) -> None:
    """However they come, before and after they are read, and for earlier times than those."""
    collector = PlainCollector(store, load())
    memory = CountMemory.of(collector)
    assert memory is not None
    headers = {"X-Scope-OrgID": tenant}
    transport = httpx.ASGITransport(collector.app())
    client = httpx.AsyncClient(transport=transport, base_url="http://collector", headers=headers)

    async def counted(first: int, last: int, known: CountMemory | None) -> dict[int, int]:
        return await LinkStore(collector, tenant, Explanation(), known).counts(first, last)

    for number in range(6):
        bucket = 5_000_000 + 300 * (5 - number)  # each a day earlier
        spans: list[dict[str, Any]] = [
            {"traceId": f"{place + 1:016x}", "id": f"{number + 1:016x}",
             "timestamp": (bucket + place) * 300_000_000}
            for place in (0, 0, 1, 700)
        ]  # fmt: skip
        assert (await client.post("/api/v2/spans", json=spans)).status_code == 202
        for first, last in ((bucket, 2**32), (bucket - 1, bucket + 1), (bucket + 1, bucket)):
            expected = await counted(first, last, None)
            assert await counted(first, last, memory) == expected
            assert await counted(first, last, memory) == expected
            assert list(expected) == sorted(expected)
    assert memory.counts(tenant, bucket, bucket) == {bucket: 2}
