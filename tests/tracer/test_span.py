"""What a span records, what it refuses, and how it ends."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from exporters.memory import MemoryDestination
from exporters.records import EventRecord, LinkRecord, SpanRecord
from tracer import SpanContext, SpanKind, StatusCode, current, recorded
from tracer.limits import SpanLimits
from tracer.pipeline import Pipeline
from tracer.testing import Recorder, Ticks, recording
from tracer.tracer import Tracer
from tracer.values import fits


def test_a_finished_span_has_every_attribute_of_a_record(traces: Recorder) -> None:
    """Destinations read nothing but SpanRecord, and all of it is there."""
    with tracer.start_span("work", kind=SpanKind.SERVER, tags={"a": 1}):
        pass
    span = traces.one("work")
    names = [name for name in vars(SpanRecord) if not name.startswith("_")]
    assert len(names) >= 17
    for name in names:
        getattr(span, name)
    assert (span.name, span.kind, span.tags, span.parent_id) == ("work", 1, {"a": 1}, 0)
    assert span.trace_id > 0
    assert span.span_id == span.trace_id & (1 << 64) - 1
    assert (span.events, span.links, span.status, span.status_text) == (None, None, 0, "")
    assert (span.tracestate, span.scope, span.rpc_id) == ("", "", "0")
    assert span.resource.service_name


def test_all_fields_are_read_at_once(traces: Recorder) -> None:
    """What destinations read in one call is what each attribute says, whatever the span holds."""
    with tracer.start_span("root"):
        pass
    with (
        tracer.start_span("above"),
        pytest.raises(ValueError),
        tracer.start_span("below", kind=SpanKind.CLIENT, tags={"n": 2**70}) as span,
    ):
        span.add_link(tracer.start_span("elsewhere"))
        span.set_baggage_item("user", "7")
        raise ValueError("no")
    names = [name for name in vars(SpanRecord) if not name.startswith("_")]
    for span in traces:
        for _ in range(2):  # the second reading of the same keys takes the short way
            found = span.finished()
            for name in (*names, "baggage", "sofa_trace_id", "losses"):
                assert getattr(found, name) == getattr(span, name), name


@given(
    st.lists(
        st.dictionaries(
            st.one_of(st.text(max_size=6), st.integers()),
            st.one_of(st.text(max_size=70), st.integers(), st.booleans()),
            max_size=5,
        ),
        max_size=3,
    )
)
def test_tags_are_read_within_their_limits(several: list[dict[Any, Any]]) -> None:
    """Whatever is set, and however often the same keys come, what is read breaks no limit."""
    limits = SpanLimits(tags=3, key_length=4, value_length=60)
    for tags in several * 2:
        with recording(limits=limits) as traces, tracer.start_span("s") as span:
            span.set_tags(tags)
        read = traces.one("s").finished().tags or {}
        assert len(read) <= 3
        for key, value in read.items():
            assert type(key) is str
            assert len(key) <= 4
            assert type(value) is not str or len(value) <= 60
            assert type(value) is not int or -(2**63) <= value < 2**64
        if read == tags:
            assert fits(tags, limits)


def test_children_belong_to_their_parents(traces: Recorder) -> None:
    """Spans started inside a block form its tree."""
    with tracer.start_span("a"):
        with tracer.start_span("b"), tracer.start_span("c"):
            pass
        tracer.start_span("d").finish()
    assert traces.tree() == [("a", [("b", [("c", [])]), ("d", [])])]
    assert len({span.trace_id for span in traces}) == 1
    assert len({span.span_id for span in traces}) == 4


def test_finishing_twice_is_harmless(traces: Recorder) -> None:
    """Only the first finish counts: one record, one duration."""
    span = tracer.start_span("once")
    span.finish()
    duration = span.duration_ns
    span.finish()
    span.__exit__(None, None, None)
    with span:
        pass
    span.end(12)
    assert traces.names == ["once"]
    assert span.duration_ns == duration


def test_a_finished_span_takes_nothing_more(traces: Recorder) -> None:
    """What is said after the end is not recorded."""
    span = tracer.start_span("done")
    span.finish()
    span.set_tag("late", 1).set_tags({"later": 2})
    span.set_tag("list", [1])
    span.add_event("late")
    span.add_link(SpanContext(1, 2))
    span.record_exception(ValueError("late"))
    span.set_status(StatusCode.ERROR)
    span.set_name("late")
    assert (span.tags, span.events, span.links, span.status, span.name) == (
        {},
        None,
        None,
        0,
        "done",
    )
    assert not span.is_recording()


def test_times_are_unix_nanoseconds_from_a_monotonic_clock() -> None:
    """The start is a date, the duration what the monotonic clock says; the wall clock may jump."""
    clock = Ticks(start_ns=1_700_000_000_000_000_000, step_ns=0)
    with recording(clock=clock) as traces:
        span = tracer.start_span("timed")
        clock.advance(1_500)
        clock.offset_ns -= 10**15  # the wall clock is set back
        span.finish()
    assert traces.one("timed").start_ns == 1_700_000_000_000_000_000
    assert traces.one("timed").duration_ns == 1_500


def test_explicit_times_are_kept_exactly(traces: Recorder) -> None:
    """A span of the past has the times it was given; an end before the start counts as none."""
    span = tracer.start_span("past", start_ns=5_000)
    span.finish(end_ns=7_500)
    assert (span.start_ns, span.duration_ns, span.end_ns) == (5_000, 2_500, 7_500)
    backwards = tracer.start_span("backwards", start_ns=5_000)
    backwards.finish(end_ns=1)
    assert backwards.duration_ns == 0


@pytest.mark.parametrize(
    ("given_value", "recorded"),
    [
        ("text", "text"),
        (1, 1),
        (1.5, 1.5),
        (True, True),
        ([1, 2], (1, 2)),
        (("a", "b"), ("a", "b")),
        ([1, "a", None], ("1", "a", "None")),
        ([], ()),
        (b"raw\xff", "raw\\xff"),
        (SpanKind.CLIENT, 2),
        ({"a": 1}, "{'a': 1}"),
        (2**80, str(2**80)),
        (-(2**63), -(2**63)),
    ],
)
def test_any_value_becomes_one_that_can_be_recorded(
    traces: Recorder, given_value: Any, recorded: Any
) -> None:
    """Scalars stay, sequences become tuples of one type, everything else becomes text."""
    with tracer.start_span("tags") as span:
        span.set_tag("key", given_value)
    assert traces.one("tags").tags == {"key": recorded}
    assert type(traces.one("tags").tags["key"]) is type(recorded)


def test_none_records_nothing(traces: Recorder) -> None:
    """A tag without a value is no tag."""
    with tracer.start_span("tags") as span:
        span.set_tag("none", None)
    assert traces.one("tags").tags == {}


def test_a_list_is_copied_when_it_is_set(traces: Recorder) -> None:
    """What the application does to its list later does not change the record."""
    values = [1, 2]
    with tracer.start_span("tags") as span:
        span.set_tag("list", values)
        values.append(3)
    assert traces.one("tags").tags == {"list": (1, 2)}


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __hash__ = None  # type: ignore[assignment]


class NoMapping:
    def items(self) -> Any:
        raise RuntimeError("no items")


def test_nothing_said_to_a_span_raises(traces: Recorder) -> None:
    """Wrong types, unprintable values and unhashable keys are cleaned or counted, never raised."""
    odd: Any = Unprintable()
    with tracer.start_span(odd, kind=odd, tags=odd, links=odd, start_ns=odd) as span:
        span.set_tag(odd, 1)
        span.set_tag(7, odd)  # type: ignore[arg-type]
        span.set_tags(NoMapping())  # type: ignore[arg-type]
        span.add_event(odd, odd, odd)
        span.add_event("e", dict.fromkeys((1, None), odd))  # type: ignore[misc]
        span.add_link(odd, odd)
        span.set_status(odd, odd)
        span.set_status(99)
        span.set_name(odd)
        span.record_exception(odd, odd, odd)
        span.set_baggage_item(odd, odd)
    only = traces.spans[0]
    assert only.name == "<unprintable Unprintable>"
    assert only.kind == SpanKind.INTERNAL
    assert only.tags == {"<unprintable Unprintable>": 1, "7": "<unprintable Unprintable>"}
    assert len(only.events or ()) == 3


class Array:
    """What has no truth, such as an array of numpy's."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


@pytest.mark.parametrize("argument", ["tags", "links", "start_ns"])
@pytest.mark.parametrize("sampler", ["always", "ratio"])
def test_arguments_without_a_truth_value_start_a_span(argument: str, sampler: str) -> None:
    """An array in the wrong place costs its tags or links, never the application."""
    memory = MemoryDestination()
    tracer.init("svc", collector=None, sampler=sampler, sampler_arg=1.0, destinations=[memory])
    given: Any = {argument: Array()}
    with tracer.start_span("root", **given), tracer.start_span("child", **given):
        pass
    assert tracer.shutdown(5)
    assert [span.name for span in memory.spans] == ["child", "root"]


@given(
    key=st.one_of(st.text(), st.integers(), st.none(), st.binary()),
    value=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
)
def test_every_tag_ends_as_text_and_a_tag_value(key: Any, value: Any) -> None:
    """Whatever was set, a reader sees text keys and scalars or tuples of scalars of one type."""
    found: list[Any] = []
    with Tracer(Pipeline(found.append)).start_span("tags") as span:
        span.set_tag(key, value)
    for name, clean in (found[0].tags or {}).items():
        assert type(name) is str
        items = clean if isinstance(clean, tuple) else (clean,)
        assert len({type(item) for item in items}) <= 1
        assert all(type(item) in (str, bool, int, float) for item in items)


def test_what_is_beyond_a_limit_is_cut_and_counted() -> None:
    """Counts of tags, events and links and lengths of values are bounded, the first ones kept."""
    limits = SpanLimits(tags=3, events=2, links=1, event_attributes=1, value_length=4)
    with recording(limits=limits) as traces, tracer.start_span("full") as span:
        for number in range(10):
            span.set_tag(f"k{number}", "12345678")
            span.add_event("e", {"a": "123456", "b": 2})
            span.add_link(SpanContext(1, 2))
        span.set_tag("k0", "again")
    full = traces.one("full")
    assert full.tags == {"k0": "agai", "k1": "1234", "k2": "1234"}
    assert (full.dropped_tags, full.cut_values) == (7 + 2, 3)
    assert [event.attributes for event in full.events or ()] == [{"a": "1234"}] * 2
    assert (full.dropped_events, full.dropped_links) == (8, 9)
    assert len(full.links or ()) == 1


def test_events_and_links_keep_what_they_were_given(traces: Recorder) -> None:
    """An event has its moment and attributes, a link the identity it points at."""
    with tracer.start_span("linked") as span:
        span.add_event("cache miss", {"key": "k"}, 123)
        span.add_event("now")
        span.add_link(SpanContext(7, 8, tracestate="a=b"), {"why": "batch"})
    linked = traces.one("linked")
    assert linked.events is not None
    assert linked.events[0] == EventRecord(123, "cache miss", {"key": "k"})
    assert linked.start_ns < linked.events[1].time_ns < linked.end_ns
    assert linked.links == [LinkRecord(7, 8, "a=b", {"why": "batch"})]


def test_links_may_be_given_at_the_start(traces: Recorder) -> None:
    """Contexts, spans, and pairs with attributes."""
    other = tracer.start_span("other", parent=None)
    links: list[Any] = [SpanContext(1, 2), other, (SpanContext(3, 4), {"n": 1})]
    with tracer.start_span("joined", links=links):
        pass
    assert [(link.trace_id, link.span_id) for link in traces.one("joined").links or ()] == [
        (1, 2),
        (other.trace_id, other.span_id),
        (3, 4),
    ]


def test_status_follows_opentelemetrys_rules(traces: Recorder) -> None:
    """OK is final, UNSET changes nothing, a description belongs to ERROR."""
    span = tracer.start_span("status")
    span.set_status(StatusCode.ERROR, "broken")
    span.set_status(StatusCode.UNSET)
    assert (span.status, span.status_text) == (StatusCode.ERROR, "broken")
    span.set_status(StatusCode.OK, "ignored")
    span.set_status(StatusCode.ERROR, "too late")
    assert (span.status, span.status_text) == (StatusCode.OK, "")


def _fail(depth: int) -> None:
    if depth:
        _fail(depth - 1)
    raise KeyError("missing")


def test_an_exception_is_recorded_with_a_bounded_stack(traces: Recorder) -> None:
    """Type, message and stack are there; the middle of a deep stack is left out and said so."""
    with pytest.raises(KeyError), tracer.start_span("fails"):
        _fail(200)
    span = traces.one("fails")
    assert (span.status, span.status_text) == (StatusCode.ERROR, "KeyError: 'missing'")
    event = (span.events or ())[0]
    facts = dict(event.attributes or {})
    assert event.name == "exception"
    assert (facts["exception.type"], facts["exception.message"]) == ("KeyError", "'missing'")
    stack = str(facts["exception.stacktrace"])
    assert stack.startswith("Traceback (most recent call last):\n")
    assert stack.endswith("KeyError: 'missing'\n")
    assert "test_span.py" in stack
    assert "frames left out" in stack
    assert stack.count("in _fail") < 70


def test_an_exception_is_not_kept_alive() -> None:
    """Neither the exception nor a frame of its traceback outlives the block."""

    class Big:
        pass

    references: list[weakref.ref[Big]] = []

    def fails() -> None:
        big = Big()
        references.append(weakref.ref(big))
        raise ValueError("with a local")

    with recording() as traces:
        try:
            with tracer.start_span("fails"):
                fails()
        except ValueError:
            pass
        gc.collect()
        assert traces.names == ["fails"]
        assert references[0]() is None


def test_ends_that_are_no_errors_do_not_mark_one(traces: Recorder) -> None:
    """A closed generator, a cancelled task and an exit are ways to end, not failures."""
    for end in (GeneratorExit, KeyboardInterrupt, SystemExit):
        with pytest.raises(end), tracer.start_span(end.__name__):
            raise end
    assert {span.status for span in traces} == {StatusCode.UNSET}


def test_a_start_in_the_future_gives_no_negative_duration(traces: Recorder) -> None:
    """A message may say it was sent later than now: another host's clock did."""
    start_ns = tracer.start_span("now").start_ns + 10**12
    tracer.start_span("later", start_ns=start_ns).finish()
    assert traces.one("later").finished().duration_ns == 0


def test_a_span_in_the_ring_is_one_object_for_the_collector() -> None:
    """Of what waits only the span itself is tracked by the garbage collector."""
    kept: list[Any] = []
    start = Tracer(Pipeline(kept.append)).start_span
    with start("memory") as span:
        for key, value in (("a", "x"), ("b", "y"), ("c", "z"), ("d", 1), ("e", True)):
            span.set_tag(key, value)
    waiting = kept[0]
    tracked = [item for item in gc.get_referents(waiting) if gc.is_tracked(item)]
    shared = (span._tracer, type(waiting), current.EMPTY, recorded._CLOSED)
    own = [item for item in tracked if not any(item is one for one in shared)]
    assert [item for item in own if not isinstance(item, (SpanKind, StatusCode))] == []
    assert sys.getsizeof(waiting) <= 220


def test_a_chain_of_finished_spans_is_not_kept_alive() -> None:
    """A child holds numbers, not its parent, so that endless chains do not grow."""
    found: list[Any] = []
    start = Tracer(Pipeline(found.append)).start_span
    with start("parent"), start("child"):
        pass
    child, parent = found
    assert all(item is not parent for item in gc.get_referents(child))


def test_baggage_travels_to_children_and_stays_within_the_limits(traces: Recorder) -> None:
    """Items reach children started afterwards; one that is too large is not taken."""
    with tracer.start_span("a") as a:
        a.set_baggage_item("tenant", "gold")
        with tracer.start_span("b") as b:
            assert b.get_baggage_item("tenant") == "gold"
            b.set_baggage_item("only", "b")
            b.set_baggage_item("large", "x" * 9_000)
            assert b.get_baggage_item("large") is None
        assert a.get_baggage_item("only") is None
        for number in range(100):
            a.set_baggage_item(f"k{number}", "v")
        assert len(a.baggage.biz if a.baggage else {}) == 64
