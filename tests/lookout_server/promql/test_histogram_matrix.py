"""Histograms evaluated at once give what they give one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lookout_server.query.prometheus.engine import Engine
from lookout_server.query.prometheus.histogram import Buckets, Histogram, ResetHint
from lookout_server.query.prometheus.histogram_matrix import Layout
from lookout_server.query.prometheus.result import Result
from lookout_server.query.prometheus.source import MemorySource

_STEP_MS = 15_000
_SAMPLES = 60
_QUERIES = [
    *(f"{name}(h[3m])" for name in ("rate", "increase", "delta", "irate", "idelta")),
    *(f"{name}(h[3m])" for name in ("sum_over_time", "avg_over_time")),
    *("sum by (x) (h)", "avg without (i) (h)", "sum(rate(h[2m]))"),
    "sum without (x) (h) - on (i) h",
]


def _series(random: np.random.Generator, hints: list[ResetHint]) -> list[Histogram]:
    """A counter that is reset now and then, with buckets that come and go."""
    counts = np.zeros(6)
    found = []
    for _ in range(_SAMPLES):
        if random.random() < 0.07:
            counts = np.zeros(6)
        counts = counts + random.integers(0, 4, 6)
        used = np.flatnonzero(counts)
        buckets = Buckets(used - 2, counts[used])
        negative = Buckets(np.array([1, 3]), counts[:2].copy())
        total = float(counts.sum() + counts[:2].sum() + counts[0])
        found.append(
            Histogram(
                schema=1,
                count=total,
                sum=float(random.normal()),
                zero_threshold=0.01,
                zero_count=float(counts[0]),
                positive=buckets,
                negative=negative,
                hint=hints[int(random.integers(0, len(hints)))],
            )
        )
    return found


def _source(hints: list[ResetHint]) -> MemorySource:
    random = np.random.default_rng(3)
    source = MemorySource()
    for number in range(5):
        times = [number * 700 + step * _STEP_MS for step in range(_SAMPLES)]
        labels = {"__name__": "h", "i": str(number), "x": str(number % 2)}
        source.add(labels, times, _series(random, hints))
    return source


def _answer(query: str, source: MemorySource) -> Result:
    return Engine().range(query, 0, _SAMPLES * _STEP_MS, 40_000, source)


def _cells(histogram: Histogram) -> dict[Any, float]:
    cells = {"count": histogram.count, "sum": histogram.sum, "zero": histogram.zero_count}
    for side, buckets in (("+", histogram.positive), ("-", histogram.negative)):
        for index, count in zip(buckets.indices.tolist(), buckets.counts.tolist(), strict=True):
            cells[side, index] = count
    return cells


@pytest.mark.parametrize(
    "hints", [[ResetHint.UNKNOWN], [ResetHint.GAUGE], list(ResetHint)], ids=str
)
@pytest.mark.parametrize("query", _QUERIES)
def test_at_once_is_as_one_by_one(
    query: str, hints: list[ResetHint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, hints and notes are the same whichever way a series takes."""
    source = _source(hints)
    quick = _answer(query, source)
    monkeypatch.setattr(Layout, "of", classmethod(lambda cls, items: None))
    slow = _answer(query, source)
    assert quick.labels == slow.labels
    assert quick.timestamps.tolist() == slow.timestamps.tolist()
    assert (quick.warnings, quick.infos) == (slow.warnings, slow.infos)
    assert quick.histograms is not None and slow.histograms is not None
    for left, right in zip(quick.histograms, slow.histograms, strict=True):
        assert left.hint is right.hint
        ours = {name: value for name, value in _cells(left).items() if value}
        theirs = {name: value for name, value in _cells(right).items() if abs(value) > 1e-12}
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
