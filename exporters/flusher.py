"""The one background thread: it empties the ring into the destinations and runs periodic work.

It starts with the first record and sleeps, without waking by itself, while there are none.
While records come it naps for ``interval_s`` and then takes a turn. What a turn does to the
application is known: a thread that computes gives the interpreter up only when it is asked to,
after a switch interval (5 ms), and then one request waits until the turn is over. So

* turns are few, some twenty-five a second: fewer than one request in a hundred meets one;
* a turn is over, by what records cost lately, before the application would ask for the
  interpreter in turn (``_LONGEST_TURN_S``), and gives it up as seldom as destinations can do with;
* what is left over waits for the next turn, which comes the sooner the fuller the ring is beyond
  its half: from there on keeping spans begins to count for more than the slowest requests do.

benchmarks/flush.py measures it.

Nothing here waits for a network: see :class:`exporters.destination.Destination`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from ._bell import Bell
from ._process import (
    after_fork_in_child,
    at_exit,
    at_exit_of_child,
    may_start_threads,
    notice_fork,
)
from .destination import Deadline, Destination
from .ledger import DESTINATION_FAILED, Ledger
from .periodic import Period, Task, Tasks
from .records import SAMPLED
from .ring import Ring
from .suppression import suppress_instrumentation

_log = logging.getLogger("lookout")

#: Longest sleep. Also how late a record may be that slipped in between the flusher's last look
#: and its falling asleep, when no other record follows it.
_LONGEST_SLEEP_S = 5.0

#: Time on the processor that a turn takes at most, and that it should take: of turns that are
#: shorter there may be fewer.
_LONGEST_TURN_S = 0.0049
_GOOD_TURN_S = 0.002
#: From one turn to the next, at least; waiting for the interpreter comes on top.
_PERIOD_S = 0.035
#: What a record costs until it is known.
_USUAL_COST_S = 3e-6
#: So many, or a whole turn of them, tell what one costs. Of fewer, most is what any turn costs.
_TELLING = 128


class Flusher:
    """Moves records from ``ring`` to ``destinations``, at most eight times ``batch`` at once.

    ``interval_s`` bounds how long a record waits until the flusher looks at the ring. At
    interpreter exit everything is flushed on the exiting thread within ``exit_timeout_s``; a
    forked child starts empty, with a thread of its own once it has something to flush.
    """

    def __init__(
        self,
        ring: Ring[Any],
        destinations: Iterable[Destination] = (),
        *,
        ledger: Ledger | None = None,
        batch: int = 1024,
        interval_s: float = 0.2,
        exit_timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, not {batch}")
        self.ring = ring
        self.ledger = ledger if ledger is not None else Ledger()
        self.batch = batch
        self.interval_s = interval_s
        self.exit_timeout_s = exit_timeout_s
        self._clock = clock
        self._destinations: tuple[Destination, ...] = ()
        self._tasks = Tasks()
        self._stopped = False
        self._eager = False
        self._cost_s = _USUAL_COST_S  # of a record, lately
        self._period_s = _PERIOD_S
        self._failed: set[str] = set()  # destinations whose failing was told
        self._thread: threading.Thread | None = None
        self._moved: list[Any] = []  # by the last turn
        self._renew()
        self.ledger.watch(ring)
        for destination in destinations:
            self.add_destination(destination)
        ring.listen(self.wake)
        after_fork_in_child(self._after_fork)
        self._forget_exit = at_exit(self._at_exit)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """Where records go, in the order they were added."""
        return self._destinations

    def add_destination(self, destination: Destination) -> None:
        """Send records, from the next batch on, to ``destination`` too.

        Raises ValueError when one of that name is there already: names key the ledger.
        """
        if any(known.name == destination.name for known in self._destinations):
            raise ValueError(f"there is a destination named {destination.name!r} already")
        destination.open(self.ledger)
        self._destinations = (*self._destinations, destination)
        for period_s, task in getattr(destination, "periodic_tasks", ()):
            self.schedule(period_s, task, eager=False)

    def schedule(self, period_s: Period, work: Callable[[], object], *, eager: bool = True) -> Task:
        """Do ``work`` every ``period_s`` seconds on the flusher's thread, and once at shutdown.

        A function as the period is asked, each time, in how many seconds the next run is. The
        answer cancels it, or runs it between its turns; it never runs twice at once. Starts the
        thread, also in children forked later: periodic work does not wait for a first span. Work
        that is needed only while there are spans says ``eager=False``.
        """
        task = Task(work, period_s, self._clock())
        self._tasks.add(task)
        if eager:
            self._eager = True
            self.wake()
        return task

    def wake(self) -> None:
        """Have the thread look at the ring now; starts it when there is none. Never blocks."""
        notice_fork()  # some servers fork without Python's hooks
        if self._thread is None:
            self._start()
        self._bell.ring()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Hand everything offered so far to every destination and have them send it.

        Runs on the calling thread. False when ``timeout_s`` was not enough.
        """
        deadline = Deadline(timeout_s)
        drained = self._drain_all(deadline)
        return _all(destination.flush(deadline) for destination in self._destinations) and drained

    def shutdown(self, timeout_s: float = 5.0) -> bool:
        """Run the tasks a last time, flush, close the destinations, stop the thread.

        A task that the thread is in is waited for, half of the time left, and then run again.
        Records offered later are dropped and counted. False when ``timeout_s`` was not enough.
        A second call does nothing.
        """
        if self._stopped:
            return True
        self._stopped = True
        self._forget_exit()
        deadline = Deadline(timeout_s)
        done = _all(task.run(deadline.left() / 2) for task in self._tasks.all())
        self.ring.close()
        done = self._drain_all(deadline) and done
        done = _all(d.shutdown(deadline) for d in self._destinations) and done
        self._bell.ring()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline.left())
            done = done and not thread.is_alive()
        return done

    # The thread.

    def _start(self) -> None:
        if self._stopped or not self._start_lock.acquire(blocking=False):
            return  # another thread is at it
        try:
            if self._thread is None and may_start_threads():
                thread = threading.Thread(target=self._run, name="lookout-flusher", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:  # the interpreter is going down: the exit flush takes what waits
            self.ring.set_mark(self.ring.capacity)
        finally:
            self._start_lock.release()

    def _run(self) -> None:
        suppress_instrumentation()
        while not self._stopped:
            began = self._clock()
            moved = self._step()
            self._rest(began if moved else None)

    def _step(self) -> int:
        moved = 0
        if self._consumer.acquire(timeout=1.0):
            try:
                most = max(1, min(int(_LONGEST_TURN_S / self._cost_s), 8 * self.batch))
                began = time.thread_time()
                moved = self._drain_once(most)
                if moved:
                    self._plan(time.thread_time() - began, moved, moved >= min(most, _TELLING))
            finally:
                self._consumer.release()
        self._tasks.run_due(self._clock)
        return moved

    def _plan(self, turn_s: float, moved: int, telling: bool) -> None:
        """Learn from a turn how large the next ones may be, and how far apart."""
        if telling:
            self._cost_s += (turn_s / moved - self._cost_s) / 8
        wanted = self._period_s * _GOOD_TURN_S / max(turn_s, 1e-6)
        self._period_s = min(max(wanted, _PERIOD_S, self._period_s / 2), 2 * self._period_s)
        self._period_s = min(self._period_s, self.interval_s)

    def _rest(self, began: float | None) -> None:
        """Nap after a turn that began then; sleep until the next record after an idle one."""
        half = max(1, self.ring.capacity // 2)
        if began is not None:
            waiting = len(self.ring)
            period = min(_PERIOD_S, self.interval_s) if waiting else self._period_s
            room = min(1.0, (self.ring.capacity - waiting) / half)
            nap = began + period * room - self._clock()
            if nap > 0:
                self._sleep(nap, half if room == 1.0 else self.ring.capacity)
            return
        self.ring.set_mark(0)
        if len(self.ring):
            return  # one came before the mark was down
        self._sleep(_LONGEST_SLEEP_S, 0)
        if len(self.ring):
            # The first records after a sleep: let more of them gather.
            self._sleep(self._period_s, half)

    def _sleep(self, seconds: float, enough: int) -> None:
        """Until then, or a task is due, or ``enough`` and one more records wait."""
        self.ring.set_mark(enough)
        due = self._tasks.next_due()
        self._bell.wait(seconds if due is None else min(seconds, due - self._clock()))
        self.ring.set_mark(self.ring.capacity)

    def _drain_once(self, most: int) -> int:
        # Those of the last turn go now: freed after this one's writing they would cost the
        # application one more request each turn.
        self._moved = self.ring.drain(most)
        if self._moved:
            self._hand_over(self._moved)
        return len(self._moved)

    def _hand_over(self, records: list[Any]) -> None:
        sampled = [record for record in records if record.flags & SAMPLED]
        if len(sampled) < len(records):
            self.ledger.filter_out(len(records) - len(sampled))
        for destination in self._destinations:
            batch = records if getattr(destination, "counts_unsampled", False) else sampled
            if batch:
                self._give(destination, batch)

    def _give(self, destination: Destination, batch: list[Any]) -> None:
        try:
            destination.accept(batch)
        except Exception as error:
            account = self.ledger.account(destination.name)
            account.offer(len(batch))
            account.drop(DESTINATION_FAILED, len(batch))
            if destination.name not in self._failed:
                self._failed.add(destination.name)
                _log.warning("destination %s fails: %r", destination.name, error)

    def _drain_all(self, deadline: Deadline) -> bool:
        if not self._consumer.acquire(timeout=deadline.left()):
            return False
        try:
            left = len(self.ring)
            while left > 0 and not deadline.over:
                left -= self._drain_once(8 * self.batch) or left
            self._moved = []
            return left <= 0
        finally:
            self._consumer.release()

    # Fork and exit.

    def _renew(self) -> None:
        """What belongs to one process: its thread, its locks."""
        self._thread = None
        self._moved = []
        self._bell = Bell()
        self._consumer = threading.Lock()
        self._start_lock = threading.Lock()
        self._tasks.renew()

    def _after_fork(self) -> None:
        """In the child: what waits is the parent's to send. No I/O, no logging, no joins."""
        self._renew()
        self.ring.reset()
        self.ledger.reset()
        for destination in self._destinations:
            destination.after_fork()
        at_exit_of_child(self._at_exit)
        if self._eager:
            self._start()

    def _at_exit(self) -> None:
        self.shutdown(self.exit_timeout_s)


def _all(results: Iterable[bool]) -> bool:
    """Like ``all``, but every item is evaluated."""
    return all(list(results))
