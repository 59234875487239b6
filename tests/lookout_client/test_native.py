"""Native histograms: every value in its bucket, at whatever resolution they need."""

from __future__ import annotations

import math
import sys
import threading
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lookout_client import Registry
from lookout_client.native import MAX_BUCKETS, MAX_SCALE, Native, index_of
from lookout_client.scrape.text import powers_of_two

positive = st.floats(min_value=sys.float_info.min, max_value=sys.float_info.max)


def histogram() -> Native:
    return Registry().native_histogram("h")


@given(positive, st.integers(-4, MAX_SCALE))
def test_a_bucket_holds_its_bounds_exactly(value: float, scale: int) -> None:
    """Bucket i is (2^(i/2^s), 2^((i+1)/2^s)], compared without rounding."""
    index = index_of(value, scale)
    exact = Fraction(value)
    if scale <= 0:
        width = 2**-scale
        assert Fraction(2) ** (index * width) < exact <= Fraction(2) ** ((index + 1) * width)
    else:
        position = math.log2(value) * 2**scale
        assert index - 1e-6 <= position <= index + 1 + 1e-6


@given(st.integers(-1000, 1000), st.integers(-4, MAX_SCALE))
def test_powers_of_two_belong_to_the_bucket_below(power: int, scale: int) -> None:
    """Upper bounds are inclusive: 2^n ends a bucket and what follows begins the next one."""
    bound = math.ldexp(1.0, power)
    width = 2 ** max(-scale, 0)
    assert index_of(bound, scale) + 1 == -(-power // width) * 2 ** max(scale, 0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=50))
def test_count_and_sum_are_exact_and_buckets_bounded(values: list[float]) -> None:
    """Whatever the range, nothing is lost, and no sign needs more than the allowed buckets."""
    meter = histogram()
    for value in values:
        meter.record(value)
    point = meter.point()
    assert point.recorded == meter.count == len(values)
    assert math.isclose(
        point.total,
        math.fsum(values),
        rel_tol=1e-9,
        abs_tol=1e-3 * max(map(abs, values), default=0),
    )
    assert max(len(point.counts), len(point.negative_counts)) <= MAX_BUCKETS
    assert point.zero_count == sum(value == 0 for value in values)
    bounds, counts = powers_of_two(point)
    for bound, count in zip(bounds, _running(counts), strict=False):
        if bound > 0:
            assert count == sum(value <= bound for value in values)
    assert sum(counts) == len(values)


def _running(counts: list[int]) -> list[int]:
    total, result = 0, []
    for count in counts:
        total += count
        result.append(total)
    return result


def test_close_values_keep_the_finest_resolution() -> None:
    """Values within a factor of 1.5 are told apart at scale 8, within 0.3 %."""
    meter = histogram()
    for value in (1.0, 1.2, 1.4, 1.5):
        meter.record(value)
    assert meter.scale == MAX_SCALE
    assert sum(count > 0 for count in meter.point().counts) == 4


def test_no_update_is_lost_while_threads_force_coarser_buckets() -> None:
    """Eight threads record ever wider values while the resolution falls under them."""
    meter, each = histogram(), 3_000
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def record(seed: int) -> None:
            for number in range(each):
                meter.record(2.0 ** ((number * (seed + 1)) % 400 - 200))

        threads = [threading.Thread(target=record, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert meter.count == meter.point().recorded == 8 * each


def test_taking_over_another_series_moves_everything() -> None:
    """`take` moves counts of any resolution and leaves the other empty."""
    registry = Registry()
    wide, narrow = registry.native_histogram("a"), registry.native_histogram("b")
    for value in (1e-9, 1.0, 1e9, 0.0, -5.0):
        wide.record(value)
    narrow.record(1.01)
    narrow.take(wide)
    assert (narrow.count, wide.count) == (6, 0)
    wide.record(2.0)
    wide.take(narrow)
    assert (narrow.count, wide.count) == (0, 7)
    assert math.isclose(wide.total, 1e-9 + 1.0 + 1e9 - 5.0 + 1.01 + 2.0)
