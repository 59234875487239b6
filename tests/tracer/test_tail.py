"""Keeping failed and slow traces that the sampler had turned down."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tracer
from exporters.records import SAMPLED
from tracer import AlwaysOff, AlwaysOn, SpanContext, start_span
from tracer.tail import MAX_SPANS, MAX_TRACES, TailBuffer
from tracer.testing import Recorder, Ticks, recording


class Kept:
    """A tail buffer in front of two lists."""

    def __init__(self, sampler: Any = None, **policy: Any) -> None:
        self.kept: list[tracer.Span] = []
        self.given_up: list[tracer.Span] = []
        self.buffer = TailBuffer(self.kept.append, self.given_up.append, **policy)
        self.clock = Ticks(step_ns=0)
        self._recording = recording(
            sampler=sampler or AlwaysOff(), record_unsampled=True, clock=self.clock
        )

    def __enter__(self) -> Kept:
        self._recording.__enter__()
        tracer.api.PIPELINE.emit = self.buffer.emit
        return self

    def __exit__(self, *error: Any) -> None:
        self._recording.__exit__(*error)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.kept]


def test_a_trace_with_a_failed_span_is_kept_whole() -> None:
    """An error anywhere in the local trace keeps all of it, marked as sampled."""
    with Kept() as tail:
        with start_span("root"), start_span("middle"):
            with pytest.raises(ValueError), start_span("failing"):
                raise ValueError
            start_span("fine").finish()
        with start_span("quiet"), start_span("child"):
            pass
    assert tail.names == ["failing", "fine", "middle", "root"]
    assert all(span.flags & SAMPLED for span in tail.kept)
    assert [span.name for span in tail.given_up] == ["child", "quiet"]


def test_a_slow_trace_is_kept() -> None:
    """Longer than the threshold at its root, to the nanosecond."""
    with Kept(errors=False, slower_than_s=0.5) as tail:
        for name, lasts in (("fast", 500_000_000), ("slow", 500_000_001)):
            with start_span(name):
                tail.clock.advance(lasts)
    assert tail.names == ["slow"]


def test_sampled_traces_pass_at_once() -> None:
    """Nothing is held back that is kept anyway."""
    with Kept(sampler=AlwaysOn()) as tail, start_span("root"):
        start_span("child").finish()
        assert tail.names == ["child"]


def test_a_span_that_ends_late_shares_the_decision() -> None:
    """A background task that finishes after its root is kept or given up like it."""
    with Kept() as tail:
        for failing in (True, False):
            with start_span(f"root {failing}") as root:
                late = start_span(f"late {failing}")
                if failing:
                    root.set_status(tracer.StatusCode.ERROR)
            late.finish()
    assert tail.names == ["root True", "late True"]
    assert [span.name for span in tail.given_up] == ["root False", "late False"]


def test_a_servers_part_of_a_remote_trace_is_decided_at_its_own_root() -> None:
    """The local root may have a parent in another process."""
    with Kept() as tail:
        parent = SpanContext(5, 6, sampled=False, is_remote=True)
        with start_span("server", parent=parent) as server:
            server.set_status(tracer.StatusCode.ERROR)
    assert tail.names == ["server"]


def test_what_is_held_is_bounded() -> None:
    """Neither many open traces nor one with many spans grows without end; nothing disappears
    uncounted."""
    with Kept() as tail:
        roots = [start_span("root", parent=None) for _ in range(MAX_TRACES + 50)]
        for root in roots:
            start_span("child", parent=root).finish()
        assert len(tail.buffer._held) == MAX_TRACES
        assert len(tail.given_up) == 50
        with start_span("wide"):
            for _ in range(MAX_SPANS + 10):
                start_span("leaf").finish()
        held = sum(len(spans) for spans in tail.buffer._held.values())
        assert held < MAX_TRACES
        for root in roots:
            root.finish()
    started = (MAX_TRACES + 50) * 2 + MAX_SPANS + 11
    assert len(tail.kept) + len(tail.given_up) == started


def test_threads_lose_and_repeat_nothing() -> None:
    """Children finishing on other threads while their root decides appear exactly once."""
    with Kept() as tail:
        for _ in range(200):
            root = start_span("root", parent=None)
            children = [start_span("child", parent=root) for _ in range(4)]
            threads = [threading.Thread(target=child.finish) for child in children]
            for thread in threads:
                thread.start()
            root.finish()
            for thread in threads:
                thread.join()
    seen = [id(span) for span in (*tail.kept, *tail.given_up)]
    assert len(seen) == len(set(seen)) == 1_000


def test_the_recorder_is_untouched(traces: Recorder) -> None:
    """The buffer of another test leaves no set-up behind."""
    start_span("a").finish()
    assert traces.names == ["a"]
