"""Series read from ClickHouse some at a time are the series read at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from lookout_server.ingest.remote_write_messages import WriteRequest
from lookout_server.metrics.catalog import Catalog
from lookout_server.metrics.index import Found, Metric
from lookout_server.query.prometheus import storage
from lookout_server.query.prometheus.errors import TooManySamples
from lookout_server.query.prometheus.matchers import Matcher, MatchType
from lookout_server.query.prometheus.source import SelectHints, SeriesBlock
from lookout_server.query.prometheus.storage import ClickHouseSource
from lookout_server.store.embedded import EmbeddedStore

from .remote import HEADERS, add_sample, compressed

_SECONDS = 120
_END_MS = _SECONDS * 1000
_ALL = [Matcher(MatchType.REGEX, "__name__", "one|two|three")]


@pytest.fixture
def source(client: TestClient, store: EmbeddedStore, tenant: str) -> ClickHouseSource:
    """Three metrics of twenty series each, a sample every second."""
    request = WriteRequest()
    for name in ("one", "two", "three"):
        for number in range(20):
            series = request.timeseries.add()
            series.labels.add(name="__name__", value=name)
            series.labels.add(name="i", value=str(number))
            for second in range(_SECONDS):
                add_sample(series, second * 1000, float(number * second), 0)
    answer = client.post("/api/v1/write", content=compressed(request), headers=HEADERS)
    assert answer.status_code == 204
    return ClickHouseSource(store, Catalog(store), tenant)


def _contents(blocks: Iterable[SeriesBlock]) -> dict[Any, list[tuple[int, float]]]:
    found: dict[Any, list[tuple[int, float]]] = {}
    for block in blocks:
        for row, labels in enumerate(block.labels):
            assert labels not in found
            cut = slice(int(block.offsets[row]), int(block.offsets[row + 1]))
            times, values = block.timestamps[cut].tolist(), block.values[cut].tolist()
            found[labels] = list(zip(times, values, strict=True))
    return found


@pytest.mark.parametrize("part_samples", [1, 100, 1000, 100_000])
def test_all_parts_together_are_the_whole(source: ClickHouseSource, part_samples: int) -> None:
    """No series is missing, torn apart or there twice, however small the parts."""
    hints = SelectHints(part_samples=part_samples)
    whole = source.select(_ALL, 0, _END_MS, hints)
    parts = list(source.select_parts(_ALL, 0, _END_MS, hints))
    assert _contents(parts) == _contents([whole])
    assert len(whole) == 60


def test_parts_stay_small_where_samples_are_dense(source: ClickHouseSource) -> None:
    """Samples every second, not every 15 s, do not make a part fifteen times as large."""
    parts = list(source.select_parts(_ALL, 0, _END_MS, SelectHints(part_samples=500)))
    assert max(len(part.timestamps) for part in parts) <= 2000
    assert np.mean([len(part.timestamps) for part in parts]) > _SECONDS


def test_a_series_beyond_the_limit_fails_the_query(source: ClickHouseSource) -> None:
    """What cannot be read in parts is refused."""
    hints = SelectHints(part_samples=10, max_samples=100)
    with pytest.raises(TooManySamples):
        list(source.select_parts(_ALL, 0, _END_MS, hints))


_HOUR_MS = 3_600_000


@pytest.fixture
def hours(client: TestClient, store: EmbeddedStore, tenant: str) -> ClickHouseSource:
    """Ten series over more than three hours, a few samples written twice, another metric beside."""
    request, again = WriteRequest(), WriteRequest()
    for name, number in [("one", n) for n in range(10)] + [("other", 0)]:
        for message, every in ((request, 15), (again, 600)):
            series = message.timeseries.add()
            series.labels.add(name="__name__", value=name)
            series.labels.add(name="i", value=str(number))
            for second in range(0, 12_000, every):
                add_sample(series, second * 1000, float(number + second + every), 0)
    for message in (request, again):
        answer = client.post("/api/v1/write", content=compressed(message), headers=HEADERS)
        assert answer.status_code == 204
    return ClickHouseSource(store, Catalog(store), tenant)


@pytest.mark.parametrize("step_ms", [0, 60_000, 7_000_000])
@pytest.mark.parametrize("newest", [False, True])
def test_stretches_of_time_read_at_once_are_the_whole(
    hours: ClickHouseSource, monkeypatch: pytest.MonkeyPatch, step_ms: int, newest: bool
) -> None:
    """However many statements read a window, their samples are in order, and there once."""
    matchers = [Matcher(MatchType.EQUAL, "__name__", "one")]
    hints = SelectHints(step_ms=step_ms, newest_per_step=newest)
    end_ms = 11_990_000
    at_once = hours.select(matchers, 100, end_ms, hints)
    for samples in (1, 2_000, 5_000):
        monkeypatch.setattr(storage, "_SLICE_SAMPLES", samples)
        monkeypatch.setattr(storage, "_DENSE_ROWS", samples // 8)
        sliced = hours.select(matchers, 100, end_ms, hints)
        assert len(sliced) == 10
        found = _newest(sliced, step_ms, end_ms) if newest else _contents([sliced])
        expected = _newest(at_once, step_ms, end_ms) if newest else _contents([at_once])
        assert found == expected


def _newest(block: SeriesBlock, step_ms: int, end_ms: int) -> Any:
    """The newest sample of each series and step: what a thinned block is for."""
    return {
        labels: {(end_ms - time) // (step_ms or end_ms + 1): (time, value) for time, value in rows}
        for labels, rows in _contents([block]).items()
    }


@pytest.fixture
def fetched(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples each statement brought."""
    rows: list[int] = []
    fetch = store.fetch

    def counted(sql: str, *arguments: Any) -> pa.Table:
        table = fetch(sql, *arguments)
        if "FROM samples" in sql:
            rows.append(len(table))
        return table

    monkeypatch.setattr(store, "fetch", counted)
    return rows


_ONE = [Matcher(MatchType.EQUAL, "__name__", "one")]


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_is_read_than_a_query_may_hold(
    hours: ClickHouseSource,
    store: EmbeddedStore,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
    fetched: list[int],
    threads: int,
) -> None:
    """A window of too many samples is refused when they are found to be, not when all are there."""
    monkeypatch.setattr(storage, "_SLICE_SAMPLES", 1)
    source = ClickHouseSource(store, Catalog(store), tenant, threads=threads)
    with pytest.raises(TooManySamples):
        source.select(_ONE, 0, 12_000_000, SelectHints(max_samples=2_500))
    assert sum(fetched) <= threads * 2_501


def test_what_is_thinned_counts_as_what_is_left(
    hours: ClickHouseSource, monkeypatch: pytest.MonkeyPatch, fetched: list[int]
) -> None:
    """Over 8,000 samples are read, an hour at a time, for a query of which 2,500 may be held."""
    monkeypatch.setattr(storage, "_SLICE_SAMPLES", 1)
    hints = SelectHints(step_ms=600_000, newest_per_step=True, max_samples=2_500)
    assert len(hours.select(_ONE, 0, 11_990_000, hints)) == 10
    assert sum(fetched) > 8_000
    with pytest.raises(TooManySamples):
        hours.select(_ONE, 0, 11_990_000, replace(hints, max_samples=100))


def test_samples_of_other_metrics_do_not_count(
    hours: ClickHouseSource, monkeypatch: pytest.MonkeyPatch, fetched: list[int]
) -> None:
    """What ClickHouse finds beside a dense metric fails no query."""
    monkeypatch.setattr(storage, "_DENSE_ROWS", 1)
    hours.select(_ONE, 0, 11_990_000, SelectHints())
    beside = fetched[-2]  # before the samples written twice are read as one
    assert beside > 8_200
    block = hours.select(_ONE, 0, 11_990_000, SelectHints(max_samples=8_200))
    assert len(block.timestamps) == 8_000
    with pytest.raises(TooManySamples):
        hours.select(_ONE, 0, 11_990_000, SelectHints(max_samples=8_199))


def test_of_few_samples_over_a_long_time_only_those_are_read(
    client: TestClient, store: EmbeddedStore, tenant: str, fetched: list[int]
) -> None:
    """A month of a metric with a sample an hour, beside others, is a month of a sample an hour."""
    request = WriteRequest()
    for name, number in itertools.product(("one", "two", "three"), range(2)):
        series = request.timeseries.add()
        series.labels.add(name="__name__", value=name)
        series.labels.add(name="i", value=str(number))
        for hour in range(30 * 24):
            add_sample(series, hour * _HOUR_MS, 1.0, 0)
    answer = client.post("/api/v1/write", content=compressed(request), headers=HEADERS)
    assert answer.status_code == 204
    source = ClickHouseSource(store, Catalog(store), tenant)
    block = source.select(_ONE, 0, 30 * 24 * _HOUR_MS, SelectHints(max_samples=2 * 30 * 24))
    assert len(block.timestamps) == fetched[-1] == 2 * 30 * 24


def test_statements_share_no_hour() -> None:
    """A window is cut where the table's key has another hour, into as few pieces as are wanted."""
    found = [Found(Metric("one", 1), np.arange(1_000))]
    window = storage.Window("default", found, 90 * 60_000, 25 * _HOUR_MS + 5)
    slices = window.slices()
    assert [one.start_ms for one in slices] == [
        90 * 60_000,
        8 * _HOUR_MS,
        15 * _HOUR_MS,
        22 * _HOUR_MS,
    ]
    assert slices[-1].end_ms == window.end_ms
    for one, following in itertools.pairwise(slices):
        assert one.end_ms + 1 == following.start_ms
