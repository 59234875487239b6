"""Anchored and smoothed selectors: the vectorised way gives what the plain one gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus import ranges
from lookout_server.query.prometheus.context import EngineOptions, QueryContext
from lookout_server.query.prometheus.functions import borders, extended
from lookout_server.query.prometheus.ranges import RangeVector
from lookout_server.query.prometheus.source import MemorySeries, MemorySource, block_of

_SAMPLES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 30)), max_size=25, unique_by=lambda s: s[0]
).map(sorted)


def _vector(series: list[list[tuple[int, int]]], range_ms: int, smoothed: bool) -> RangeVector:
    parts = [
        MemorySeries(
            (("i", str(row)),),
            np.array([time for time, _ in samples], dtype=np.int64),
            np.array([value for _, value in samples], dtype=np.float64),
        )
        for row, samples in enumerate(series)
    ]
    ends = np.arange(0, 500, 20, dtype=np.int64)
    vector = ranges.from_block(block_of(parts), ends, ends, range_ms, starts=False)
    return replace(vector, before_ms=150, after_ms=150 if smoothed else 0)


@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("name", ["rate", "increase", "delta"])
@given(series=st.lists(_SAMPLES, max_size=3), range_ms=st.integers(1, 200))
def test_rates_agree(
    name: str, smoothed: bool, series: list[list[tuple[int, int]]], range_ms: int
) -> None:
    """Borders, interpolation and resets come out the same for all windows at once."""
    vector = _vector(series, range_ms, smoothed)
    context = QueryContext(MemorySource(), EngineOptions(), 0, 0, 0)
    with np.errstate(all="ignore"):
        values, present = borders.rates(vector, name, smoothed=smoothed)
    one_by_one = extended._mixed_rates(vector, name, smoothed, 0, context)
    assert present.tolist() == one_by_one.present.tolist()
    assert values[present] == pytest.approx(one_by_one.values[present], rel=1e-12, abs=1e-9)


@given(series=st.lists(_SAMPLES, max_size=3))
def test_smoothed_samples_agree(series: list[list[tuple[int, int]]]) -> None:
    """A smoothed instant selector lies on the line between the samples around it."""
    vector = _vector(series, 0, smoothed=True)
    context = QueryContext(MemorySource(), EngineOptions(), 0, 0, 0)
    with np.errstate(all="ignore"):
        values, present = borders.smooth(vector)
    one_by_one = extended._mixed_smooth(vector, context, 0)
    assert present.tolist() == one_by_one.present.tolist()
    assert values[present] == pytest.approx(one_by_one.values[present], rel=1e-12, abs=1e-9)
