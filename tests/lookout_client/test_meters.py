"""Meters: what is recorded is what is read, whoever records and whatever they pass."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from enum import Enum
from fractions import Fraction

import pytest

from lookout_client import Registry


class Bad:
    def __float__(self) -> float:
        raise RuntimeError("no")

    __str__ = __float__  # type: ignore[assignment]


def test_a_counter_adds_every_kind_of_number() -> None:
    """Ints, floats, bools, decimals and fractions all count."""
    counter = Registry().counter("orders")
    for amount in (1, 2.5, True, Decimal("0.5"), Fraction(1, 2), 0):
        counter.inc(amount)  # type: ignore[arg-type]
    counter.inc()
    assert counter.value == 6.5


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(-1, "negative"), (math.nan, "not_finite"), (math.inf, "not_finite"),
     ("3", "not_a_number"), ([], "not_a_number"), (Bad(), "not_a_number")],
)  # fmt: skip
def test_what_is_no_amount_is_refused_and_counted(amount: object, reason: str) -> None:
    """A recording never raises; what cannot be taken is counted by reason and changes nothing."""
    registry = Registry()
    counter, timer, summary = registry.counter("c"), registry.timer("t"), registry.summary("s")
    counter.inc(amount)  # type: ignore[arg-type]
    timer.record(amount)  # type: ignore[arg-type]
    summary.record(amount)  # type: ignore[arg-type]
    assert (counter.value, timer.count, summary.count) == (0, 0, 0)
    assert registry.refused == {reason: 3}


def test_a7_same_tags_in_any_order_are_the_same_meter() -> None:
    """Identity is the tag set: order does not matter and the last value of a key wins."""
    counter = Registry().counter("n")
    assert counter.with_tags(b=2, a=1) is counter.with_tags({"a": "1", "b": "2"})
    assert counter.with_tags(b=2).with_tags(a=1).with_tags(b=3).id == (
        "n",
        (("a", "1"), ("b", "3")),
    )
    assert str(counter.with_tags(b=3, a=1).id) == "n[a=1, b=3]"


def test_equal_keys_that_are_different_texts_are_different_series() -> None:
    """1, True and 1.0 hash alike, but they are three tag values."""
    counter = Registry().counter("n")
    assert len({counter.with_tags(a=value).tags for value in (1, True, 1.0)}) == 3


def test_a_look_up_remembers_what_it_was_asked() -> None:
    """Asked again, in any order, with other keys or with a value more, the answer is the same."""
    counter = Registry().counter("n")
    for _ in range(3):
        counter.inc(a="1", b="2")
        counter.inc(b="2", a="1")
        counter.inc(a="1", c="2")
        counter.inc(a="1", b="2", c="3")
        counter.inc(a="1")
        counter.inc(a=["1"])
    found = {str(meter.id): meter.value for meter in counter.family.series.values()}
    assert found == {
        "n[]": 0, "n[a=1, b=2]": 6, "n[a=1, c=2]": 3, "n[a=1, b=2, c=3]": 3, "n[a=1]": 3,
        "n[a=['1']]": 3,
    }  # fmt: skip


def test_the_amount_may_be_named() -> None:
    """`inc(amount=5)` adds 5, with tags and without, however often it was asked before."""
    counter = Registry().counter("n")
    for _ in range(2):
        counter.inc(amount=5)
        counter.inc(amount=2, k="v")
        counter.inc(k="v")
    assert (counter.value, counter.with_tags(k="v").value) == (10, 6)


def test_a_named_amount_means_the_same_whatever_was_recorded_before() -> None:
    """By name it is the amount, a text is none and is refused; beside an amount by position it is
    a tag. A series with a tag of that name changes nothing."""
    for tagged_before in (False, True):
        registry = Registry()
        counter = registry.counter("n")
        if tagged_before:
            counter.with_tags(amount="large")
            counter.with_tags(amount="large", k="v")
        for _ in range(2):
            counter.inc(5, amount="large")
            counter.inc(5, amount=7)
            counter.inc(amount="large")
            counter.inc(amount="large", k="v")
        found = {str(meter.id): meter.value for meter in registry if meter.value}  # type: ignore[union-attr]
        assert found == {"n[amount=large]": 10, "n[amount=7]": 10}
        assert sum(registry.refused.values()) == 4


def test_a_text_of_a_subclass_is_that_text() -> None:
    """A member of an enumeration of texts finds the series of its text, asked first or second."""

    class Method(str, Enum):  # noqa: UP042 - StrEnum would hide the difference
        GET = "get"

    for order in ((Method.GET, "get"), ("get", Method.GET)):
        counter = Registry().counter("n")
        first, second = (counter.with_tags(k=value) for value in order)
        assert first is second and first.tags == (("k", "get"),)


def test_a8_a_missing_tag_value_is_empty() -> None:
    """None is the empty value, as in SOFALookout."""
    assert Registry().counter("n").with_tags(k=None).tags == (("k", ""),)


def test_declared_keys_look_up_by_position() -> None:
    """`tagged` takes the values of the declared keys and finds the same series as `with_tags`."""
    counter = Registry().counter("requests", keys=("method", "code"))
    assert counter.tagged("GET", "200") is counter.with_tags(code="200", method="GET")
    assert counter.tagged("GET", "200") is counter.tagged("GET", "200")


def test_a_gauge_is_set_moved_and_called() -> None:
    """A gauge is what it was set to, or what its callback answers."""
    registry = Registry()
    gauge = registry.gauge("queue")
    assert gauge.value is None
    gauge.inc()
    gauge.inc(4)
    gauge.dec(2)
    assert gauge.value == 3
    gauge.set(math.nan)
    assert gauge.value is not None and math.isnan(gauge.value)
    assert registry.gauge("threads", callback=lambda: 7).value == 7


def test_a_raising_callback_reads_as_nothing() -> None:
    """One bad gauge is counted and read as None."""
    registry = Registry()
    gauge = registry.gauge("bad", callback=lambda: 1 / 0)
    assert gauge.value is None
    assert registry.refused == {"callback": 1}


def test_a_timer_times_blocks_functions_and_coroutines() -> None:
    """Context manager, decorator and async decorator each record once, exceptions included."""
    timer = Registry().timer("work")
    with timer.time():
        pass
    with pytest.raises(ZeroDivisionError), timer.time():
        _ = 1 / 0

    @timer
    def plain(value: int) -> int:
        return value + 1

    @timer
    async def coroutine(value: int) -> int:
        await asyncio.sleep(0.01)
        return value + 1

    assert plain(1) == 2
    assert asyncio.run(coroutine(2)) == 3
    assert timer.count == 4
    assert timer.total >= 0.01 and timer.max <= timer.total


def test_zero_durations_and_sizes_count() -> None:
    """0 is a value (SOFALookout dropped it)."""
    registry = Registry()
    registry.timer("t").record(0)
    registry.summary("s").record(0)
    assert registry.timer("t").count == registry.summary("s").count == 1


def test_bucket_bounds_are_inclusive_upper_bounds() -> None:
    """A value equal to a bound falls into that bound's bucket, one above into the next."""
    histogram = Registry().histogram("h", buckets=(100, 250, 500))
    for value in (50, 100, 120, 900):
        histogram.record(value)
    assert histogram.bounds == (100.0, 250.0, 500.0)
    assert histogram.bucket_counts == [2, 1, 0, 1]
    assert (histogram.count, histogram.total) == (4, 1170.0)
