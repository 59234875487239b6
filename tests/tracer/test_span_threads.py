"""One span in the hands of several threads, and on interpreters whose threads take no turns."""

from __future__ import annotations

import dis
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import tracer
from exporters.interpreter import has_gil
from tracer import AlwaysOff, recorded, start_span
from tracer.core import reference
from tracer.passive import PassiveSpan, UnsampledChild, UnsampledRoot
from tracer.recorded import RecordedSpan
from tracer.testing import Recorder, recording

_WITHOUT_THE_LOCK = """
import sys, threading
sys._is_gil_enabled = lambda: False
from tracer.recorded import RecordedSpan
from tracer.testing import recording
from tracer import start_span
assert "_once" in RecordedSpan.finish.__code__.co_names
with recording() as traces:
    with start_span("block") as span:
        span.set_tag("a", 1)
    span.finish()
    span.set_tag("b", 2)
    try:
        with start_span("fails"):
            raise KeyError
    except KeyError:
        pass
    start_span("by hand").finish()
fails = traces.one("fails")
print(traces.names, traces.one("block").tags, fails.status, fails.parent)
"""


def test_without_the_interpreter_lock_a_span_is_closed_under_a_lock() -> None:
    """A free-threaded interpreter gets the same spans, each finished once."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THE_LOCK], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['block', 'fails', 'by hand'] {'a': 1} 2 None"


_CHILDREN_WITHOUT_THE_LOCK = """
import sys
sys._is_gil_enabled = lambda: False
import tracer.tracer
from tracer import start_span
from tracer.testing import recording

def trace(frame, event, argument):
    frame.f_trace_opcodes = True
    if event == "opcode" and frame.f_code.co_filename == tracer.tracer.__file__:
        sys.settrace(None)
        frame.f_trace = None
        start("meanwhile")
        sys.settrace(trace)
        frame.f_trace = trace
    return trace

def start(name):
    ids.append(start_span(name, parent=parent).rpc_id)

ids = []
with recording():
    parent = start_span("parent")
    sys.settrace(trace)
    start("child")
    sys.settrace(None)
    ids.append(parent.next_rpc_id())
print(len(ids) > 20, len(ids) == len(set(ids)))
"""


def test_without_the_interpreter_lock_children_get_distinct_numbers() -> None:
    """On a free-threaded interpreter another thread may start a child at any step of our own."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILDREN_WITHOUT_THE_LOCK],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True True"


@pytest.mark.skipif(not has_gil(), reason="this interpreter has no lock to hand over")
def test_no_call_stands_between_the_look_at_a_span_and_its_end() -> None:
    """What the absence of a lock rests on: nothing hands the interpreter over in between."""
    for name in ("finish", "__exit__"):
        method = reference(RecordedSpan, name)
        steps = list(dis.get_instructions(method))
        read = max(n for n, step in enumerate(steps) if _loads_tags(step))
        closed = next(
            n
            for n, step in enumerate(steps)
            if n > read and step.opname == "STORE_ATTR" and step.argval == "_tags"
        )
        between = {step.opname for step in steps[read:closed]}
        assert not {name for name in between if name.startswith(("CALL", "PRECALL", "JUMP_BACK"))}


def _loads_tags(step: dis.Instruction) -> bool:
    return step.opname == "LOAD_ATTR" and step.argval == "_tags"


def _leave(span: RecordedSpan) -> None:
    with span:
        pass


def _between_steps(call: Callable[[], object], meanwhile: Callable[[], object]) -> None:
    """Call, and between any two steps of the interpreter do what another thread might do."""

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_code.co_filename == recorded.__file__:
            meanwhile()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("end", [reference(RecordedSpan, "finish"), _leave, recorded._finish])
def test_the_tags_can_be_read_at_any_moment_of_the_end(
    end: Callable[[RecordedSpan], None], traces: Recorder
) -> None:
    """Another thread that looks while a span is finished sees the tags."""
    span = tracer.start_span("seen", tags={"a": 1})
    assert isinstance(span, RecordedSpan)
    seen: list[object] = []
    _between_steps(lambda: end(span), lambda: seen.append(span.tags))
    assert len(seen) > 10
    assert all(tags == {"a": 1} for tags in seen)
    assert not span.is_recording()


def test_an_event_added_while_others_are_read_is_kept(traces: Recorder) -> None:
    """Who reads the events of an open span takes away none that another thread adds."""

    def add_at(moment: int) -> RecordedSpan:
        span = tracer.start_span("read")
        assert isinstance(span, RecordedSpan)
        span.add_event("first")
        moments = iter(range(moment + 1))
        _between_steps(
            lambda: span.events, lambda: next(moments, None) == moment and span.add_event("other")
        )
        return span

    kept = [add_at(moment).events for moment in range(100)]
    names = [[event.name for event in events or ()] for events in kept]
    several = names.count(["first", "other"])
    assert several > 10
    # The reading was over before the later moments came.
    assert names == [["first", "other"]] * several + [["first"]] * (100 - several)


def test_two_threads_may_say_the_first_thing_of_a_span(
    traces: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first event of one thread is not lost to that of another at the same moment."""
    span = tracer.start_span("shared")

    class Interrupted(recorded._Extra):
        """Another thread comes first, while this one makes what it will keep its event in."""

        def __init__(self) -> None:
            super().__init__()
            monkeypatch.undo()
            other = threading.Thread(target=span.add_event, args=("other",))
            other.start()
            other.join()

    monkeypatch.setattr(recorded, "_Extra", Interrupted)
    span.add_event("one")
    span.finish()
    assert [event.name for event in traces.one("shared").events] == ["other", "one"]


def test_children_started_by_many_threads_get_distinct_numbers(traces: Recorder) -> None:
    """16 threads starting children of one span never share a dotted id."""
    parent = tracer.start_span("parent")
    ids: list[str] = []

    def work() -> None:
        ids.extend(tracer.start_span("child", parent=parent).rpc_id for _ in range(500))

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert len(set(ids)) == len(ids) == 8_000


@pytest.mark.parametrize("below", [False, True])
def test_an_unsampled_span_that_gets_baggage_is_whole_at_every_moment(below: bool) -> None:
    """Whatever another thread asks it between two steps has an answer."""
    looks: list[int] = []

    def look(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code is not PassiveSpan.become.__code__:
            return None
        frame.f_trace_opcodes = True
        looks.append(span.trace_id + span.span_id)
        assert span.baggage is None
        return look

    with recording(sampler=AlwaysOff()), start_span("root"):
        span = start_span("child") if below else start_span("another", parent=None)
        assert type(span) in (UnsampledRoot, UnsampledChild)
        before = sys.gettrace()
        sys.settrace(look)
        try:
            span.set_baggage_item("user", "7")
        finally:
            sys.settrace(before)
    assert type(span) is PassiveSpan and span.get_baggage_item("user") == "7"
    assert len(looks) > 10 and len(set(looks)) == 1
