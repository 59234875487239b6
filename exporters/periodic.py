"""Work done again and again: the tasks of the flusher's thread."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

_log = logging.getLogger("lookout")


#: Seconds from one beat to the next, or what answers, when asked, the seconds until the next.
Period = float | Callable[[], float]


class Task:
    """What is done again and again, and whenever it is asked for, but never twice at once.

    Two threads inside the same work would overtake each other: a push that began first, and was
    held up, would bring older values than the one after it. Work that raises is logged once and
    keeps its turn.
    """

    def __init__(self, work: Callable[[], object], period_s: Period, now: float) -> None:
        if not callable(period_s) and period_s <= 0:
            raise ValueError(f"a period must be positive, not {period_s}")
        self.cancelled = False
        self._work = work
        self._period_s = period_s
        self._failing = False
        #: By the clock of who keeps the task.
        self.due = now
        self.skip(now)
        self.renew()

    def renew(self) -> None:
        """What belongs to one process: in a child nobody is inside."""
        self._inside = threading.Lock()
        self._who = 0  # the thread inside

    def run(self, timeout_s: float = 0.0) -> bool:
        """Do the work now, after a run that another thread is in.

        False where that one took longer than ``timeout_s``; also, at once, within the work itself.
        """
        with self._alone(timeout_s) as alone:
            if alone and not self.cancelled:
                self._try()
        return alone

    def cancel(self, timeout_s: float = 0.0) -> bool:
        """Begin no further run. False where one is still going on after ``timeout_s``."""
        self.cancelled = True
        with self._alone(timeout_s) as alone:
            return alone

    def skip(self, now: float) -> None:
        """Be due at the next beat after ``now``. Missed beats are not made up for."""
        if callable(self._period_s):
            self.due = now + self._period_s()
        else:
            self.due += self._period_s * (1 + (now - self.due) // self._period_s)

    @contextlib.contextmanager
    def _alone(self, timeout_s: float) -> Iterator[bool]:
        inside, me = self._inside, threading.get_ident()  # a fork within the work renews it
        alone = self._who != me and inside.acquire(timeout=timeout_s)
        try:
            if alone:
                self._who = me
            yield alone
        finally:
            if alone:
                self._who = 0
                inside.release()

    def _try(self) -> None:
        try:
            self._work()
            self._failing = False
        except Exception as error:
            if not self._failing:
                _log.warning("periodic task %r fails: %r", self._work, error)
            self._failing = True


class Tasks:
    """The tasks of one thread. Others may add and cancel while it works, or fork."""

    def __init__(self) -> None:
        # Replaced, never changed, so that a child forked at any moment has all of them.
        self._tasks: tuple[Task, ...] = ()
        self.renew()

    def renew(self) -> None:
        """What belongs to one process."""
        self._lock = threading.Lock()
        for task in self._tasks:
            task.renew()

    def add(self, task: Task) -> None:
        """Have it take its turns; cancelled ones are let go of."""
        with self._lock:
            self._tasks = (*(known for known in self._tasks if not known.cancelled), task)

    def all(self) -> list[Task]:
        """Those not cancelled, in the order they are due."""
        return sorted((task for task in self._tasks if not task.cancelled), key=_due)

    def next_due(self) -> float | None:
        """When the next one is due."""
        return min(map(_due, self.all()), default=None)

    def run_due(self, now: Callable[[], float]) -> None:
        """Run those whose time has come, each once."""
        moment = now()
        for task in self.all():
            if task.due > moment:
                return
            task.skip(moment)
            task.run()


def _due(task: Task) -> float:
    return task.due
