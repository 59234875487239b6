"""Series read from ClickHouse some at a time are the series read at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lookout_server.ingest.remote_write_messages import WriteRequest
from lookout_server.metrics.catalog import Catalog
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
