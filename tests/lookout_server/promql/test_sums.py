"""Sums keep their digits, whatever came before the window."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus.sums import RowSums, window_means, window_sums

_FINITE = st.floats(-1e150, 1e150, allow_subnormal=False)


def _windows(values: list[float], width: int) -> tuple[np.ndarray, ...]:
    size = len(values)
    low = np.array([[max(0, end - width) for end in range(1, size + 1)]])
    high = np.arange(1, size + 1)[None, :]
    return np.array(values), np.array([0, size]), low, high


@given(st.lists(_FINITE, min_size=1, max_size=40), st.integers(1, 40))
def test_windows_sum_to_what_exact_arithmetic_gives(values: list[float], width: int) -> None:
    """Compensated sums are off by no more than a digit some thirty places down."""
    array, offsets, low, high = _windows(values, width)
    found = window_sums(array, offsets, low, high)[0]
    for index, total in enumerate(found.tolist()):
        window = values[low[0, index] : high[0, index]]
        exact = math.fsum(window)
        slack = len(window) * 1e-31 * math.fsum(map(abs, window))
        assert math.isclose(total, exact, rel_tol=4e-16, abs_tol=slack)


def test_a_small_window_after_huge_values_is_exact() -> None:
    """What a prefix sum has swallowed comes back."""
    values, offsets, low, high = _windows([1e300, -1e300, 1.0, 2.0, 0.1], 2)
    assert window_sums(values, offsets, low, high)[0].tolist() == [1e300, 0.0, -1e300, 3.0, 2.1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([math.inf, 1.0], math.inf),
        ([-math.inf, 1.0], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, 1.0], math.nan),
        ([1e308, 1e308], math.inf),
    ],
)
def test_infinities_and_nan_add_up_as_ieee_says(values: list[float], expected: float) -> None:
    """Infinite, undefined and overflowing sums, in windows and across rows."""
    with np.errstate(all="ignore"):
        found = window_sums(*_windows(values, 2))[0, -1]
        rows = RowSums(1)
        rows.add(np.array(values)[:, None], np.zeros(len(values), dtype=np.int64), 1)
    assert np.array_equal([found, rows.sums()[0, 0]], [expected, expected], equal_nan=True)


def test_a_mean_survives_an_overflowing_sum() -> None:
    """The mean of two numbers near the largest is a number."""
    with np.errstate(all="ignore"):
        values, offsets, low, high = _windows([1.7e308, 1.5e308, 1.0], 2)
        found = window_means(values, offsets, low, high)[0].tolist()
    assert found == pytest.approx([1.7e308, 1.6e308, 0.75e308])


@given(st.lists(st.tuples(_FINITE, st.integers(0, 3)), min_size=1, max_size=200))
def test_rows_sum_by_group_in_either_way(rows: list[tuple[float, int]]) -> None:
    """Few and many steps take different ways to the same sums."""
    values = np.array([value for value, _ in rows])
    groups = np.array([group for _, group in rows])
    narrow, wide = RowSums(1), RowSums(40)
    narrow.add(values[:, None], groups, 4)
    wide.add(np.repeat(values[:, None], 40, axis=1), groups, 4)
    for group in range(4):
        members = [value for value, own in rows if own == group]
        slack = 1e-30 * len(rows) * math.fsum(map(abs, members))
        exact = pytest.approx(math.fsum(members), rel=1e-15, abs=slack)
        assert narrow.sums()[group, 0] == exact
        assert wide.sums()[group, 17] == exact
