"""Periodic work: one run at a time, whoever asks for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from exporters.periodic import Task, Tasks


class Held:
    """Work that goes on until it is let go, in a thread of its own."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.task = Task(self.work, 60.0, 0.0)
        self.thread = threading.Thread(target=self.task.run, name="held")

    def work(self) -> None:
        self.runs.append(f"begin {len(self.runs)}")
        self.begun.set()
        assert self.go_on.wait(30)
        self.runs.append("end")

    def end(self) -> None:
        self.go_on.set()
        self.thread.join(30)


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    made.thread.start()
    assert made.begun.wait(30)
    yield made
    made.end()


def test_a_run_waits_for_the_one_before_it(held: Held) -> None:
    """Two threads are never inside the same work; who cannot wait is told so."""
    assert not held.task.run()
    assert held.runs == ["begin 0"]
    held.end()
    assert held.task.run(30.0)
    assert held.runs == ["begin 0", "end", "begin 2", "end"]


def test_work_that_asks_for_itself_does_not_wait_for_itself() -> None:
    """As a gauge whose callback flushes: the inner run is refused at once."""
    inner: list[bool] = []
    task = Task(lambda: inner.append(task.run(30.0)), 1.0, 0.0)
    assert task.run()
    assert inner == [False]


def test_cancelling_waits_for_a_run(held: Held) -> None:
    """What the work uses may be taken away once `cancel` says that it is over."""
    assert not held.task.cancel()
    held.end()
    assert held.task.cancel(30.0)
    assert held.task.run()
    assert held.runs == ["begin 0", "end"]


def test_a_child_is_not_held_up_by_its_parents_thread(held: Held) -> None:
    """A process forked while the work goes on can do it itself."""
    tasks = Tasks()
    tasks.add(held.task)
    child = os.fork()
    if child == 0:
        held.go_on.set()
        tasks.renew()
        os._exit(0 if held.task.run() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_turns_keep_their_beat() -> None:
    """Missed ones are skipped; each task due runs once; a period that is a function is asked."""
    runs: list[str] = []
    edges = iter((0.5, 4.5, 10.0))
    tasks = Tasks()
    tasks.add(Task(lambda: runs.append("beat"), 2.0, 0.0))
    tasks.add(Task(lambda: runs.append("edge"), lambda: next(edges), 0.0))
    assert tasks.next_due() == 0.5
    tasks.run_due(lambda: 0.5)
    assert (runs, tasks.next_due()) == (["edge"], 2.0)
    tasks.run_due(lambda: 7.0)
    assert runs == ["edge", "beat", "edge"]
    assert [task.due for task in tasks.all()] == [8.0, 17.0]


def test_cancelled_tasks_are_let_go_of() -> None:
    """They have no turn, and do not gather."""
    tasks = Tasks()
    for _ in range(100):
        task = Task(lambda: None, 1.0, 0.0)
        tasks.add(task)
        task.cancel()
    assert tasks.next_due() is None
    assert len(tasks._tasks) == 1
