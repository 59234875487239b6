"""Sums, differences, multiples and means of native histograms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus.histogram import (
    Histogram,
    HistogramSum,
    IncompatibleHistograms,
    ResetHint,
    add,
    reduce_resolution,
    subtract,
)

from .native_histograms import contents, custom, exponential, native, with_custom_buckets
from .properties import PROPERTY

ANY = st.one_of(
    st.tuples(exponential(), exponential()), st.tuples(with_custom_buckets(), with_custom_buckets())
)


def total(histogram: Histogram) -> float:
    return sum(contents(histogram).values())


@PROPERTY
@given(ANY)
def test_a_sum_has_all_observations(pair: tuple[Histogram, Histogram]) -> None:
    """Whatever the layouts, no observation is lost or counted twice."""
    left, right = pair
    result = add(left, right).histogram
    assert result.count == left.count + right.count
    assert total(result) == total(left) + total(right)
    assert result.sum == left.sum + right.sum


@PROPERTY
@given(ANY)
def test_the_order_of_a_sum_does_not_matter(pair: tuple[Histogram, Histogram]) -> None:
    """Both ways give the same buckets."""
    left, right = pair
    one, other = add(left, right).histogram, add(right, left).histogram
    assert one.compact().equals(other.compact())


@PROPERTY
@given(ANY)
def test_a_difference_undoes_a_sum(pair: tuple[Histogram, Histogram]) -> None:
    """What was added can be taken away, in the layout both share."""
    left, right = pair
    summed = add(left, right).histogram
    difference = subtract(summed, right).histogram
    zeroed = subtract(right, right).histogram
    assert total(difference) == total(left)
    assert contents(add(left, zeroed).histogram) == contents(difference)


@PROPERTY
@given(exponential(), st.integers(-4, 8))
def test_a_lower_resolution_keeps_every_count(histogram: Histogram, schema: int) -> None:
    """Each bucket's observations are in the one wider bucket that covers it."""
    coarse = reduce_resolution(histogram, min(schema, histogram.schema))
    assert total(coarse) == total(histogram)
    for (low, high), count in contents(histogram).items():
        # A bound may differ in its last digit between resolutions.
        slack = 1e-9 * (abs(low) + abs(high))
        covering = [
            c for (a, b), c in contents(coarse).items() if a <= low + slack and b >= high - slack
        ]
        assert covering
        assert max(covering) >= count


def test_resolutions_meet_at_the_lower_one() -> None:
    """Schema 1 halves the buckets of schema 0, so its halves are put together."""
    fine = native({1: 1, 2: 2, 3: 4}, schema=1)
    coarse = native({1: 10}, schema=0)
    assert contents(add(fine, coarse).histogram) == {(1, 2): 13, (2, 4): 4}
    assert add(coarse, fine).histogram.schema == 0


def test_zero_buckets_meet_at_the_wider_one() -> None:
    """Buckets inside the wider zero bucket are counted there."""
    wide = native({3: 1}, zero=5, zero_threshold=2.0)
    narrow = native({0: 1, 1: 2, 2: 3}, {1: 4}, zero=7, zero_threshold=0.001)
    result = add(wide, narrow).histogram
    assert result.zero_threshold == 2.0
    assert result.zero_count == 5 + 7 + 1 + 2 + 4
    assert contents(result) == {(-2, 2): 19, (2, 4): 3, (4, 8): 1}


def test_a_zero_bucket_never_cuts_a_populated_bucket() -> None:
    """The threshold moves out to the next bound on whichever side is populated there."""
    wide = native({}, zero=1, zero_threshold=1.5)
    narrow = native({1: 2}, {2: 3}, zero_threshold=0.0)
    result = add(wide, narrow).histogram
    assert result.zero_threshold == 2.0
    assert contents(result) == {(-4, -2): 3, (-2, 2): 3}


def test_an_empty_bucket_does_not_move_the_threshold() -> None:
    """Only observations matter for where the zero bucket may end."""
    wide = native({}, zero=1, zero_threshold=1.5)
    empty_there = native({1: 0, 3: 1}, zero_threshold=0.0)
    assert add(wide, empty_there).histogram.zero_threshold == 1.5


def test_custom_bounds_meet_at_those_in_common() -> None:
    """Buckets between common bounds are put together, and the user is to be told."""
    left = custom({0: 1, 1: 2, 2: 3}, 1, 5)
    right = custom({0: 10, 1: 20, 2: 30, 3: 40}, 1, 3, 8)
    combined = add(left, right)
    assert combined.reconciled_bounds
    assert combined.histogram.custom_values == (1,)
    assert contents(combined.histogram) == {(-math.inf, 1): 11, (1, math.inf): 95}
    assert not add(left, left).reconciled_bounds


def test_custom_bounds_without_a_common_one_leave_one_bucket() -> None:
    """With nothing in common, only the total is known."""
    result = add(custom({0: 1, 1: 2}, 1), custom({0: 4}, 2)).histogram
    assert result.custom_values == ()
    assert contents(result) == {(-math.inf, math.inf): 7}


def test_custom_and_exponential_buckets_do_not_mix() -> None:
    """There is no layout for both."""
    with pytest.raises(IncompatibleHistograms, match="mix of exponential and custom"):
        add(native({1: 1}), custom({0: 1}, 1))


@pytest.mark.parametrize(
    ("left", "right", "hint", "conflicting"),
    [
        (ResetHint.UNKNOWN, ResetHint.UNKNOWN, ResetHint.UNKNOWN, False),
        (ResetHint.NOT_RESET, ResetHint.NOT_RESET, ResetHint.NOT_RESET, False),
        (ResetHint.RESET, ResetHint.RESET, ResetHint.RESET, False),
        (ResetHint.GAUGE, ResetHint.RESET, ResetHint.GAUGE, False),
        (ResetHint.NOT_RESET, ResetHint.GAUGE, ResetHint.GAUGE, False),
        (ResetHint.UNKNOWN, ResetHint.NOT_RESET, ResetHint.UNKNOWN, False),
        (ResetHint.RESET, ResetHint.UNKNOWN, ResetHint.UNKNOWN, False),
        (ResetHint.RESET, ResetHint.NOT_RESET, ResetHint.UNKNOWN, True),
        (ResetHint.NOT_RESET, ResetHint.RESET, ResetHint.UNKNOWN, True),
    ],
)
def test_reset_hints_combine(
    left: ResetHint, right: ResetHint, hint: ResetHint, conflicting: bool
) -> None:
    """A gauge makes a gauge; a reset and its absence contradict each other."""
    combined = add(native({1: 1}, hint=left), native({1: 1}, hint=right))
    assert (combined.histogram.hint, combined.conflicting_resets) == (hint, conflicting)


def test_scaling_scales_everything() -> None:
    """Count, sum and every bucket, and a negative factor makes a gauge."""
    histogram = native({1: 2}, {1: 4}, zero=6, sum=10.0, zero_threshold=0.5)
    doubled = histogram * 2
    assert contents(doubled) == {(-2, -1): 8, (-0.5, 0.5): 12, (1, 2): 4}
    assert (doubled.count, doubled.sum, doubled.hint) == (24, 20, ResetHint.UNKNOWN)
    assert (histogram / 2).count == 6
    assert (-histogram).hint is ResetHint.GAUGE
    assert (histogram / -1).hint is ResetHint.GAUGE


def test_division_by_zero_leaves_no_buckets() -> None:
    """Counts become infinite, or NaN where there was nothing."""
    result = native({1: 2}, sum=-3.0) / 0
    assert (result.count, result.sum) == (math.inf, -math.inf)
    assert math.isnan(result.zero_count)
    assert len(result.positive) == 0


def test_empty_buckets_count_in_a_comparison() -> None:
    """Two histograms are equal if they say the same in the same way; NaN equals itself."""
    assert native({1: 1}, sum=math.nan).equals(native({1: 1}, sum=math.nan))
    assert not native({1: 1}).equals(native({1: 1, 2: 0}))
    assert native({1: 1}).equals(native({1: 1, 2: 0}).compact())
    assert not native({1: 1}).equals(native({2: 1}))
    assert not native({1: 1}).equals(native({1: 1}, schema=1))
    assert native({1: 1}).equals(native({1: 1}, hint=ResetHint.GAUGE))


def test_a_long_sum_keeps_small_numbers() -> None:
    """What a large summand swallows is not lost when the large one goes away again."""
    running = HistogramSum(native({1: 1}, sum=1.0))
    for amount in (1e100, 1.0, -1e100):
        running.add(native({1: amount, 2: amount}, sum=amount))
    result = running.total()
    assert result.sum == 2
    assert contents(result) == {(1, 2): 2, (2, 4): 1}


@PROPERTY
@given(st.lists(exponential(), min_size=1, max_size=6))
def test_a_long_sum_agrees_with_single_sums(histograms: list[Histogram]) -> None:
    """Compensation changes digits, never observations."""
    running, plain = HistogramSum(histograms[0]), histograms[0]
    for histogram in histograms[1:]:
        running.add(histogram)
        plain = add(plain, histogram).histogram
    assert contents(running.total()) == contents(plain)
    assert running.total().count == plain.count
