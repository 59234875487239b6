"""Native histograms in and out: protocols, storage, text, JSON, resets."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus.histogram import (
    Histogram,
    InvalidHistogram,
    ResetHint,
    Side,
    convert_classic,
    describe,
    detect_reset,
    from_remote_write,
    from_spans,
    json_buckets,
    spans_of,
)

from .native_histograms import contents, custom, exponential, native, with_custom_buckets
from .properties import PROPERTY


def test_integer_buckets_come_as_deltas() -> None:
    """Spans say where, deltas how many more than in the bucket before."""
    histogram = from_remote_write(
        schema=0,
        count=12,
        sum=3.5,
        zero_threshold=0.001,
        zero_count=2,
        positive=Side(spans=[(0, 2), (1, 1)], deltas=[1, 1, -1]),
        negative=Side(spans=[(-1, 2)], deltas=[4, -2]),
        reset_hint=2,
    )
    assert contents(histogram) == {
        (-1, -0.5): 2,
        (-0.5, -0.25): 4,
        (-0.001, 0.001): 2,
        (0.5, 1): 1,
        (1, 2): 2,
        (4, 8): 1,
    }
    assert histogram.hint is ResetHint.NOT_RESET


def test_float_buckets_come_as_counts() -> None:
    """Float histograms need not add up: their counts may be rates."""
    histogram = from_remote_write(
        schema=-53,
        count=7.5,
        sum=1.0,
        positive=Side(spans=[(1, 2)], counts=[0.25, 0.5]),
        custom_values=[1, 2],
        is_float=True,
    )
    assert contents(histogram) == {(1, 2): 0.25, (2, math.inf): 0.5}


def test_a_reserved_resolution_is_reduced() -> None:
    """A schema above the supported ones is brought down to the highest."""
    histogram = from_remote_write(
        schema=9, count=3, sum=0.0, positive=Side(spans=[(1, 2)], deltas=[1, 1])
    )
    assert histogram.schema == 8
    assert histogram.positive.indices.tolist() == [1]
    assert histogram.positive.counts.tolist() == [3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schema": 53}, "invalid schema, which must be between -4 and 8 for exponential buckets"),
        ({"schema": -5}, "got schema -5"),
        (
            {"positive": Side(spans=[(0, 2)], deltas=[1])},
            "positive side: spans need 2 buckets, have 1 buckets",
        ),
        (
            {"negative": Side(spans=[(0, 1), (-1, 1)], deltas=[1, 1])},
            "negative side: span number 2 with offset -1",
        ),
        (
            {"positive": Side(spans=[(0, 2)], deltas=[1, -2])},
            "bucket number 2 has observation count of -1",
        ),
        ({"count": 5}, "0 observations found in buckets, but the Count field is 5"),
        (
            {"sum": math.nan, "zero_count": 3, "count": 2},
            "should be at least the number of observations",
        ),
        ({"zero_count": -1.0, "is_float": True}, "zero bucket has observation count of -1"),
        ({"count": -1.0, "is_float": True}, "observation count is -1"),
        ({"custom_values": [1.0]}, "exponential schema must not have custom bounds"),
        (
            {"schema": -53, "custom_values": [1.0, 1.0]},
            "must be in strictly increasing order",
        ),
        ({"schema": -53, "custom_values": [math.nan]}, "must not be NaN"),
        ({"schema": -53, "custom_values": [math.inf]}, "must be finite"),
        (
            {
                "schema": -53,
                "custom_values": [1.0],
                "count": 3,
                "positive": Side(spans=[(0, 3)], deltas=[1, 0, 0]),
            },
            "custom bounds are too few",
        ),
        ({"schema": -53, "zero_count": 1, "count": 1}, "must have zero count of 0"),
        ({"schema": -53, "zero_threshold": 0.1}, "must have zero threshold of 0"),
        (
            {"schema": -53, "negative": Side(spans=[(0, 1)], deltas=[1]), "count": 1},
            "must not have negative spans",
        ),
    ],
)
def test_a_contradiction_is_refused(fields: dict[str, Any], message: str) -> None:
    """What is wrong is named as Prometheus names it."""
    with pytest.raises(InvalidHistogram, match=message):
        from_remote_write(**{"schema": 0, "count": 0, "sum": 0.0, **fields})


def test_observations_of_nan_are_in_no_bucket() -> None:
    """With a sum of NaN the count may exceed the buckets."""
    assert from_remote_write(schema=0, count=5, sum=math.nan, zero_count=3).count == 5


@PROPERTY
@given(st.one_of(exponential(), with_custom_buckets()))
def test_spans_describe_a_layout(histogram: Histogram) -> None:
    """Buckets survive storage as spans and counts, empty ones included."""
    for side in (histogram.positive, histogram.negative):
        restored = from_spans(spans_of(side), side.counts)
        assert restored.indices.tolist() == side.indices.tolist()
        assert restored.counts.tolist() == side.counts.tolist()


def test_text_lists_populated_buckets() -> None:
    """From the lowest up, with brackets for bounds that belong to the bucket."""
    histogram = native({0: 1, 1: 0, 2: 1e7}, {1: 2}, zero=0.5, zero_threshold=0.001, sum=-1.5)
    assert describe(histogram) == (
        "{count:1.00000035e+07, sum:-1.5, [-2,-1):2, [-0.001,0.001]:0.5, (0.5,1]:1, (2,4]:1e+07}"
    )
    assert describe(custom({0: 1, 2: 3}, 1, 2)) == "{count:4, sum:0, [-Inf,1]:1, (2,+Inf]:3}"
    assert describe(Histogram()) == "{count:0, sum:0}"


def test_json_says_which_bounds_belong_to_a_bucket() -> None:
    """0 is the upper, 1 the lower, 3 both."""
    histogram = native({1: 1}, {1: 2}, zero=3, zero_threshold=0.5)
    assert json_buckets(histogram) == [(1, -2, -1, 2), (3, -0.5, 0.5, 3), (0, 1, 2, 1)]


@pytest.mark.parametrize(
    ("schema", "index", "lower", "upper"),
    [
        (0, 1, 1, 2),
        (0, 0, 0.5, 1),
        (2, 4, 2**0.75, 2),
        (-4, 1, 1, 2.0**16),
        (0, 1024, 2.0**1023, 1.7976931348623157e308),
        (0, 1025, 1.7976931348623157e308, math.inf),
        (-2, 256, 2.0**1020, 1.7976931348623157e308),
        (0, -1073, 2.0**-1074, 2.0**-1073),
    ],
)
def test_bounds_are_powers_of_two(schema: int, index: int, lower: float, upper: float) -> None:
    """The bucket that ends at the largest number is followed by that of infinity."""
    [(low, high)] = contents(native({index: 1}, schema=schema))
    assert (low, high) == (pytest.approx(lower), pytest.approx(upper))


RESETS = [
    (native({1: 2}), native({1: 1}), False),
    (native({1: 1}), native({1: 2}), True),
    (native({1: 1, 2: 5}), native({1: 2}, count=1), True),
    (native({2: 5}), native({1: 1}), True),
    (native({2: 5}), native({1: 0, 2: 1}), False),
    (native({1: 5}), native({1: 1}, schema=1), False),
    (native({1: 5}, schema=1), native({1: 1}), True),
    (native({1: 5}, zero_threshold=0.1), native({1: 1}, zero_threshold=0.2), True),
    (native({1: 5}, zero=3, zero_threshold=1.0), native({0: 2, 1: 1}, zero=1), False),
    (native({1: 5}, zero=2, zero_threshold=1.0), native({0: 2, 1: 1}, zero=1), True),
    (native({2: 5}, zero=9, zero_threshold=1.5), native({1: 1}), True),
    (native({1: 5}), custom({0: 1}, 1), True),
    (custom({0: 5}, 1), native({1: 1}), True),
    (custom({0: 2, 1: 2}, 1, 2), custom({0: 1, 1: 3}, 1, 2), True),
    (custom({0: 1}, 5, 10), custom({0: 1}, 5), False),
    (custom({0: 1, 1: 9}, 5, 10), custom({0: 2}, 5), True),
    (native({}, {1: 1}, count=5), native({}, {1: 2}), True),
]


@pytest.mark.parametrize(("current", "previous", "reset"), RESETS)
def test_a_reset_shows_in_any_bucket(current: Histogram, previous: Histogram, reset: bool) -> None:
    """Less anywhere, or more detail than before, means that counting began anew."""
    assert detect_reset(current, previous) is reset


def test_a_known_hint_needs_no_detection() -> None:
    """What the source said about a reset is believed."""
    more, less = native({1: 2}), native({1: 1})
    assert detect_reset(more.with_hint(ResetHint.RESET), less)
    assert not detect_reset(less.with_hint(ResetHint.NOT_RESET), more)
    assert detect_reset(less.with_hint(ResetHint.GAUGE), more)


def test_a_classic_histogram_becomes_a_native_one() -> None:
    """Cumulative counts by upper bound turn into custom buckets."""
    histogram = convert_classic({math.inf: 10, 1.0: 2, 5.0: 2, 10.0: 9}, 10, 55.0)
    assert histogram.custom_values == (1, 5, 10)
    assert contents(histogram) == {(-math.inf, 1): 2, (5, 10): 7, (10, math.inf): 1}
    assert (histogram.count, histogram.sum) == (10, 55)


@pytest.mark.parametrize(
    ("cumulative", "total", "count"),
    [({1.0: 3}, None, 3), ({1.0: 3}, 5, 5), ({}, 4, 4), ({}, None, 0), ({math.inf: 2}, None, 2)],
)
def test_missing_parts_of_a_classic_histogram_follow_from_the_rest(
    cumulative: dict[float, float], total: float | None, count: float
) -> None:
    """The bucket of infinity and the total are one and the same."""
    assert convert_classic(cumulative, total).count == count


@pytest.mark.parametrize(
    ("cumulative", "total"), [({1.0: 3, 2.0: 2}, None), ({math.inf: 2}, 3), ({math.nan: 2}, None)]
)
def test_a_contradictory_classic_histogram_is_refused(
    cumulative: dict[float, float], total: float | None
) -> None:
    """Counts must not decrease, and must agree with the total."""
    with pytest.raises(InvalidHistogram):
        convert_classic(cumulative, total)
