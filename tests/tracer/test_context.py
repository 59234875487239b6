"""Which span is current: in blocks, tasks, generators and threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import opentelemetry.context as otel_context
import opentelemetry.trace as otel
import pytest

import tracer
from tracer import (
    AlwaysOff,
    AlwaysOn,
    Sampler,
    Span,
    SpanContext,
    current,
    current_span,
    start_span,
    use_span,
)
from tracer.testing import Recorder, recording


def test_what_was_current_before_is_current_again(traces: Recorder) -> None:
    """A block restores, also when it is left by an exception; without a span nothing is current."""
    assert not current_span().is_recording()
    with start_span("a") as a:
        with pytest.raises(ValueError), start_span("b"):
            raise ValueError
        assert current_span() is a
    assert tracer.current_context() is None


def test_a_detached_span_is_never_current(traces: Recorder) -> None:
    """start_span without ``with`` changes nothing but the list of spans, once it is finished."""
    span = start_span("detached")
    assert current_span() is not span
    with use_span(span):
        assert current_span() is span
        start_span("below").finish()
    span.finish()
    assert traces.tree() == [("detached", [("below", [])])]


def test_parent_none_begins_a_new_trace(traces: Recorder) -> None:
    """A root may be started inside another trace."""
    with start_span("a"), start_span("b", parent=None) as root:
        pass
    assert root.parent_id == 0
    assert traces.tree() == [("a", []), ("b", [])]


def test_tasks_inherit_and_do_not_disturb_each_other(traces: Recorder) -> None:
    """Each asyncio task goes on below the span that was current where it was created."""

    async def work(name: str) -> None:
        with start_span(name):
            await asyncio.sleep(0)
            with start_span(f"{name}.1"):
                await asyncio.sleep(0)

    async def main() -> None:
        with start_span("main"):
            await asyncio.gather(*(work(str(number)) for number in range(3)))

    asyncio.run(main())
    assert traces.tree() == [("main", [(str(n), [(f"{n}.1", [])]) for n in range(3)])]


def test_a_task_that_outlives_its_parent_stays_below_it(traces: Recorder) -> None:
    """Work handed to the background belongs to the request that started it."""

    async def background() -> None:
        await asyncio.sleep(0.001)
        with start_span("first"):
            pass
        with start_span("second"):
            pass

    async def main() -> None:
        with start_span("request"):
            task = asyncio.create_task(background())
        await task

    asyncio.run(main())
    assert traces.tree() == [("request", [("first", []), ("second", [])])]


def test_cancellation_ends_the_span_and_restores(
    traces: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled task finishes its spans; nobody hears of contexts that do not match."""

    async def slow() -> None:
        with start_span("slow"):
            await asyncio.sleep(60)

    async def main() -> None:
        with start_span("main") as span:
            task = asyncio.create_task(slow())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert current_span() is span

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    assert traces.tree() == [("main", [("slow", [])])]
    assert traces.one("slow").status == tracer.StatusCode.UNSET
    assert [event.name for event in traces.one("slow").events or ()] == ["cancelled"]
    assert "ontext" not in caplog.text.replace("asyncio", "")


def test_an_async_generator_closed_by_another_task_disturbs_nobody(
    traces: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The block of an abandoned generator is left in a context that never entered it: no error,
    and what is current there stays."""

    async def numbers() -> AsyncIterator[int]:
        with start_span("generator"):
            yield 1
            yield 2

    async def close(generator: AsyncIterator[int]) -> None:
        with start_span("closer") as closer:
            await generator.aclose()  # type: ignore[attr-defined]
            assert current_span() is closer

    async def main() -> None:
        with start_span("main") as span:
            generator = numbers()
            await anext(generator)
            await asyncio.create_task(close(generator))
            # The generator left its span behind here; it is over, so nobody is put below it.
            assert current_span() is span
            start_span("after").finish()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    assert traces.one("after").parent_id == traces.one("main").span_id
    assert [r for r in caplog.records if r.name != "asyncio"] == []
    assert tracer.current_context() is None


@pytest.mark.parametrize("sampler", [AlwaysOn(), AlwaysOff()])
@pytest.mark.parametrize("look", ["start", "current", "OpenTelemetry"])
def test_blocks_left_out_of_order_leave_nothing_finished_current(
    sampler: Sampler, look: str
) -> None:
    """Two generators whose blocks overlap: afterwards what was current before is current again,
    whoever looks first."""

    def block(name: str) -> Iterator[None]:
        with start_span(name):
            yield

    def overlapping() -> Span:
        first, second = block("first"), block("second")
        next(first)
        left = current_span()
        next(second)
        assert list(first) == []
        assert current_span().name == "second"
        assert list(second) == []
        return left

    with recording(sampler=sampler):
        with start_span("outer") as outer:
            overlapping()
            if look == "current":
                assert current_span() is outer
            elif look == "OpenTelemetry":
                assert otel.get_current_span() is outer
            assert start_span("after").trace_id == outer.trace_id
            assert current.get() is outer
        assert tracer.current_context() is None
        left = overlapping()
        if look == "OpenTelemetry":
            assert otel.get_current_span() is otel.INVALID_SPAN
        assert start_span("root").trace_id != left.trace_id
        assert tracer.current_context() is None


def test_entering_a_span_twice_restores_what_was_before(traces: Recorder) -> None:
    """Nested blocks of one span end it once and leave nothing behind."""
    with start_span("twice") as span, span:
        pass
    assert traces.names == ["twice"]
    assert tracer.current_context() is None


@pytest.mark.parametrize("sampler", [AlwaysOn(), AlwaysOff()])
def test_entering_a_span_twice_leaves_the_one_around_it(sampler: Sampler) -> None:
    """A child or a root entered twice inside a span: that one is current again."""
    with recording(sampler=sampler), start_span("around") as around, start_span("outer") as outer:
        with outer, start_span("child") as child, child:
            pass
        for parent in (around, None):
            with use_span(around), start_span("twice", parent=parent) as span:
                with span:
                    assert current_span() is span
                assert current_span() is around


@pytest.mark.parametrize("sampler", [AlwaysOn(), AlwaysOff()])
def test_one_span_may_be_entered_in_several_places_at_once(sampler: Sampler) -> None:
    """A span shared with a task, a thread or a ``use_span`` is left without an error anywhere, and
    nothing stays current."""
    with recording(sampler=sampler):
        asyncio.run(_enter_here_and_in_a_task(start_span("task")))
        with start_span("thread") as shared, ThreadPoolExecutor(1) as pool:
            pool.submit(_enter, shared).result()
        with use_span(start_span("used")) as used:
            assert used is not None
            with used:
                assert current_span() is used
            assert tracer.current_context() is None
        assert tracer.current_context() is None


@pytest.mark.parametrize("sampler", [AlwaysOn(), AlwaysOff()])
def test_a_block_of_a_used_span_leaves_the_one_around_both(sampler: Sampler) -> None:
    """Once or twice, entered or used before: what was current before ``use_span`` is again."""
    with recording(sampler=sampler), start_span("around") as around:
        with use_span(start_span("used")) as used:
            assert used is not None
            with used:
                assert current_span() is used
            assert current_span() is around
        assert current_span() is around
        with use_span(start_span("again")) as used:
            assert used is not None
            with start_span("between") as between:
                with use_span(used), used:
                    assert current_span() is used
                assert current_span() is between
            with start_span("between") as between, use_span(used):
                pass
        assert current_span() is around
        with start_span("entered") as entered, start_span("between") as between:
            with use_span(entered), entered:
                assert current_span() is entered
            assert current_span() is between
        assert current_span() is around
        with use_span(used), use_span(used), used:
            assert current_span() is used
        assert current_span() is around
    assert tracer.current_context() is None


@pytest.mark.parametrize("sampler", [AlwaysOn(), AlwaysOff()])
def test_a_span_used_by_two_tasks_keeps_neither_others_parent(sampler: Sampler) -> None:
    """What was current in a task before it used the span is current there afterwards."""

    async def use(span: Span, turns: Sequence[asyncio.Event]) -> None:
        with start_span("own", parent=None) as own:
            with use_span(span):
                turns[0].set()
                await turns[1].wait()
                with span:
                    pass
            assert current_span() is own

    async def both() -> None:
        shared, one, two = start_span("shared"), asyncio.Event(), asyncio.Event()
        await asyncio.gather(use(shared, (one, two)), use(shared, (two, one)))

    with recording(sampler=sampler):
        asyncio.run(both())


def test_a_generator_with_a_used_span_changes_nothing_where_it_is_closed(
    traces: Recorder,
) -> None:
    """Whether the span was entered and left in it before or not."""

    def use(leaves: bool) -> Generator[None]:
        with use_span(start_span("used")) as used:
            assert used is not None
            if leaves:
                with used:
                    pass
            yield

    for leaves in (False, True):
        with start_span("there"):
            generator = use(leaves)
            contextvars.copy_context().run(next, generator)
        with start_span("here") as here:
            generator.close()
            assert current_span() is here
        generator = use(leaves)
        with start_span("there"):
            contextvars.copy_context().run(next, generator)
        generator.close()
        assert tracer.current_context() is None


def test_a_used_span_holds_nothing_afterwards(traces: Recorder) -> None:
    """A chain of tasks, each below the last one's span, does not keep a chain of spans."""
    used = start_span("used", parent=None)
    with start_span("around") as around, use_span(used):
        assert current_span() is used
    reached = gc.get_referents(used)
    assert not any(found is around for one in reached for found in (one, *gc.get_referents(one)))


async def _enter_here_and_in_a_task(span: Span) -> None:
    async def enter() -> None:
        _enter(span)

    with span:
        await asyncio.create_task(enter())
        assert current_span() is span
    assert tracer.current_context() is None


def _enter(span: Span) -> None:
    with span:
        assert current_span() is span


def test_a_block_that_is_never_left_is_freed_with_its_thread(traces: Recorder) -> None:
    """An instrumentation that forgets to leave keeps neither the span nor what was current."""

    class Thing:
        pass

    held: list[weakref.ref[Thing]] = []

    def forget() -> None:
        thing = Thing()
        held.append(weakref.ref(thing))
        otel_context.attach(otel_context.set_value("thing", thing))
        start_span("never left").__enter__()
        assert otel_context.get_value("thing") is thing

    thread = threading.Thread(target=forget)
    thread.start()
    thread.join()
    gc.collect()
    assert held[0]() is None


def test_many_deep_blocks_unwind(traces: Recorder) -> None:
    """A thousand nested spans end in order."""

    def nest(depth: int) -> None:
        if depth:
            with start_span("level"):
                nest(depth - 1)

    nest(300)
    assert len(traces) == 300
    assert tracer.current_context() is None


def test_wrap_takes_the_context_along(traces: Recorder) -> None:
    """A wrapped function runs below the span that was current when it was wrapped, many times
    at once, and leaves nothing in the thread."""

    def work() -> None:
        start_span("work").finish()

    with ThreadPoolExecutor(4) as pool:
        with start_span("caller"):
            wrapped = tracer.wrap(work)
        for future in [pool.submit(wrapped) for _ in range(8)]:
            future.result()
        assert pool.submit(tracer.current_context).result() is None
    assert traces.tree() == [("caller", [("work", [])] * 8)]


def test_a_wrapped_coroutine_function_runs_below_the_span_it_was_wrapped_in(
    traces: Recorder,
) -> None:
    """Awaited elsewhere and later, it still belongs there, and restores what was current."""

    async def work() -> None:
        await asyncio.sleep(0)
        start_span("work").finish()

    with start_span("caller"):
        wrapped = tracer.wrap(work)

    async def main() -> None:
        with start_span("other") as other:
            await wrapped()
            assert current_span() is other

    asyncio.run(main())
    assert traces.tree() == [("caller", [("work", [])]), ("other", [])]


def test_a_context_that_arrived_can_be_current(traces: Recorder) -> None:
    """Spans below a remote context continue its trace."""
    remote = SpanContext(0xABC, 0xDEF, is_remote=True, tracestate="v=1")
    with use_span(remote), start_span("server") as span:
        pass
    assert (span.trace_id, span.parent_id, span.tracestate) == (0xABC, 0xDEF, "v=1")
    with use_span(remote), use_span(None):
        assert start_span("root").parent_id == 0


# -- OpenTelemetry ---


def test_unsampled_spans_are_current_too() -> None:
    """OpenTelemetry sees an unsampled span of ours with one stable identity, and children stay
    unsampled."""
    with recording(sampler=AlwaysOff()) as traces:
        with start_span("a") as a:
            seen = otel.get_current_span().get_span_context()
            assert seen == a.get_span_context()
            assert seen.is_valid
            assert not seen.trace_flags.sampled
            with start_span("b", tags={"k": 1}) as b:
                assert b.context.trace_id == a.context.trace_id
                assert b.context.span_id != a.context.span_id
                assert not b.is_recording()
            assert current_span() is a
        assert tracer.current_context() is None
        assert traces.spans == []


def test_every_attribute_of_a_passive_span_can_be_read() -> None:
    """Code that reads past the API finds defaults on unsampled spans and when tracing is off."""
    from exporters.records import SpanRecord

    names = [name for name in vars(SpanRecord) if not name.startswith("_")]
    with recording(sampler=AlwaysOff()), start_span("unsampled") as span:
        remote = use_span(SpanContext(1, 2, is_remote=True)).__enter__()
        for some in (span, remote, tracer.passive.NOOP):
            assert some is not None
            for name in names:
                getattr(some, name)
            some.set_tag("a", 1).set_tags({}).set_name("x")
            some.add_event("e")
            some.finish()


def test_off_is_one_span_that_does_nothing() -> None:
    """With tracing off every span is the same object, never current, and nothing is injected."""
    with recording(enabled=False) as traces:
        first, second = start_span("a"), start_span("b")
        assert first is second
        with first as span:
            assert span is first
            assert tracer.current_context() is None
            headers: dict[str, str] = {}
            tracer.inject(headers)
            assert headers == {}
        assert traces.spans == []
