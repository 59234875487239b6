"""The registry: limits, expiry, listeners, common tags, composites."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from lookout_client import InvalidName, InvalidUnit, MeterError, Registry
from lookout_client.composite import CompositeRegistry
from lookout_client.expiry import Expiry
from lookout_client.family import Definition
from lookout_client.free_threading import guard
from lookout_client.metric import Kind
from lookout_client.push.otlp import OtlpEncoder, portions
from lookout_client.scrape import Exposition
from lookout_client.self_metrics import SelfMetrics
from lookout_client.snapshot import NumberPoint, Snapshot


class Clock:
    seconds = 0.0

    def __call__(self) -> int:
        return int(self.seconds * 1e9)


def test_a_wrong_definition_is_named() -> None:
    """Names, units, mtypes, buckets and modes are checked at creation, with the reason."""
    registry = Registry()
    for error, message, create in [
        (InvalidName, "must not be empty", lambda: registry.counter("  ")),
        (InvalidName, "must be a text", lambda: registry.counter(7)),  # type: ignore[arg-type]
        (InvalidUnit, "is not a unit", lambda: registry.counter("a", unit="per second")),
        (InvalidUnit, "expected one of rate, count", lambda: registry.gauge("a", mtype="speed")),
        (InvalidUnit, "does not end in '/s'", lambda: registry.gauge("a", mtype="rate", unit="B")),
        (InvalidUnit, "its mtype is 'counter'", lambda: registry.counter("a", mtype="gauge")),
        (InvalidUnit, "its unit is 's'", lambda: registry.timer("a", unit="ms")),
        (MeterError, "must be numbers", lambda: registry.histogram("a", buckets=["x"])),
        (MeterError, "across must be one of", lambda: registry.gauge("a", across="avg")),
    ]:
        with pytest.raises(error, match=message):
            create()
    assert len(registry) == 0


#: Metrics 2.0's own units, and combinations that its text gives as examples.
METRICS20 = [
    "s", "Hz", "B", "b", "M", "h", "d", "w", "mo", "err", "warn", "conn", "event", "ino", "email",
    "jiff", "job", "file", "load", "metric", "msg", "P", "page", "pckt", "process", "req", "sock",
    "thread", "ticket", "kHz", "MB/s", "Mb/s", "req/s",
]  # fmt: skip


def test_every_unit_of_metrics_20_is_known() -> None:
    """None is remarked upon as unknown; what is in none of the vocabularies is."""
    registry = Registry()
    for number, unit in enumerate((*METRICS20, "Mbps", "furlong")):
        registry.gauge(f"g{number}", unit=unit).set(1)
    unknown = [remark for remark in registry.lint() if "is unknown to Metrics 2.0" in remark]
    assert [remark.split("'")[1] for remark in unknown] == ["Mbps", "furlong"]


def test_unit_and_mtype_and_meta_travel_but_are_no_identity() -> None:
    """Meta tags do not make another series; the push carries them beside the points."""
    registry = Registry()
    gauge = registry.gauge("disk", unit="B", mtype="gauge", meta={"agent": "a1"}, server="s1")
    gauge.set(1)
    assert registry.gauge("disk", meta={"agent": "a2"}, server="s1") is gauge
    (body,) = OtlpEncoder({}).encode(registry.collect(), 1)
    (metric,) = json.loads(body)["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert metric["unit"] == "B"
    metadata = {item["key"]: item["value"]["stringValue"] for item in metric["metadata"]}
    assert metadata == {"agent": "a1", "mtype": "gauge"}


def test_the_limits_hold_for_all_metrics_together() -> None:
    """`max_series` bounds the registry; totals stay right in the overflow series."""
    registry = Registry(max_series=50, max_series_per_metric=30)
    for number in range(1_000):
        registry.counter(f"c{number % 4}").with_tags(k=number).inc()
    points = [p for s in registry.collect() for p in s.points if isinstance(p, NumberPoint)]
    assert sum(point.value for point in points) == 1_000
    assert len(registry) <= 50 + 4  # the handles of metrics without tags are always there


def test_looking_up_without_end_keeps_nothing() -> None:
    """Tag values that never repeat do not fill the look-up tables."""
    registry = Registry(max_series_per_metric=10)
    counter = registry.counter("c", keys=("k",))
    for number in range(2_000):
        counter.with_tags(k=str(number)).inc()
        counter.tagged(str(number)).inc()
        counter.inc(other=str(number))
    spellings = counter.family.spellings
    kept = [*spellings.others, *(key for _, known in spellings.shapes.values() for key in known)]
    assert len(kept) <= 40


def test_idle_series_give_way_only_under_pressure() -> None:
    """Below the limit nothing expires; near it, what was idle long enough does."""
    clock = Clock()
    registry = Registry(max_series_per_metric=10, clock_ns=clock)
    expiry = Expiry(registry, idle_s=60)
    counter = registry.counter("c")
    for number in range(4):
        counter.with_tags(k=number).inc()
    for clock.seconds in (0, 120, 240):
        expiry.sweep()
    assert expiry.expired == 0
    for number in range(8):
        counter.with_tags(k=number).inc()
    for clock.seconds in (300, 320):
        expiry.sweep()
    counter.with_tags(k=0).inc()
    for clock.seconds in (361, 400):
        expiry.sweep()
    assert expiry.expired == 7
    assert registry.get("c", {"k": "0"}) is not None
    assert registry.get("c", {"k": "1"}) is None


def test_an_expired_meter_that_is_recorded_into_comes_back_whole() -> None:
    """Whoever still holds it loses nothing, even if the series was made anew meanwhile."""
    clock = Clock()
    registry = Registry(clock_ns=clock)
    expiry = Expiry(registry, idle_s=10, always=True)
    counter = registry.counter("c")
    held, other = counter.with_tags(k="held"), counter.with_tags(k="other")
    held.inc(5)
    other.inc(7)
    for clock.seconds in (0, 20, 40):
        expiry.sweep()
    assert registry.get("c", {"k": "held"}) is None
    counter.with_tags(k="other").inc(1)  # a new series while the old one is still held
    held.inc(2)
    other.inc(3)
    expiry.sweep()
    assert registry.get("c", {"k": "held"}) is held and held.value == 7
    made_anew = registry.get("c", {"k": "other"})
    assert made_anew is not None and made_anew is not other
    assert counter.with_tags(k="other").value == 11


def test_listeners_hear_of_all_series_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    """Those already there are replayed, a failing listener is passed over, listening ends."""
    registry = Registry()
    registry.counter("before")
    heard: list[str] = []

    class Listener:
        def added(self, meter: Any) -> None:
            heard.append(f"+{meter.id}")

        def removed(self, meter: Any) -> None:
            heard.append(f"-{meter.id}")

    stop = registry.listen(Listener())
    registry.listen(None)  # type: ignore[arg-type]
    registry.counter("c", a="b")
    registry.remove("c")
    stop()
    registry.counter("after")
    assert heard == ["+before[]", "+c[a=b]", "-c[a=b]"]
    assert "listener None fails" in caplog.text


def test_common_tags_are_on_everything_and_follow_changes() -> None:
    """A metric's own tag wins; setting None takes the common tag away."""
    registry = Registry(common_tags={"zone": "a", "own": "common"})
    registry.counter("c", own="mine").inc()
    exposition = Exposition(registry)
    assert b'c_total{own="mine",zone="a"} 1' in exposition.answer().body
    registry.set_common_tag("zone", "b")
    registry.set_common_tag("own", None)
    assert b'c_total{own="mine",zone="b"} 1' in exposition.answer().body


def test_a_composite_records_into_all_and_reads_the_first() -> None:
    """Counters, timers and tags reach every registry; another composite is refused."""
    first, second = Registry(), Registry()
    both = CompositeRegistry(first, second)
    counter = both.counter("c")
    counter.inc(2)
    counter.with_tags(a="b").inc()
    timer = both.timer("t")
    with timer.time():
        pass
    timer(lambda: None)()
    for registry in (first, second):
        assert registry.counter("c").value == 2
        assert registry.counter("c").with_tags(a="b").value == 1
        assert registry.timer("t").count == 2
    assert counter.value == 2
    with pytest.raises(TypeError, match="not CompositeRegistry"):
        both.add(CompositeRegistry())  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        both.nonsense  # noqa: B018


def test_portions_split_large_metrics() -> None:
    """A push in several bodies holds every point once."""
    registry = Registry()
    counter = registry.counter("c")
    for number in range(25):
        counter.with_tags(k=number).inc()
    registry.gauge("g").set(1)
    parts = list(portions(registry.collect(), 10))
    sizes = [sum(len(snapshot.points) for snapshot in part) for part in parts]
    assert sizes == [10, 10, 6]


def test_the_sdk_tells_of_itself() -> None:
    """Refused recordings, overflow and the number of series are metrics too."""
    registry = Registry(max_series_per_metric=2)
    registry.add_source(SelfMetrics(registry))
    counter = registry.counter("c")
    counter.inc(-1)
    for number in range(5):
        counter.with_tags(k=number).inc()
    body = Exposition(registry).answer().body
    assert b'lookout_meters_refused_total{reason="negative"} 1' in body
    assert b"lookout_meters_overflowed_total 4" in body
    assert b"lookout_meters_series 2" in body


def test_a_source_without_series_spoils_no_format() -> None:
    """A metric whose source has nothing to tell yet is left out, the others are answered."""
    registry = Registry()
    registry.counter("c").inc()
    registry.add_source(lambda: [Snapshot(Definition("empty", Kind.COUNTER), [])])
    exposition = Exposition(registry)
    for accept in ("", "application/openmetrics-text", "application/vnd.google.protobuf"):
        body = exposition.answer(accept).body
        assert b"c" in body and b"empty" not in body


def test_without_the_interpreter_lock_recordings_take_turns() -> None:
    """What guards a free-threaded interpreter runs the same methods, one at a time."""
    running, most = 0, 0

    class Meter:
        def record(self, value: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            running -= 1
            return value

    guard(Meter, ["record"])
    assert Meter().record(3) == 3
    assert most == 1


def test_meters_of_a_lenient_registry_never_raise(caplog: pytest.LogCaptureFixture) -> None:
    """The process-wide kind logs each mistake once and answers a meter that works apart."""
    registry = Registry(strict=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            registry.counter("x", unit="no unit").inc()
    assert len(caplog.records) == 1
    assert registry.collect() == []


def test_lint_says_what_could_be_better() -> None:
    """Units that are none or not base units, names, tags; nothing about a good metric."""
    registry = Registry(max_series_per_metric=2)
    registry.counter("good.requests", unit="1").inc(method="GET")
    assert registry.lint() == []
    registry.gauge("wait", unit="ms")
    registry.gauge("weight", unit="stone")
    registry.counter("jobs_total", unit="1").inc(Queue="a", _type_="b")
    registry.gauge("a.b", unit="1")
    registry.gauge("a_b", unit="1")
    registry.counter("nothing")
    for number in range(3):
        registry.counter("many", unit="1").inc(k=number)
    found = " | ".join(registry.lint())
    for remark in (
        "wait: unit 'ms' is not a base unit: record in 's'",
        "weight: unit 'stone' is unknown",
        "jobs_total: the name says 'total'",
        "jobs_total: tag 'Queue' is not lower case",
        "jobs_total: tag '_type_' has the form of the system's own tags",
        "a_b: Prometheus knows it by the name of a.b",
        "nothing: no unit",
        "many: more than 2 series",
    ):
        assert remark in found
