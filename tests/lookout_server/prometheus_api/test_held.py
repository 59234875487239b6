"""Samples kept in memory are never other ones than those stored."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lookout_server.metrics.catalog import Catalog
from lookout_server.metrics.freshness import Freshness
from lookout_server.metrics.rows import MetricRows
from lookout_server.query.prometheus.errors import TooManySamples
from lookout_server.query.prometheus.held import HeldSamples, between, joined
from lookout_server.query.prometheus.matchers import Matcher, MatchType
from lookout_server.query.prometheus.source import (
    MemorySeries,
    SelectHints,
    SeriesBlock,
    block_of,
    labels_of,
)
from lookout_server.query.prometheus.storage import ClickHouseSource
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.port import StoreError

from .collector import PlainCollector
from .test_api import NOW, data, write

_ALL = [Matcher(MatchType.EQUAL, "__name__", "m")]
_NEVER_READ = pytest.fail


def contents(block: SeriesBlock) -> dict[object, list[tuple[int, float]]]:
    """Series and their samples."""
    found = {}
    for row, labels in enumerate(block.labels):
        cut = slice(int(block.offsets[row]), int(block.offsets[row + 1]))
        pairs = zip(block.timestamps[cut].tolist(), block.values[cut].tolist(), strict=True)
        found[labels] = list(pairs)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_written_between_queries_is_seen(
    client: TestClient, collector: PlainCollector, store: EmbeddedStore, tenant: str, seed: int
) -> None:
    """New, late and replaced samples and new series, between queries of all kinds of windows."""
    chance = random.Random(seed)
    held = HeldSamples(collector.signal.freshness, 1_000_000)
    fresh, kept = (
        ClickHouseSource(store, Catalog(store), tenant, held=one) for one in (None, held)
    )
    now = NOW
    for _ in range(25):
        now += chance.choice((0, 15_000, 60_000))
        for _ in range(chance.randrange(3)):
            late = chance.choice((0, 0, 0, 15_000, 600_000))
            labels = {"__name__": "m", "l": chance.choice("abcd")}
            write(client, (labels, [(now - late, chance.random())]))
        start = now - chance.choice((0, 60_000, 300_000, 900_000))
        end = now - chance.choice((-60_000, 0, 0, 30_000))
        expected = fresh.select(_ALL, start, end, SelectHints())
        found = kept.select(_ALL, start, end, SelectHints())
        assert contents(found) == contents(expected)


def test_tenants_see_their_own(client: TestClient, tenant: str) -> None:
    """Series of the same labels, and so the same ids, are not those of another tenant."""
    for name, value in ((tenant, "1"), (f"{tenant}-other", "2")):
        client.headers["X-Scope-OrgID"] = name
        write(client, ({"__name__": "m"}, [(NOW, float(value))]))
    for _ in range(2):
        for name, value in ((tenant, "1"), (f"{tenant}-other", "2")):
            client.headers["X-Scope-OrgID"] = name
            [found] = data(client, "query", query="m", time=NOW / 1000)["result"]
            assert found["value"][1] == value


def test_what_retention_deletes_is_gone_in_time(
    client: TestClient, collector: PlainCollector, store: EmbeddedStore, tenant: str
) -> None:
    """What the database has dropped by itself is held for ten minutes at most."""
    write(client, ({"__name__": "m"}, [(NOW, 1.0)]))
    now = [0.0]
    held = HeldSamples(collector.signal.freshness, 1_000_000, lambda: now[0])
    source = ClickHouseSource(store, Catalog(store), tenant, held=held)
    assert len(source.select(_ALL, NOW, NOW, SelectHints())) == 1
    store.execute(
        f"ALTER TABLE samples DELETE WHERE tenant = '{tenant}' SETTINGS mutations_sync = 1"
    )
    now[0] = 599.0
    assert len(source.select(_ALL, NOW, NOW, SelectHints())) == 1
    now[0] = 601.0
    assert len(source.select(_ALL, NOW, NOW, SelectHints())) == 0


def test_deleted_series_are_gone(client: TestClient) -> None:
    """A query after a deletion answers nothing of it, although it was held."""
    write(client, ({"__name__": "m"}, [(NOW, 1.0)]))
    assert data(client, "query", query="m", time=NOW / 1000)["result"]
    answer = client.post("/api/v1/admin/tsdb/delete_series", params={"match[]": "m"})
    assert answer.status_code == 204
    assert data(client, "query", query="m", time=NOW / 1000)["result"] == []


def test_what_a_failed_deletion_deleted_is_gone(
    client: TestClient, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that fails half-way answers so, and what it did delete is answered no more."""
    write(client, ({"__name__": "m"}, [(NOW, 1.0)]), ({"__name__": "n"}, [(NOW, 2.0)]))
    for name in ("m", "n"):
        assert data(client, "query", query=name, time=NOW / 1000)["result"]
    execute = store.execute

    def until_series(statement: str) -> None:
        if statement.startswith("ALTER TABLE series"):
            raise StoreError("no space left", 243)
        execute(statement)

    monkeypatch.setattr(store, "execute", until_series)
    answer = client.post("/api/v1/admin/tsdb/delete_series", params={"match[]": ["m", "n"]})
    assert answer.status_code == 500
    assert data(client, "query", query="m", time=NOW / 1000)["result"] == []
    assert data(client, "query", query="n", time=NOW / 1000)["result"]


def _block(series: int, samples: int) -> SeriesBlock:
    times = np.arange(samples, dtype=np.int64)
    one = [
        MemorySeries(labels_of({"i": str(n)}), times, np.arange(samples) + 0.5)
        for n in range(series)
    ]
    return block_of(one)


def test_memory_is_bounded() -> None:
    """What was not asked for the longest goes first; what is too large is not held at all."""
    held = HeldSamples(Freshness(), 10_000 * 16)
    for name in ("a", "b", "c"):
        held.get((name, b""), 0, 10_000, lambda *_: _block(1, 4_000))
    held.get(("b", b""), 0, 10_000, lambda *_: _NEVER_READ("b is held"))
    held.get(("c", b""), 0, 10_000, lambda *_: _NEVER_READ("c is held"))
    read: list[tuple[int, int]] = []

    def large(start_ms: int, end_ms: int) -> SeriesBlock:
        read.append((start_ms, end_ms))
        return _block(1, 6_000)

    held.get(("a", b""), 0, 10_000, large)
    held.get(("a", b""), 0, 10_000, large)
    assert read == [(0, 10_000)] * 2


@pytest.mark.parametrize("ids", [1, 10_000])
def test_nothing_found_takes_room_too(ids: int) -> None:
    """Sets of series without a sample are bounded by the memory they really take."""
    held = HeldSamples(Freshness(), 1_000_000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(2_000):
        key = np.full(ids, number, dtype=np.uint64).tobytes()
        held.get(("t", key), 0, 100, lambda *_: _block(0, 0))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 500_000 < held.bytes <= 1_000_000
    assert after - before < 1_100_000


def test_what_is_of_age_makes_room() -> None:
    """What nobody may see any more does not stay in memory until others need the room."""
    now = [0.0]
    held = HeldSamples(Freshness(), 1_000_000, lambda: now[0])
    for number in range(10):
        held.get(("t", bytes([number])), 0, 100, lambda *_: _block(1, 100))
    of_ten = held.bytes
    now[0] = 601.0
    held.get(("t", b"new"), 0, 100, lambda *_: _block(1, 100))
    assert held.bytes < of_ten / 9


def test_limits_hold_for_what_is_held(
    client: TestClient, collector: PlainCollector, store: EmbeddedStore, tenant: str
) -> None:
    """A query may not hold more samples because they are in memory already."""
    write(client, ({"__name__": "m"}, [(NOW + at, 1.0) for at in range(50)]))
    held = HeldSamples(collector.signal.freshness, 1_000_000)
    source = ClickHouseSource(store, Catalog(store), tenant, held=held)
    source.select(_ALL, NOW, NOW + 100, SelectHints())
    with pytest.raises(TooManySamples):
        source.select(_ALL, NOW, NOW + 100, SelectHints(max_samples=49))


_TIMES = st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=1, max_size=5)


@given(_TIMES, st.integers(-1, 31), st.integers(-1, 31), st.integers(-1, 31))
def test_cut_and_joined_again_is_the_whole(
    times: list[set[int]], start: int, middle: int, end: int
) -> None:
    """Between two times lies what lies before and after any third."""
    start, middle, end = sorted((start, middle, end))
    series = [
        MemorySeries(labels_of({"i": str(n)}), np.array(sorted(one)), np.array(sorted(one)) * 2.0)
        for n, one in enumerate(times)
    ]
    whole = block_of(series)
    both = joined(between(whole, start, middle), between(whole, middle + 1, end))
    assert contents(both) == contents(between(whole, start, end))
    assert contents(both) == {
        labels_of({"i": str(n)}): [(t, t * 2.0) for t in sorted(one) if start <= t <= end]
        for n, one in enumerate(times)
        if any(start <= t <= end for t in one)
    }


def _rows(*times: int) -> list[MetricRows]:
    return [MetricRows("t", 0, timestamps=np.array(times, dtype=np.int64), values=np.zeros(1))]


@given(st.lists(st.integers(0, 1000), max_size=150), st.integers(0, 150))
def test_no_change_is_overlooked(batches: list[int], read: int) -> None:
    """The earliest time stored since a batch is known, or an earlier one is named."""
    freshness = Freshness()
    numbers = [freshness.number()]
    for time in batches:
        freshness.begin(_rows(time))
        freshness.end()
        numbers.append(freshness.number())
    read = min(read, len(batches))
    changed, later = freshness.changed_from("t", numbers[read]), batches[read:]
    assert (changed is None) == (not later)
    assert changed is None or changed <= min(later)
    if len(batches) < 60:
        assert changed == (min(later) if later else None)


def test_what_is_underway_is_not_readable_yet() -> None:
    """A batch counts when it is stored; after forgetting everything counts as changed."""
    freshness = Freshness()
    freshness.begin(_rows(7))
    assert (freshness.number(), freshness.changed_from("t", 0)) == (0, None)
    freshness.end()
    assert (freshness.changed_from("t", 0), freshness.changed_from("u", 0)) == (7, None)
    number = freshness.number()
    freshness.forget()
    changed = freshness.changed_from("u", number)
    assert changed is not None and changed < 0
