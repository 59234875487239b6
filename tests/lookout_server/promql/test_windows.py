"""Windows hold exactly the samples of (end - range, end]."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus import ranges
from lookout_server.query.prometheus.source import MemorySeries, block_of
from lookout_server.query.prometheus.windows import (
    common_clock,
    gathered,
    upper_bounds,
    window_bounds,
)

_SERIES = st.lists(
    st.lists(st.integers(-500, 500), max_size=30, unique=True).map(sorted), max_size=6
)


def _flat(series: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, series)]).astype(np.int64)
    return np.array([time for part in series for time in part], dtype=np.int64), offsets


@given(_SERIES, st.lists(st.integers(-600, 600), min_size=1, max_size=8))
def test_bounds_are_those_of_a_plain_search(series: list[list[int]], times: list[int]) -> None:
    """Many short series are searched at once, and with the same result."""
    timestamps, offsets = _flat(series)
    found = upper_bounds(timestamps, offsets, np.array(times, dtype=np.int64))
    for row, part in enumerate(series):
        expected = [offsets[row] + sum(time <= end for time in part) for end in times]
        assert found[row].tolist() == expected


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
    st.integers(-50, 50),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 200),
)
def test_windows_of_long_series_share_their_bounds(
    kinds: list[int], start: int, step: int, count: int, width: int
) -> None:
    """Series with common timestamps, and ranges that are a multiple of the step, cut no corner."""
    shapes = [np.arange(kind, 900, 7 + kind) for kind in range(4)]
    series = [shapes[kind].tolist() for kind in kinds]
    timestamps, offsets = _flat(series)
    ends = start + np.arange(count, dtype=np.int64) * step
    low, high = window_bounds(timestamps, offsets, ends, width)
    for row, part in enumerate(series):
        for at, end in enumerate(ends.tolist()):
            inside = [time for time in part if end - width < time <= end]
            cut = timestamps[low[row, at] : high[row, at]]
            assert cut.tolist() == inside


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=30))
def test_every_window_is_gathered_once(windows: list[tuple[int, int]]) -> None:
    """Windows come back by length, each with its own samples; empty ones do not."""
    low = np.array([[start for start, _ in windows]])
    high = low + np.array([[length for _, length in windows]])
    seen = {}
    for positions, cells in gathered(low, high):
        seen.update(zip(positions.tolist(), cells.tolist(), strict=True))
    expected = {
        at: list(range(start, start + length))
        for at, (start, length) in enumerate(windows)
        if length
    }
    assert seen == expected


@pytest.mark.parametrize("apart", [0, 1])
def test_times_are_compared_once(monkeypatch: pytest.MonkeyPatch, apart: int) -> None:
    """Whether series have a common clock or none is found out once for all who ask."""
    compared: list[int] = []

    def counted(timestamps: np.ndarray, offsets: np.ndarray) -> np.ndarray | None:
        compared.append(len(offsets) - 1)
        return common_clock(timestamps, offsets)

    monkeypatch.setattr(ranges, "common_clock", counted)
    times, ends = np.arange(0, 100, 10), np.array([50, 99])
    series = [
        MemorySeries((("i", str(row)),), times + row * apart, np.zeros(len(times)))
        for row in range(2)
    ]
    vector = ranges.from_block(block_of(series), ends, ends, 50, starts=False)
    assert (vector.grid() is None) == bool(apart)
    assert vector.seen() == sum(
        int(((one.timestamps > end - 50) & (one.timestamps <= end)).sum())
        for one in series
        for end in ends
    )
    assert vector.bounds()[0].shape == (2, 2)
    assert compared == [2]
