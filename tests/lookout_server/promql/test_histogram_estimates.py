"""What can be read from a native histogram: quantiles, fractions, variance, parts of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lookout_server.query.prometheus.histogram import (
    Histogram,
    NanEffect,
    fraction,
    mean,
    quantile,
    trim_lower,
    trim_upper,
    variance,
)

from .native_histograms import contents, custom, exponential, native, with_custom_buckets
from .properties import PROPERTY

ANY = st.one_of(exponential(), with_custom_buckets())
EMPTY = native()


@pytest.mark.parametrize(
    ("q", "expected"),
    [(-0.1, -math.inf), (1.1, math.inf), (0, 0.5), (0.25, 1.0), (0.5, math.sqrt(2)), (1, 4)],
)
def test_quantiles_interpolate_exponentially(q: float, expected: float) -> None:
    """Half way through the bucket from 1 to 2 is the square root of 2."""
    histogram = native({0: 1, 1: 2, 2: 1})
    assert quantile(q, histogram) == (pytest.approx(expected), NanEffect.NONE)


def test_quantiles_mirror_for_negative_observations() -> None:
    """Negative buckets are interpolated by their absolute values."""
    assert quantile(0.5, native({}, {0: 1, 1: 2, 2: 1}))[0] == pytest.approx(-math.sqrt(2))


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [({}, {}, 0.0), ({3: 10}, {}, 0.25), ({}, {3: 10}, -0.25), ({3: 5}, {3: 5}, 0.0)],
)
def test_the_zero_bucket_ends_at_zero_on_an_empty_side(
    positive: dict[int, float], negative: dict[int, float], expected: float
) -> None:
    """Its middle depends on where else something was observed."""
    histogram = native(positive, negative, zero=10, zero_threshold=0.5)
    below = sum(negative.values())
    assert quantile((below + 5) / histogram.count, histogram)[0] == pytest.approx(expected)


def test_custom_buckets_interpolate_linearly() -> None:
    """The first bucket begins at 0 if it ends above; beyond the last bound is that bound."""
    histogram = custom({0: 2, 1: 2, 2: 4}, 5, 10)
    assert quantile(0.125, histogram)[0] == 2.5
    assert quantile(0.375, histogram)[0] == 7.5
    assert quantile(0.9, histogram)[0] == 10
    assert quantile(0.5, custom({0: 1}, -3))[0] == -3


def test_a_quantile_needs_observations() -> None:
    """Without any, or of no share, it is NaN."""
    assert math.isnan(quantile(0.5, EMPTY)[0])
    assert math.isnan(quantile(math.nan, native({1: 1}))[0])


def test_observations_of_nan_come_last() -> None:
    """They are counted but in no bucket: they lift quantiles, up to NaN itself."""
    histogram = native({1: 8}, count=10, sum=math.nan)
    value, effect = quantile(0.4, histogram)
    assert value == pytest.approx(math.sqrt(2))
    assert effect is NanEffect.SKEWED
    value, effect = quantile(0.9, histogram)
    assert math.isnan(value)
    assert effect is NanEffect.RESULT


def test_infinities_of_both_signs_are_no_nan() -> None:
    """A sum of NaN alone does not mean that NaN was observed."""
    assert quantile(0.5, native({1: 10}, sum=math.nan))[1] is NanEffect.NONE
    assert fraction(0, 2, native({1: 10}, sum=math.nan)) == (1, False)


@PROPERTY
@given(ANY, st.floats(0, 1), st.floats(0, 1))
def test_a_greater_share_has_a_greater_quantile(histogram: Histogram, a: float, b: float) -> None:
    """Quantiles are in order."""
    assume(histogram.count > 0)
    assume(not histogram.is_custom or histogram.custom_values)
    low, high = sorted((a, b))
    lower, upper = quantile(low, histogram)[0], quantile(high, histogram)[0]
    assert lower <= upper + 1e-9 * abs(upper)


@PROPERTY
@given(exponential(), st.floats(0.01, 0.99))
def test_a_fraction_is_the_inverse_of_a_quantile(histogram: Histogram, q: float) -> None:
    """The share of observations below a quantile is the quantile's share."""
    assume(histogram.count > 0)
    value = quantile(q, histogram)[0]
    assert fraction(-math.inf, value, histogram)[0] == pytest.approx(q, abs=1e-6)


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (1, 2, 0.5),
        (-math.inf, math.inf, 1),
        (0, 8, 1),
        (math.sqrt(2), 2, 0.25),
        (2, 1, 0),
        (2, 2, 0),
        (-5, 0.25, 0),
    ],
)
def test_a_fraction_lies_between_two_values(lower: float, upper: float, expected: float) -> None:
    """Buckets that are cut are divided as for quantiles."""
    histogram = native({0: 1, 1: 2, 2: 1})
    assert fraction(lower, upper, histogram) == (pytest.approx(expected), False)


def test_a_fraction_excludes_nan() -> None:
    """Observations of NaN are nowhere, but count."""
    value, has_nan = fraction(-math.inf, math.inf, native({1: 8}, count=10, sum=math.nan))
    assert (value, has_nan) == (0.8, True)
    assert math.isnan(fraction(0, 1, EMPTY)[0])
    assert math.isnan(fraction(math.nan, 1, native({1: 1}))[0])


def test_an_unbounded_custom_bucket_is_all_or_nothing() -> None:
    """Of its inside nothing is known."""
    histogram = custom({0: 1, 1: 1, 2: 2}, -9, -5)
    assert fraction(-math.inf, -10, histogram)[0] == 0.25
    assert fraction(-7, -5, histogram)[0] == 0.125
    assert fraction(7, math.inf, histogram)[0] == 0.5


def test_mean_and_variance() -> None:
    """The mean is exact, the variance estimated from the middles of buckets."""
    histogram = native({1: 2, 3: 2}, sum=12.0)
    middles = (math.sqrt(2), math.sqrt(32))
    assert mean(histogram) == 3
    expected = sum(2 * (middle - 3) ** 2 for middle in middles) / 4
    assert variance(histogram) == pytest.approx(expected)
    assert math.isnan(mean(EMPTY))
    assert math.isnan(variance(EMPTY))
    assert variance(custom({1: 4}, 2, 4, sum=12.0)) == 0


@PROPERTY
@given(ANY, st.one_of(st.floats(-50, 50), st.sampled_from([-math.inf, 0.0, math.inf])))
def test_trimming_never_invents_observations(histogram: Histogram, cut: float) -> None:
    """Neither part has more than the whole, and together they have no more than it."""
    below, above = trim_upper(histogram, cut), trim_lower(histogram, cut)
    slack = 1e-6 * (1 + histogram.count)
    assert below.count >= -slack
    assert above.count >= -slack
    unbounded = histogram.is_custom
    assert unbounded or below.count + above.count == pytest.approx(histogram.count, abs=slack)


@PROPERTY
@given(exponential(), st.floats(-50, 50))
def test_trimming_agrees_with_fractions(histogram: Histogram, cut: float) -> None:
    """What is kept below a value is the fraction below it."""
    assume(histogram.count > 0)
    expected = fraction(-math.inf, cut, histogram)[0] * histogram.count
    assert trim_upper(histogram, cut).count == pytest.approx(expected, abs=1e-6 * histogram.count)


def test_trimming_at_a_bound_cuts_no_bucket() -> None:
    """Whole buckets are kept or dropped, and the sum is estimated anew."""
    histogram = native({1: 4, 2: 8}, {1: 2}, sum=100.0)
    kept = trim_upper(histogram, 2)
    assert contents(kept) == {(-2, -1): 2, (1, 2): 4}
    assert kept.count == 6
    assert kept.sum == pytest.approx(4 * math.sqrt(2) - 2 * math.sqrt(2))


def test_trimming_nothing_changes_nothing() -> None:
    """Where every observation stays, so does the exact sum."""
    histogram = native({1: 4}, sum=5.0)
    assert trim_upper(histogram, 2) is histogram
    assert trim_lower(histogram, -math.inf) is histogram


@pytest.mark.parametrize(
    ("cut", "below", "above"), [(0.1, 0.4, 1.6), (0.5, 2.0, 0.0), (0.0, 0.0, 2.0)]
)
def test_trimming_divides_the_zero_bucket_linearly(cut: float, below: float, above: float) -> None:
    """With positive observations only, it reaches from 0 to its threshold."""
    histogram = native({1: 10}, zero=2, zero_threshold=0.5)
    assert trim_upper(histogram, cut).zero_count == pytest.approx(below)
    assert trim_lower(histogram, cut).zero_count == pytest.approx(above)
