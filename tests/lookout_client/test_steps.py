"""Steps: SOFALookout's cases A1 to A15, and what its defects must not be here."""

from __future__ import annotations

import dis
import logging
from typing import Any

import pytest

from lookout_client import MeterClash, MeterError, Poll, Registry, TopN
from lookout_client.expiry import Expiry
from lookout_client.metric import OVERFLOW_TAGS
from lookout_client.mixin import Mixin
from lookout_client.snapshot import NumberPoint
from lookout_client.steps import Intervals, Priority, StepClock, initial_delay_ms
from lookout_client.windows import Indicator, StepReader


def reader(
    registry: Registry, step_ms: int = 30_000, now_ms: int = 0, **options: Any
) -> StepReader:
    return StepReader(registry, step_ms, now_ms, **options)


def by_name(indicators: list[Indicator]) -> dict[str, dict[str, Any]]:
    return {i.name: i.values for i in indicators if i.type}


def test_a1_a_value_is_seen_in_the_step_after_it_and_only_there() -> None:
    """6 increments: count 6 and rate 0.2 at 30 s, then 0; a step nobody looked at is not lost."""
    registry = Registry()
    counter = registry.counter("c")
    steps = reader(registry)
    counter.inc(6)
    assert steps.read(29_999) == []
    (first,) = steps.read(30_000)
    assert (first.time_ms, first.values) == (30_000, {"count": 6, "rate": 0.2})
    (second,) = steps.read(60_500)
    assert (second.time_ms, second.values) == (60_000, {"count": 0, "rate": 0.0})
    counter.inc(2)
    (late,) = steps.read(200_000)
    assert (late.time_ms, late.values["count"]) == (90_000, 2)
    (after,) = steps.read(210_000)
    assert (after.time_ms, after.values["count"]) == (210_000, 0)


def test_a2_a_sum_that_shrinks() -> None:
    """+1 +7 -1 -2 within half a second: count 5, rate 10 per second; it may be negative."""
    registry = Registry()
    counter = registry.up_down_counter("c")
    steps = reader(registry, 500)
    counter.inc()
    counter.inc(7)
    counter.dec()
    counter.dec(2)
    assert by_name(steps.read(500))["c"] == {"count": 5, "rate": 10.0}
    counter.dec(4)
    assert by_name(steps.read(1_000))["c"] == {"count": -4, "rate": -8.0}


def test_a3_timers_report_seconds() -> None:
    """100, 200 and 300 s: mean 200, total 600, largest 300; the largest is the step's own."""
    registry = Registry()
    timer = registry.timer("t", buckets=())
    steps = reader(registry, 1_000)
    for seconds in (100, 200, 300):
        timer.record(seconds)
    expected = {"elapPerExec": 200.0, "totalTime": 600.0, "max": 300.0}
    assert by_name(steps.read(1_000))["t"] == expected
    timer.record(1)
    assert by_name(steps.read(2_000))["t"]["max"] == 1.0
    assert by_name(steps.read(3_000))["t"] == {"elapPerExec": 0.0, "totalTime": 0.0, "max": 0.0}


def test_a4_bucket_counts_belong_to_their_step() -> None:
    """1 to 1000 ms over 100..500: nothing before the edge, 1000 after, nothing in the next."""
    registry = Registry()
    timer = registry.timer("t", buckets=(0.1, 0.2, 0.3, 0.4, 0.5))
    steps = reader(registry, 1_000)
    for ms in range(1, 1_001):
        timer.record(ms / 1000)
    assert steps.read(999) == []
    lines = {dict(i.tags)["_bucket"]: i.values["buckets"] for i in steps.read(1_000) if not i.type}
    assert lines == {
        "0-100": 100, "100-200": 100, "200-300": 100, "300-400": 100, "400-500": 100, "500-": 500
    }  # fmt: skip
    assert [i for i in steps.read(2_000) if not i.type] == []


def test_a5_a_bound_belongs_to_its_bucket_and_empty_ones_are_not_told() -> None:
    """50, 100, 120, 900 over 100, 250, 500: 100 is in 0-100, and 250-500 has no line."""
    registry = Registry()
    summary = registry.summary("s", buckets=(100, 250, 500))
    steps = reader(registry)
    for value in (50, 100, 120, 900):
        summary.record(value)
    lines = {dict(i.tags)["_bucket"]: i.values for i in steps.read(30_000) if not i.type}
    assert lines == {"0-100": {"buckets": 2}, "100-250": {"buckets": 1}, "500-": {"buckets": 1}}


def test_a6_beyond_the_limit_nothing_is_lost_and_one_warning_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The third series of two is folded into the overflow series, with a single warning."""
    registry = Registry(max_series=2)
    counter = registry.counter("c")
    counter.with_tags(k="a").inc()
    with caplog.at_level(logging.WARNING):
        counter.with_tags(k="b").inc()
        counter.with_tags(k="c").inc(2)
    assert registry.get("c", {"k": "b"}) is None
    overflow = registry.get("c", dict(OVERFLOW_TAGS))
    assert overflow is not None and overflow.mark == 3
    assert len(caplog.records) == 1 and "2 in all" in caplog.text
    counter.with_tags(k="a").inc()
    known = registry.get("c", {"k": "a"})
    assert known is not None and known.mark == 2


@pytest.mark.parametrize(
    ("word", "expected", "ms"),
    [("high", Priority.HIGH, 2_000), ("LOW", Priority.LOW, 60_000), ("xX", Priority.NORMAL, 30_000),
     (None, Priority.NORMAL, 30_000)],
)  # fmt: skip
def test_a9_priorities(word: object, expected: Priority, ms: int) -> None:
    """Any case; anything else is NORMAL; 2, 30 and 60 seconds."""
    assert Priority.of(word) is expected
    assert Intervals()[Priority.of(word)] == ms


@pytest.mark.parametrize(
    ("priority", "ms", "message"),
    [
        (Priority.NORMAL, 999, "illegal"),
        (Priority.HIGH, 31_000, "HIGH interval should be shorter than NORMAL"),
        (Priority.NORMAL, 61_000, "NORMAL interval should be shorter than LOW"),
        (Priority.NORMAL, 1_500, "NORMAL interval should be longer than HIGH"),
        (Priority.LOW, 29_000, "LOW interval should be longer than NORMAL"),
    ],
)
def test_a10_intervals_keep_their_order(priority: Priority, ms: int, message: str) -> None:
    """HIGH <= NORMAL <= LOW, none under a second; the message says which rule is broken."""
    intervals = Intervals()
    with pytest.raises(MeterError, match=message):
        intervals.set(priority, ms)
    intervals.set(Priority.NORMAL, 10_000)
    assert intervals[Priority.NORMAL] == 10_000


@pytest.mark.parametrize(
    ("now", "delay"),
    [(1522675416000, 36_000), (1522675385000, 11_000), (1522675437000, 51_000)],
)
def test_a11_polls_keep_away_from_edges(now: int, delay: int) -> None:
    """The first poll keeps the process's own phase, a tenth of a step away from both edges."""
    assert initial_delay_ms(now, 60_000) == delay


def test_a15_a_type_clash_names_both_and_changes_nothing() -> None:
    """A strict registry raises; the process-wide kind logs once and hands out a meter apart."""
    strict = Registry()
    strict.counter("a").inc()
    with pytest.raises(MeterClash, match=r"'a' as a <Timer in s>.*a <Counter>"):
        strict.timer("a")
    lax = Registry(strict=False)
    lax.counter("a").inc()
    lax.timer("a").record(1)
    assert [i.values for i in StepReader(lax, 1_000, 0).read(1_000)] == [{"count": 0, "rate": 0.0}]
    assert len(lax) == 1


def test_step_of_zero_is_refused() -> None:
    """A step has a length."""
    with pytest.raises(MeterError, match="greater than 0"):
        StepClock(0, 0)


def test_changing_the_step_gives_up_the_current_one() -> None:
    """`set_step` starts afresh, on purpose, buckets included (SOFALookout keeps those)."""
    registry = Registry()
    histogram = registry.summary("s", buckets=(1,))
    steps = reader(registry, 10)
    histogram.record(1)
    steps.set_step(20, 10)
    assert [i for i in steps.read(20) if not i.type] == []
    for _ in range(4):
        histogram.record(1)
    (bucket,) = (i for i in steps.read(50) if not i.type)
    assert bucket.values == {"buckets": 4}


def test_defect_1_a_bad_gauge_costs_only_itself() -> None:
    """A raising gauge and a NaN leave every other metric of the poll as it is."""
    registry = Registry()
    registry.gauge("bad", callback=lambda: 1 / 0)
    registry.gauge("nan").set(float("nan"))
    registry.gauge("good").set(7)
    assert by_name(reader(registry).read(30_000)) == {"good": {"value": 7.0}}


def test_defect_6_an_idle_timer_has_the_time_of_its_step() -> None:
    """Timers without a write since the edge carry the same time as everything else."""
    registry = Registry()
    registry.timer("t", buckets=()).record(1)
    registry.counter("c").inc()
    times = {i.time_ms for i in reader(registry, 30_000, 5).read(31_000)}
    assert times == {30_000}


def test_defect_7_a_mixins_components_have_its_step() -> None:
    """The parts of a HIGH mixin are read with HIGH, once per step: sums are not inflated."""
    registry = Registry()
    rpc = Mixin(registry, "rpc", priority="high")
    steps = reader(registry, 2_000, priorities=(Priority.HIGH,))
    normal = reader(registry, 30_000, priorities=(Priority.NORMAL,))
    rpc.counter("total_count").inc(3)
    counts = [i.values["total_count.count"] for ms in range(2_000, 30_001, 2_000)
              for i in steps.read(ms)]  # fmt: skip
    assert counts == [3] + [0] * 14
    assert normal.read(30_000) == []


def test_mixins_are_one_line_and_defect_8_have_buckets() -> None:
    """Components share a line; the buckets of one have theirs, with the mixin's tags."""
    registry = Registry()
    rpc = Mixin(registry, "rpc", service="orders")
    steps = reader(registry)
    rpc.counter("total_count").inc(3)
    rpc.timer("total_time", buckets=(0.1, 1)).record(0.5)
    rpc.gauge("g").set(5)
    rpc.summary("size").record(10)
    line, bucket = sorted(steps.read(30_000), key=lambda i: i.type == "")
    assert (line.name, line.type, line.tags) == ("rpc", "m", (("service", "orders"),))
    assert line.values == {
        "total_count.count": 3, "total_count.rate": 0.1,
        "total_time.elapPerExec": 0.5, "total_time.totalTime": 0.5, "total_time.max": 0.5,
        "g": 5.0, "size.rate": 1 / 30, "size.totalAmount": 10, "size.max": 10,
    }  # fmt: skip
    assert dict(bucket.tags) == {"service": "orders", "_bucket": "100-1000"}
    assert bucket.values == {"total_time.buckets": 1}


def test_defects_9_and_10_zeros_count_and_total_amount_is_an_amount() -> None:
    """0 bytes are a recording, and totalAmount is what was recorded, not that per second."""
    registry = Registry()
    summary, timer = registry.summary("s"), registry.timer("t", buckets=())
    steps = reader(registry)
    for size in (1024, 512, 0):
        summary.record(size)
    timer.record(0)
    timer.record(1)
    found = by_name(steps.read(30_000))
    assert found["s"] == {"rate": 0.1, "totalAmount": 1536, "max": 1024}
    assert found["t"] == {"elapPerExec": 0.5, "totalTime": 1.0, "max": 1.0}
    assert registry.refused == {}
    summary.record(-5)
    assert registry.refused == {"negative": 1}


@pytest.mark.parametrize(
    ("poll", "told"),
    [
        (Poll(), [True, True, True, True]),
        (Poll.NEVER, [False, False, False, False]),
        (Poll.WHEN_UPDATED, [True, False, False, False]),
        (Poll(100_000), [True, False, True, False]),
        (Poll(59_000), [True, True, True, True]),
    ],
)
def test_a12_how_often_an_info_is_told(poll: Poll, told: list[bool]) -> None:
    """Always, never, once per change, or at most every so often; below the step always."""
    registry = Registry()
    info = registry.info("build", {"version": "1"}, poll=poll)
    info.set({"version": "1"}, modified_ms=-1)
    steps = reader(registry, 60_000, priorities=(Priority.LOW,))
    assert [bool(steps.read(minute * 60_000)) for minute in range(1, 5)] == told


def test_a12_a_changed_info_is_told_again() -> None:
    """WHEN_UPDATED tells each change once; the value is JSON text."""
    registry = Registry()
    info = registry.info("build", poll=Poll.WHEN_UPDATED, part="a")
    info.set({"k": 'v"'}, modified_ms=-1)
    steps = reader(registry, 60_000)
    (line,) = steps.read(60_000)
    assert (line.type, line.tags, line.values) == (
        "i",
        (("part", "a"),),
        {"value": '{"k": "v\\""}'},
    )
    assert steps.read(120_000) == []
    info.set({"k": "w"}, modified_ms=130_000)
    assert len(steps.read(180_000)) == 1


def test_defect_18_an_infos_trouble_is_not_told() -> None:
    """A failing info is counted and left out; there is none of the environment."""
    registry = Registry()
    registry.info("bad", lambda: {"k": 1 / 0})  # type: ignore[dict-item]
    assert reader(registry).read(30_000) == []
    assert registry.collect() == []
    assert "callback" in registry.refused


class Rounds:
    """A clock moved by hand."""

    ns = 0

    def __call__(self) -> int:
        return self.ns


@pytest.mark.parametrize(
    ("smallest", "expected"), [(False, {2000.0, 3000.0}), (True, {1000.0, 2000.0})]
)
def test_a13_the_best_two(smallest: bool, expected: set[float]) -> None:
    """The largest or the smallest two of 1000, 2000, 3000; the next round starts with nothing."""
    clock = Rounds()
    registry = Registry(clock_ns=clock)
    top = TopN(registry, "slow", 2, smallest=smallest)
    for value in (1000, 2000, 3000):
        top.record(value, id=value)
    assert registry.collect() == []
    clock.ns = 30 * 10**9
    (snapshot,) = registry.collect()
    points = [point for point in snapshot.points if isinstance(point, NumberPoint)]
    assert {point.value for point in points} == expected
    assert all(dict(point.tags)["n"] == "2" for point in points)
    clock.ns = 60 * 10**9
    assert registry.collect() == []


def test_defect_11_ties_keep_their_places_and_rounds_are_fresh() -> None:
    """Equal values are two entries, and one ranked before is ranked again."""
    clock = Rounds()
    registry = Registry(clock_ns=clock)
    top = TopN(registry, "slow", 2)
    for name, value in (("a", 30), ("b", 20), ("c", 30)):
        top.record(value, id=name)
    clock.ns = 30 * 10**9
    (first,) = registry.collect()
    assert {dict(point.tags)["id"] for point in first.points} == {"a", "c"}
    top.record(40, id="a")
    top.record(1, id="b")
    clock.ns = 60 * 10**9
    (second,) = registry.collect()
    assert {(dict(p.tags)["id"], p.value) for p in second.points if isinstance(p, NumberPoint)} == {
        ("a", 40.0),
        ("b", 1.0),
    }


def test_top_n_stays_small_however_many_take_part() -> None:
    """A million different tag sets are not remembered."""
    top = TopN(Registry(), "slow", 3)
    for number in range(5_000):
        top.record(number, id=number)
    assert len(top._current) <= 3 * 20
    assert {value for _, value in top._best(top._current)} == {4999.0, 4998.0, 4997.0}


def test_each_reader_sees_the_largest_of_its_own_step() -> None:
    """What one reader took, at its own edge, is still the largest for the other's longer step."""
    registry = Registry()
    timer, sizes = registry.timer("t"), registry.native_histogram("n", priority=Priority.LOW)
    often = reader(registry, 10_000)
    seldom = reader(registry, 30_000, priorities=(Priority.NORMAL,))
    timer.record(9.0)
    sizes.record(7.0)
    assert {name: values["max"] for name, values in by_name(often.read(10_000)).items()} == {
        "t": 9.0,
        "n": 7,
    }
    timer.record(2.0)
    assert by_name(often.read(20_000))["t"]["max"] == 2.0
    assert by_name(often.read(30_000))["t"]["max"] == 0.0
    assert by_name(seldom.read(30_000)) == {
        "t": {"elapPerExec": 5.5, "totalTime": 11.0, "max": 9.0}
    }
    assert by_name(seldom.read(60_000))["t"]["max"] == 0.0


def test_a_series_that_comes_back_is_not_told_twice() -> None:
    """One that gave way, and is recorded into again, goes on from what its steps had told."""
    registry = Registry()
    counter = registry.counter("c").with_tags(k="v")
    expiry = Expiry(registry, idle_s=0, always=True)
    steps = reader(registry)
    counter.inc(100)
    told = [{item.tags: item.values["count"] for item in steps.read(30_000)}]
    expiry.sweep()
    expiry.sweep()
    told.append({item.tags: item.values["count"] for item in steps.read(60_000)})
    counter.inc()
    expiry.sweep()
    told.append({item.tags: item.values["count"] for item in steps.read(90_000)})
    assert [step.get(counter.tags) for step in told] == [100, None, 1]


def test_of_two_threads_one_completes_a_step() -> None:
    """The interpreter hands over at calls alone: none is between a clock's reading and writing."""
    names = [item.opname for item in dis.get_instructions(StepClock.completed)]
    stores = [at for at, name in enumerate(names) if name == "STORE_ATTR"]
    (load,) = [
        at
        for at, item in enumerate(dis.get_instructions(StepClock.completed))
        if item.opname == "LOAD_ATTR" and item.argval == "_current"
    ]
    assert len(stores) == 1
    handing_over = ("CALL", "PRECALL", "JUMP_BACKWARD")
    assert not [name for name in names[load : stores[0]] if name.startswith(handing_over)]
