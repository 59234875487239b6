"""No update is lost, whoever records: many threads, any order, any name."""

from __future__ import annotations

import dis
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lookout_client import Registry, instruments
from lookout_client.bound import BoundCounter, BoundUpDownCounter, Distribution, Sum
from lookout_client.meters import Counter
from lookout_client.native import Native
from lookout_client.push.otlp import OtlpEncoder
from lookout_client.scrape import Exposition
from lookout_client.snapshot import BucketPoint, ExponentialPoint, NumberPoint

THREADS, EACH = 8, 5_000


@pytest.fixture
def nervous() -> Iterator[None]:
    """An interpreter that switches threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work: Callable[[int], object], count: int = THREADS) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("nervous")
def test_eight_threads_lose_nothing() -> None:
    """Counters, gauges, timers, summaries and look-ups: every recording is in the sum."""
    registry = Registry()
    counter, gauge = registry.counter("c"), registry.up_down_counter("u")
    timer = registry.timer("t", keys=("thread",))

    def work(number: int) -> None:
        bound = counter.with_tags(shared="yes")
        for turn in range(EACH):
            bound.inc()
            bound.inc(2)
            gauge.inc(3)
            gauge.dec(2)
            timer.tagged(str(turn % 3)).record(0.5)
            if turn % 500 == 0:
                registry.collect()

    together(work)
    total = THREADS * EACH
    assert counter.with_tags(shared="yes").value == 3 * total
    assert gauge.value == total
    timers = [timer.tagged(str(number)) for number in range(3)]
    assert sum(meter.count for meter in timers) == total
    assert sum(meter.total for meter in timers) == total / 2


@pytest.mark.usefixtures("nervous")
def test_a_series_is_created_once_however_many_ask() -> None:
    """Threads that ask for the same new tags at once get one meter."""
    registry = Registry()
    counter = registry.counter("c")
    together(lambda _: [counter.with_tags(k=turn).inc() for turn in range(300)])
    assert len(registry) == 301
    assert {counter.with_tags(k=turn).value for turn in range(300)} == {THREADS}


@pytest.mark.parametrize(
    "method",
    [Counter.inc, BoundCounter.inc, BoundCounter._add, BoundUpDownCounter.inc,
     BoundUpDownCounter.dec, instruments.Counter.add, Distribution.record, Distribution._record,
     Native.record, Sum.take],
)  # fmt: skip
def test_no_call_stands_between_read_and_write(method: Callable[..., object]) -> None:
    """What the absence of locks rests on: the interpreter hands over only at calls, function
    entries and backward jumps, and none is between an attribute's read and its write.
    """
    handing_over = ("CALL", "PRECALL", "JUMP_BACKWARD", "RESUME", "SEND", "FOR_ITER")
    instructions = list(dis.get_instructions(method))
    checked = 0
    for position, instruction in enumerate(instructions):
        if instruction.opname != "BINARY_OP" or not instruction.argrepr.endswith("="):
            continue
        writes = next(
            at
            for at in range(position, len(instructions))
            if instructions[at].opname in ("STORE_ATTR", "STORE_SUBSCR", "STORE_SLICE")
        )
        reads = next(
            at
            for at in range(position, -1, -1)
            if instructions[at].opname in ("LOAD_ATTR", "BINARY_SUBSCR")
            and instructions[at - 1].opname == "COPY"
        )
        between = [item.opname for item in instructions[reads : writes + 1]]
        assert not [name for name in between if name.startswith(handing_over)], between
        checked += 1
    assert checked


_WITHOUT_THE_LOCK = """
import sys
sys._is_gil_enabled = lambda: False
from lookout_client import Registry, instruments
from lookout_client.bound import BoundCounter, Sum
from lookout_client.meters import Counter
registry = Registry()
counter = registry.counter("c")
counter.inc(); counter.inc(2, k="v"); counter.with_tags(k="v").inc()
timer, gauge = registry.timer("t"), registry.gauge("g")
timer.record(1.0); gauge.set(3); gauge.inc()
locks = {
    cell.cell_contents
    for method in (Counter.inc, BoundCounter.inc, BoundCounter._add, Sum.take, Sum.reset,
                   instruments.Counter.add)
    for cell in method.__closure__
    if type(cell.cell_contents).__name__ == "RLock"
}
print(counter.value, counter.with_tags(k="v").value, timer.count, gauge.value, len(locks))
"""


def test_without_the_interpreter_lock_there_is_one_for_each_kind() -> None:
    """A free-threaded interpreter gets the same meters; whatever touches a sum takes one lock."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THE_LOCK], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "3", "1", "4", "1"]


texts = st.text(max_size=30)
names = st.text(min_size=1, max_size=30).filter(str.strip)
numbers = st.integers() | st.floats() | st.booleans()
tags = st.dictionaries(texts, texts | numbers | st.none() | st.lists(st.integers()), max_size=4)
kinds = st.sampled_from(
    ["counter", "up_down_counter", "gauge", "timer", "summary", "histogram", "native_histogram"]
)
calls = st.lists(st.tuples(kinds, names, tags, numbers), max_size=12)


def apply(registry: Registry, kind: str, name: str, given_tags: Any, value: Any) -> None:
    meter = getattr(registry, kind)(name, given_tags)
    if kind in ("counter", "up_down_counter"):
        meter.inc(value)
    elif kind == "gauge":
        meter.set(value)
    else:
        meter.record(value)


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """The logger ``name`` says nothing inside, and is as it was afterwards."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@settings(max_examples=60, deadline=None)
@given(calls)
def test_whatever_is_recorded_every_format_can_be_read(recorded: list[Any]) -> None:
    """Any name, tag and value: nothing raises, the texts parse, the JSON is JSON."""
    registry = Registry(strict=False)
    with quiet("lookout.meters"):
        for call in recorded:
            apply(registry, *call)
    exposition = Exposition(registry)
    text = exposition.answer().body.decode()
    read = [sample for family in parse_text(text) for sample in family.samples]
    assert len({(s.name, frozenset(s.labels.items())) for s in read}) == len(read)
    list(parse_openmetrics(exposition.answer("application/openmetrics-text").body.decode()))
    exposition.answer("application/vnd.google.protobuf")
    for body in OtlpEncoder({"service.name": "s"}).encode(registry.collect(), 1):
        json.loads(body, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10**6)), max_size=60))
def test_totals_are_exact_from_many_threads(recorded: list[tuple[str, int]]) -> None:
    """Any calls, dealt out to threads in any way, add up to what one thread would have."""
    registry = Registry()
    counter, histogram = registry.counter("c"), registry.native_histogram("h")
    summary = registry.summary("s", buckets=(10, 1000))

    def work(number: int) -> None:
        for tag, amount in recorded[number::4]:
            counter.inc(amount, k=tag)
            histogram.record(amount, k=tag)
            summary.record(amount, k=tag)

    together(work, 4)
    expected: dict[str, list[int]] = {}
    for tag, amount in recorded:
        expected.setdefault(tag, []).append(amount)
    found: dict[tuple[str, str], Any] = {
        (snapshot.definition.name, dict(point.tags)["k"]): point
        for snapshot in registry.collect()
        for point in snapshot.points
        if point.tags
    }
    for tag, amounts in expected.items():
        point, native, classic = (found[name, tag] for name in "chs")
        assert isinstance(point, NumberPoint) and point.value == sum(amounts)
        assert isinstance(native, ExponentialPoint) and native.recorded == len(amounts)
        assert isinstance(classic, BucketPoint) and classic.total == sum(amounts)
        assert classic.counts[0] == sum(amount <= 10 for amount in amounts)
