"""The current span in threads, pools, other processes and greenlets."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import tracer
from tracer import executors, start_span
from tracer.executors import ProcessTask, TracedExecutor, below, carrier
from tracer.testing import Recorder


def where() -> tuple[int, int, str | None]:
    """Trace and span id of what is current, and an item of its baggage."""
    context = tracer.current_context()
    if context is None:
        return (0, 0, None)
    item = context.baggage.biz.get("tenant") if context.baggage else None
    return (context.trace_id, context.span_id, item)


def test_a_traced_executor_runs_below_the_caller(traces: Recorder) -> None:
    """submit and map, with everything the caller's context holds."""
    with TracedExecutor(ThreadPoolExecutor(2)) as pool:
        with start_span("caller") as caller:
            caller.set_baggage_item("tenant", "gold")
            mine = (caller.trace_id, caller.span_id, "gold")
            assert pool.submit(where).result() == mine
            assert list(pool.map(lambda _: where(), range(3))) == [mine] * 3
        assert pool.submit(where).result() == (0, 0, None)


def test_a_process_pool_runs_below_the_caller(traces: Recorder) -> None:
    """Identity and baggage cross to another process as text."""
    spawn = multiprocessing.get_context("spawn")
    with (
        TracedExecutor(ProcessPoolExecutor(1, mp_context=spawn)) as pool,
        start_span("caller") as caller,
    ):
        caller.set_baggage_item("tenant", "gold")
        mine = (caller.trace_id, caller.span_id, "gold")
        assert pool.submit(where).result() == mine
        assert list(pool.map(ProcessTask(where), [])) == []


def _report(queue: multiprocessing.Queue[tuple[int, int, str | None]]) -> None:
    queue.put(where())


def test_a_process_task_carries_its_context(traces: Recorder) -> None:
    """The target of a multiprocessing.Process begins below the span it was made in."""
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    with start_span("caller") as caller:
        process = spawn.Process(target=ProcessTask(_report), args=(queue,))
        process.start()
    assert queue.get(timeout=30) == (caller.trace_id, caller.span_id, None)
    process.join(30)
    assert process.exitcode == 0


def test_a_carrier_is_plain_text(traces: Recorder) -> None:
    """It can be stored or sent, and read anywhere; without a span it is empty."""
    assert carrier() == {}
    with start_span("a") as span:
        headers = carrier()
    assert set(headers) == {"traceparent"}
    with below(headers):
        assert where()[:2] == (span.trace_id, span.span_id)
    with below({}):
        assert where() == (0, 0, None)


@pytest.fixture
def instrumented_threads() -> object:
    executors.instrument_threads()
    executors.instrument_threads()
    yield
    executors.uninstrument_threads()


def test_instrumented_threads_begin_below_their_starter(
    traces: Recorder, instrumented_threads: object
) -> None:
    """Plain threads and pools need no wrapping; a pool's worker keeps nothing of its first call."""
    found: list[tuple[int, int, str | None]] = []
    with ThreadPoolExecutor(1) as pool:
        with start_span("caller") as caller:
            mine = (caller.trace_id, caller.span_id, None)
            thread = threading.Thread(target=lambda: found.append(where()))
            thread.start()
            thread.join()
            timer = threading.Timer(0, lambda: found.append(where()))
            timer.start()
            timer.join()
            assert pool.submit(where).result() == mine
        assert pool.submit(where).result() == (0, 0, None)
    assert found == [mine, mine]


def test_undone_instrumentation_leaves_no_trace() -> None:
    """The standard library is as it was."""
    before = (threading.Thread.start, ThreadPoolExecutor.submit)
    executors.instrument_threads()
    assert threading.Thread.start is not before[0]
    executors.uninstrument_threads()
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == before


GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, tracer
from exporters.memory import MemoryDestination
memory = MemoryDestination()
sdk = tracer.init("svc", collector=None, destinations=[memory])
def work(n):
    with tracer.start_span(f"work {n}") as span:
        gevent.sleep(0.001)
        with tracer.start_span(f"inner {n}") as inner:
            gevent.sleep(0.001)
            assert inner.parent_id == span.span_id
            assert tracer.current_span() is inner
        assert tracer.current_span() is span
with tracer.start_span("main") as main:
    jobs = [gevent.spawn(tracer.wrap(work), n) for n in range(20)]
    gevent.joinall(jobs, raise_error=True)
assert tracer.flush(5)
assert len(memory.spans) == 41, len(memory.spans)
assert len({span.trace_id for span in memory.spans}) == 1
assert tracer.shutdown(5)
print("fine")
"""


def test_greenlets_keep_their_spans_apart() -> None:
    """Under gevent each greenlet has its own current span, and the flusher works."""
    pytest.importorskip("gevent", reason="gevent is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GEVENT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("fine", 0), done.stderr
