"""Ids: their form, their uniqueness, also in forked children."""

from __future__ import annotations

import os
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from tracer.identity import RandomIds, SequentialIds, format_span_id, format_trace_id
from tracer.pipeline import Pipeline
from tracer.sofa_ids import SofaIds, fnv1a_64
from tracer.testing import recording
from tracer.tracer import Tracer


def test_random_ids_are_distinct_and_never_zero() -> None:
    """100,000 ids of either width do not repeat and fit."""
    ids = RandomIds()
    traces = {ids.generate_trace_id() for _ in range(100_000)}
    spans = {ids.generate_span_id() for _ in range(100_000)}
    assert len(traces) == len(spans) == 100_000
    assert 0 < min(traces) <= max(traces) < 1 << 128
    assert 0 < min(spans) <= max(spans) < 1 << 64


@given(st.integers(0, (1 << 128) - 1), st.integers(0, (1 << 64) - 1))
def test_ids_are_written_at_full_length(trace_id: int, span_id: int) -> None:
    """32 and 16 lower-case hex digits that read back."""
    assert re.fullmatch("[0-9a-f]{32}", format_trace_id(trace_id))
    assert int(format_trace_id(trace_id), 16) == trace_id
    assert re.fullmatch("[0-9a-f]{16}", format_span_id(span_id))
    assert int(format_span_id(span_id), 16) == span_id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_children_make_other_ids() -> None:
    """Two children and their parent, forked at the same state, share no id."""
    ids = RandomIds()
    read, write = os.pipe()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.write(write, f"{ids.generate_trace_id():032x}\n".encode())
            os._exit(0)
        os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as lines:
        theirs = lines.read().split()
    assert len({*theirs, f"{ids.generate_trace_id():032x}"}) == 3


class OtelStyle:
    """A generator as OpenTelemetry's users write it."""

    def generate_trace_id(self) -> int:
        return 0xABC

    def generate_span_id(self) -> int:
        return 0xDEF


def test_the_generator_can_be_replaced() -> None:
    """Anything with OpenTelemetry's two methods makes the ids."""
    found: list[tracer.Span] = []
    start = Tracer(Pipeline(found.append, ids=OtelStyle())).start_span
    with start("root"), start("child"):
        pass
    assert [(span.trace_id, span.span_id, span.parent_id) for span in found] == [
        (0xABC, 0xDEF, 0xABC),
        (0xABC, 0xABC, 0),
    ]


class Broken:
    def generate_trace_id(self) -> int:
        raise RuntimeError("no id")

    def generate_span_id(self) -> int:
        return 0


def test_a_generator_that_fails_is_replaced_for_the_moment() -> None:
    """An exception, or an id that is none, never reaches the application."""
    with recording(ids=Broken()) as traces:
        with tracer.start_span("a"), tracer.start_span("b"):
            pass
        assert all(span.trace_id and span.span_id for span in traces)
        assert traces.tree() == [("a", [("b", [])])]


def test_sequential_ids_count() -> None:
    """Deterministic ids for tests that compare whole traces."""
    with recording(ids=SequentialIds()) as traces:
        with tracer.start_span("a"), tracer.start_span("b"):
            pass
        assert [(s.trace_id, s.span_id) for s in traces] == [(1, 2), (1, 1)]


# -- SOFATracer's ids ---


def test_a_sofa_id_is_address_time_sequence_and_process() -> None:
    """8 hex digits, 13 and 4 decimal ones, and the process id: all of them hex digits."""
    ids = SofaIds("10.15.232.128", pid=33277, clock_ms=lambda: 1_538_051_482_054)
    assert ids.text() == "0a0fe8801538051482054100133277"
    assert ids.text() == "0a0fe8801538051482054100233277"
    assert re.fullmatch(r"[0-9a-f]{8}\d{13}\d{4}\d+", SofaIds().text())
    assert SofaIds().text().endswith(str(os.getpid()))


def test_a_sofa_id_survives_as_a_number() -> None:
    """Made here it is spelled as SOFA spells it, leading zeros included."""
    ids = SofaIds("10.15.232.128", pid=7, clock_ms=lambda: 1_538_051_482_054)
    with recording(ids=ids), tracer.start_span("a") as span:
        assert span.sofa_trace_id == "0a0fe880153805148205410017"
    assert int("0a0fe880153805148205410017", 16) == span.trace_id


def test_the_sequence_begins_anew_after_9001_in_a_millisecond_of_its_own() -> None:
    """SOFATracer repeats ids beyond 8,002 in a millisecond; here the time counts on."""
    ids = SofaIds("1.2.3.4", pid=1, clock_ms=lambda: 1_538_051_482_054)
    made = [ids.text() for _ in range(30_000)]
    assert len(set(made)) == 30_000
    assert {text[21:25] for text in made} == {str(number) for number in range(1_001, 9_002)}


def test_a_clock_set_back_repeats_no_sofa_id() -> None:
    """Ids stay distinct when the wall clock jumps back (SOFATracer issue 389)."""
    times = iter([2_000, 2_001, 1_000, 1_001] * 10_000)
    ids = SofaIds("1.2.3.4", pid=1, clock_ms=lambda: next(times))
    assert len({ids.text() for _ in range(40_000)}) == 40_000


def test_sofa_ids_of_many_threads_are_distinct() -> None:
    """Eight threads at full speed share no id."""
    ids = SofaIds("1.2.3.4", pid=1)
    made: list[str] = []

    def work() -> None:
        made.extend([ids.text() for _ in range(5_000)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 40_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0xAF63AD4C86019CAF),
        ("0.1", 0x4E18DD181D0A2066),
        ("0.1.1", 0xB1ECC5B0E1CF206B),
        ("0.1.2", 0xB1ECC6B0E1CF221E),
        ("0.2", 0x4E18DC181D0A1EB3),
    ],
)
def test_dotted_ids_become_64_bits_as_in_sofatracer(text: str, expected: int) -> None:
    """FNV-1a of the dotted form, so that spans of both meet in Zipkin."""
    assert fnv1a_64(text) == expected


def test_dotted_ids_number_the_children() -> None:
    """The root is 0, its children 0.1, 0.2 ..., theirs 0.1.1; without any being asked for."""
    with recording() as traces, tracer.start_span("root") as root:
        for _ in range(3):
            tracer.start_span("child").finish()
        with tracer.start_span("inner"):
            tracer.start_span("leaf").finish()
        assert root.next_rpc_id() == "0.5"
    assert [span.rpc_id for span in traces] == ["0.1", "0.2", "0.3", "0.4.1", "0.4", "0"]


def test_dotted_ids_do_not_grow_without_end() -> None:
    """A chain of spans that never ends keeps its dotted ids, and so its memory, bounded."""
    with recording() as traces:
        parent = tracer.start_span("root", parent=None)
        for _ in range(1_000):
            parent = tracer.start_span("next", parent=parent)
            parent.finish()
        assert max(len(span.rpc_id) for span in traces) <= 255
        assert traces.spans[50].rpc_id == "0" + ".1" * 51
