"""The flusher: lazy, isolated, punctual, and unharmed by forks and exits."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporters.destination import Deadline, LocalDestination
from exporters.flusher import Flusher
from exporters.isolated import Isolated
from exporters.ledger import Ledger
from exporters.memory import MemoryDestination
from exporters.ring import Ring
from exporters.suppression import instrumentation_suppressed, suppressed

ROOT = Path(__file__).parents[2]


class Rig:
    """A ring and a flusher with an in-memory destination."""

    def __init__(self, *destinations: Any, capacity: int = 65_536, **options: Any) -> None:
        self.memory = MemoryDestination()
        self.ledger = Ledger("shop")
        self.ring: Ring[Any] = Ring(capacity)
        self.flusher = Flusher(
            self.ring, [self.memory, *destinations], ledger=self.ledger, **options
        )


@pytest.fixture
def rig() -> Any:
    made: list[Rig] = []

    def make(*arguments: Any, **options: Any) -> Rig:
        made.append(Rig(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.flusher.shutdown(1)


def flusher_threads() -> int:
    return sum(thread.name == "lookout-flusher" for thread in threading.enumerate())


def test_the_thread_starts_with_the_first_record(
    rig: Any, span: Any, wait_until: Callable[..., None]
) -> None:
    """A process that records nothing has no thread; the first record is delivered by one."""
    before = flusher_threads()
    lookout = rig(interval_s=0.01)
    assert flusher_threads() == before
    lookout.ring.offer(span())
    wait_until(lambda: lookout.memory.spans)
    assert flusher_threads() == before + 1


def test_an_idle_flusher_wakes_for_the_next_record(
    rig: Any, span: Any, wait_until: Callable[..., None]
) -> None:
    """Also after it has gone to sleep."""
    lookout = rig(interval_s=0.001)
    for count in range(1, 6):
        lookout.ring.offer(span())
        wait_until(lambda count=count: len(lookout.memory.spans) == count, 2.0)


def test_a_nap_ends_when_the_ring_is_half_full(
    rig: Any, span: Any, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long records may wait, the ring is not left to overflow."""
    monkeypatch.setattr("exporters.flusher._LONGEST_SLEEP_S", 3600.0)
    lookout = rig(interval_s=3600, capacity=64)
    lookout.flusher._period_s = 3600.0  # as after many turns that had little to do
    marks: list[int] = []
    set_mark = lookout.ring.set_mark
    monkeypatch.setattr(lookout.ring, "set_mark", lambda mark: (set_mark(mark), marks.append(mark)))
    lookout.ring.offer(span())
    wait_until(lambda: lookout.memory.spans and marks[-2:] == [0, 0])  # it sleeps
    lookout.ring.offer(span())
    for turns in (1, 2):  # the nap after a sleep, and the one after a turn
        wait_until(lambda: marks[-1] == 32)
        for _ in range(40):
            lookout.ring.offer(span())
        wait_until(lambda turns=turns: len(lookout.memory.spans) > 33 * turns)
    assert lookout.ring.dropped == 0


def test_turns_are_as_short_as_records_are_dear(
    rig: Any, span: Any, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a record costs is learned, and no turn is longer than the application should feel."""
    spent = [0.0]

    class Dear(MemoryDestination):
        name = "dear"

        def accept(self, records: Any) -> None:
            turns.append(len(records))
            spent[0] += 0.0001 * len(records)

    turns: list[int] = []
    monkeypatch.setattr("exporters.flusher.time.thread_time", lambda: spent[0])
    lookout = rig(Dear(), interval_s=0.001)
    one = span()
    for _ in range(5_000):
        lookout.ring.offer(one)
    wait_until(lambda: sum(turns) == 5_000, 20.0)
    assert max(turns[-10:-1]) * 0.0001 < 0.006


def test_a_burst_from_eight_threads_is_not_dropped(rig: Any, span: Any) -> None:
    """100,000 spans at once fit the ring, arrive, and balance in the ledger."""
    lookout = rig(capacity=131_072)
    record = span()

    def produce() -> None:
        for _ in range(12_500):
            lookout.ring.offer(record)

    threads = [threading.Thread(target=produce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lookout.flusher.flush(20)
    report = lookout.ledger.report("memory")
    assert report.balanced
    assert (report.created, report.sent, report.dropped) == (100_000, 100_000, {})


def test_destinations_do_not_disturb_each_other(rig: Any, spans: Any) -> None:
    """One that raises is counted and reported; the others get everything."""

    class Broken(LocalDestination):
        name = "broken"

        def accept(self, records: Any) -> None:
            raise RuntimeError("listener")

    lookout = rig(Broken())
    for record in spans(10):
        lookout.ring.offer(record)
    assert lookout.flusher.flush(5)
    assert [record.span_id for record in lookout.memory.spans] == list(range(1, 11))
    report = lookout.ledger.report("broken")
    assert report.balanced
    assert report.dropped == {"destination_failed": 10}


def test_a_slow_destination_slows_only_itself(rig: Any, spans: Any) -> None:
    """Behind a queue of its own one that hangs delays nobody, and drops are its own."""
    release = threading.Event()

    class Hanging(MemoryDestination):
        name = "hanging"

        def accept(self, records: Any) -> None:
            release.wait(30)
            super().accept(records)

    hanging = Hanging()
    lookout = rig(Isolated(hanging, queue_records=100), interval_s=60)
    for record in spans(150):
        lookout.ring.offer(record)
    assert not lookout.flusher.flush(0.2)
    assert len(lookout.memory.spans) == 150
    release.set()
    assert lookout.flusher.flush(5)
    report = lookout.ledger.report("hanging")
    assert report.balanced
    assert report.sent == len(hanging.spans) >= 100
    assert report.dropped == {"queue_full": 150 - report.sent}


def test_periodic_work_that_hangs_is_isolated_too(rig: Any, wait_until: Any) -> None:
    """What an isolated destination does from time to time runs beside the flusher's own tasks, and
    a last time at shutdown."""
    release, began = threading.Event(), threading.Event()
    turns: list[str] = []

    class Tidy(MemoryDestination):
        name = "tidy"

        @property
        def periodic_tasks(self) -> Any:
            return ((0.01, self.tidy),)

        def tidy(self) -> None:
            began.set()
            release.wait(30)
            turns.append("tidy")

    lookout = rig(Isolated(Tidy()))
    lookout.flusher.schedule(0.01, lambda: turns.append("flusher"))
    assert began.wait(10)
    wait_until(lambda: turns.count("flusher") > 3)
    assert "tidy" not in turns
    release.set()
    wait_until(lambda: "tidy" in turns)
    turns.clear()
    assert lookout.flusher.shutdown(5)
    assert "tidy" in turns


def test_every_record_is_sent_once_however_often_it_is_offered(rig: Any, span: Any) -> None:
    """A double finish is the tracer's to prevent; the ledger counts what was offered."""
    lookout = rig()
    record = span()
    lookout.ring.offer(record)
    lookout.ring.offer(record)
    assert lookout.flusher.flush(5)
    assert (lookout.ledger.report("memory").created, len(lookout.memory.spans)) == (2, 2)


def test_unsampled_spans_are_only_counted(rig: Any, span: Any) -> None:
    """A span recorded for the statistics alone reaches no destination."""
    lookout = rig()
    for flags in (1, 0, 1, 0, 0):
        lookout.ring.offer(span(flags=flags))
    lookout.ledger.sample_out()
    assert lookout.flusher.flush(5)
    report = lookout.ledger.report("memory")
    assert report.balanced
    assert (report.created, report.sampled_out, report.sent) == (6, 4, 2)


def test_flush_keeps_its_deadline(rig: Any, span: Any) -> None:
    """A destination that hangs does not hold up who flushes."""
    release = threading.Event()

    class Hanging(MemoryDestination):
        name = "hanging"

        def flush(self, deadline: Deadline) -> bool:
            return release.wait(deadline.left())

    lookout = rig(Hanging())
    lookout.ring.offer(span())
    started = time.monotonic()
    assert not lookout.flusher.flush(0.1)
    assert time.monotonic() - started < 2
    release.set()
    assert lookout.flusher.flush(1)


def test_shutdown_refuses_and_counts_what_comes_later(rig: Any, span: Any) -> None:
    """After shutdown nothing is taken any more, and the ledger says so."""
    lookout = rig()
    lookout.ring.offer(span())
    assert lookout.flusher.shutdown(5)
    assert lookout.flusher.shutdown(5)
    lookout.ring.offer(span())
    report = lookout.ledger.report("memory")
    assert report.balanced
    assert (report.created, report.sent, report.dropped) == (2, 1, {"shutdown": 1})


def test_tasks_run_periodically_and_at_shutdown(
    rig: Any, wait_until: Callable[..., None], caplog: Any
) -> None:
    """Periodic work runs without any span, survives its own failures, and runs a last time."""
    caplog.set_level(logging.WARNING, "lookout")
    lookout = rig()
    runs: list[float] = []
    failures: list[int] = []

    def fail() -> None:
        failures.append(1)
        raise RuntimeError("task")

    lookout.flusher.schedule(0.01, lambda: runs.append(time.monotonic()))
    failing = lookout.flusher.schedule(0.01, fail)
    wait_until(lambda: len(runs) > 3 and len(failures) > 3)
    failing.cancel()
    before = len(runs)
    lookout.flusher.shutdown(5)
    assert len(runs) > before
    assert sum("periodic task" in r.getMessage() for r in caplog.records) == 1


def test_the_last_run_comes_after_the_one_that_goes_on(rig: Any) -> None:
    """At shutdown a task that the thread is in is not run beside itself, but once more after it."""
    lookout = rig()
    order: list[str] = []
    inside, overtaken = threading.Event(), threading.Event()

    def work() -> None:
        name = threading.current_thread().name
        order.append(f"begin {name}")
        if inside.is_set():
            overtaken.set()
        else:
            inside.set()
            overtaken.wait(0.5)  # as long as another run has to come in, which it must not
        order.append(f"end {name}")

    lookout.flusher.schedule(0.01, work)
    assert inside.wait(10)
    assert lookout.flusher.shutdown(30)
    assert order[:2] == ["begin lookout-flusher", "end lookout-flusher"]
    assert order[-2:] == ["begin MainThread", "end MainThread"]
    assert all(one[6:] == two[4:] for one, two in zip(order[::2], order[1::2], strict=True))


@pytest.mark.parametrize("period", [0, -1])
def test_names_a_senseless_period(rig: Any, period: int) -> None:
    """A period must be positive."""
    with pytest.raises(ValueError, match=f"positive, not {period}"):
        rig().flusher.schedule(period, print)


def test_names_key_the_ledger(rig: Any) -> None:
    """Two destinations of one name would mix their counts."""
    with pytest.raises(ValueError, match="named 'memory' already"):
        rig(MemoryDestination())


def test_own_work_is_not_traced(rig: Any, span: Any) -> None:
    """Instrumented libraries see that they work for the exporter; the application's do not."""
    seen: list[bool] = []

    class Looking(MemoryDestination):
        name = "looking"

        def accept(self, records: Any) -> None:
            seen.append(instrumentation_suppressed())
            super().accept(records)

    lookout = rig(Looking(), interval_s=0.001)
    lookout.ring.offer(span())
    deadline = time.monotonic() + 5
    while not seen and time.monotonic() < deadline:
        time.sleep(0.001)
    assert seen == [True]
    assert not instrumentation_suppressed()
    with suppressed():
        assert instrumentation_suppressed()
    assert not instrumentation_suppressed()


def python(code: str, *arguments: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'exporters'}"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


SETUP = """
import os, sys, threading, time
from conftest import Span
from exporters.flusher import Flusher
from exporters.isolated import Isolated
from exporters.ledger import Ledger
from exporters.logs import RollingLogs
from exporters.ring import Ring
ledger = Ledger("shop")
ring = Ring(65536)
logs = RollingLogs(sys.argv[1], stats=False, self_log=False)
flusher = Flusher(ring, [logs], ledger=ledger)
"""


def written(directory: Path) -> list[int]:
    path = directory / "biz-digest.log"
    return [int(json.loads(line)["id"], 16) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("ending", "status"),
    [("pass", 0), ("sys.exit(3)", 3), ("raise ValueError('x')", 1), ("flusher.shutdown()", 0)],
)
def test_exit_loses_nothing(tmp_path: Path, ending: str, status: int) -> None:
    """Spans of the last moment are written however the interpreter ends."""
    code = SETUP + f"for n in range(1, 1001): ring.offer(Span(span_id=n))\n{ending}\n"
    result = python(code, tmp_path)
    assert result.returncode == status, result.stderr
    assert written(tmp_path) == list(range(1, 1001))


FORK = (
    SETUP
    + """
stop = threading.Event()
def load(base):
    n = base
    while not stop.is_set():
        n += 1
        ring.offer(Span(span_id=n))
        if n % 50 == 0:
            time.sleep(0.001)
    counts.append(n - base)
counts = []
thread = threading.Thread(target=load, args=(1_000_000,))
thread.start()
children = []
for child in range(1, 9):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        for n in range(500):
            ring.offer(Span(span_id=child * 10_000 + n))
        assert ledger.report("logs").created == 500, ledger.report("logs")
        ok = flusher.shutdown(10)
        report = ledger.report("logs")
        os._exit(0 if ok and report.balanced and report.sent == 500 else 9)
    children.append(pid)
statuses = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
thread.join()
assert flusher.shutdown(10)
report = ledger.report("logs")
assert report.balanced and report.created == counts[0] == report.sent, report
assert statuses == [0] * 8, statuses
print(counts[0])
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_forks_under_load(tmp_path: Path) -> None:
    """Eight children forked while the parent records: every span once, every ledger balanced."""
    result = python(FORK, tmp_path, timeout=60)
    assert result.returncode == 0, result.stderr
    ids = written(tmp_path)
    assert len(ids) == len(set(ids)) == int(result.stdout) + 8 * 500


CHILD_WITHOUT_FLUSH = (
    SETUP
    + """
ring.offer(Span(span_id=1))
flusher.flush()
if os.fork() == 0:
    ring.offer(Span(span_id=2))
    deadline = time.monotonic() + 10
    while ledger.report("logs").sent < 1 and time.monotonic() < deadline:
        time.sleep(0.005)
    os._exit(0)
os.wait()
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_child_restarts_its_thread(tmp_path: Path) -> None:
    """In a forked child the first record starts a new thread."""
    assert python(CHILD_WITHOUT_FLUSH, tmp_path).returncode == 0
    assert written(tmp_path) == [1, 2]


MULTIPROCESSING = (
    SETUP
    + """
import multiprocessing
def work(number):
    ring.offer(Span(span_id=number))
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(n,)) for n in range(1, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    work(5)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_children_of_multiprocessing_flush_at_exit(tmp_path: Path) -> None:
    """They end without atexit, and lose nothing all the same."""
    result = python(MULTIPROCESSING, tmp_path)
    assert result.returncode == 0, result.stderr
    assert sorted(written(tmp_path)) == [1, 2, 3, 4, 5]


def test_nothing_is_printed(closed_port: int) -> None:
    """Trouble goes to the logger "lookout"; without logging set up the terminal stays clean."""
    code = f"""
from conftest import Span
from exporters.collector import CollectorDestination
from exporters.flusher import Flusher
from exporters.ring import Ring
ring = Ring(64)
flusher = Flusher(ring, [CollectorDestination("http://127.0.0.1:{closed_port}")])
ring.offer(Span())
flusher.flush(1)
"""
    result = python(code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
