"""A queue and a thread for a destination that may be slow, so that it slows only itself."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from ._bell import Bell
from ._process import may_start_threads
from .destination import Deadline, Destination
from .ledger import DESTINATION_FAILED, QUEUE_FULL, Account, Ledger
from .records import SpanRecord
from .suppression import suppress_instrumentation

_log = logging.getLogger("lookout")


class Isolated:
    """Runs ``inner`` on a thread of its own, behind a queue of up to ``queue_records`` records.

    Network destinations have this built in. It is for logs on a disk that may hang, such as a
    network mount, and for destinations of the application's own that take their time.
    """

    def __init__(self, inner: Destination, queue_records: int = 16_384) -> None:
        self.name = inner.name
        self._inner = inner
        self._limit = queue_records
        self.account = Account(inner.name)
        self.counts_unsampled = getattr(inner, "counts_unsampled", False)
        self._queue: deque[Sequence[SpanRecord]] = deque()
        self._tasks: deque[Callable[[], object]] = deque()  # periodic ones whose time has come
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._renew()

    def _renew(self) -> None:
        """What belongs to one process."""
        self._thread = None
        self._bell = Bell()
        self._turn = threading.Lock()  # held while the inner destination works
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def periodic_tasks(self) -> Sequence[tuple[float, Callable[[], object]]]:
        """The inner destination's. The flusher says when; they run on this one's thread."""
        tasks = getattr(self._inner, "periodic_tasks", ())
        return [(period_s, partial(self._soon, task)) for period_s, task in tasks]

    def open(self, ledger: Ledger) -> None:
        self.account = ledger.account(self.name)
        self._inner.open(ledger)

    def accept(self, records: Sequence[SpanRecord]) -> None:
        with self._lock:
            room = max(0, self._limit - self._waiting)
            taken = records[:room]
            self._queue.append(taken)
            self._waiting += len(taken)
        if lost := len(records) - len(taken):
            self.account.offer(lost)
            self.account.drop(QUEUE_FULL, lost)
        self._start()
        self._bell.ring()

    def flush(self, deadline: Deadline) -> bool:
        return self._drain(deadline) and self._inner.flush(deadline)

    def shutdown(self, deadline: Deadline) -> bool:
        self._stopped = True
        self._bell.ring()
        return self._drain(deadline) and self._inner.shutdown(deadline)

    def after_fork(self) -> None:
        self._queue.clear()
        self._tasks.clear()
        self._renew()
        self._inner.after_fork()

    def _soon(self, task: Callable[[], object]) -> None:
        if task not in self._tasks:  # one turn is enough for an inner destination that hangs
            self._tasks.append(task)
        self._start()
        self._bell.ring()

    def _start(self) -> None:
        if self._thread is not None or self._stopped or not may_start_threads():
            return
        thread = threading.Thread(target=self._run, name=f"lookout-{self.name}", daemon=True)
        with contextlib.suppress(RuntimeError):  # at exit: flush does the work
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        suppress_instrumentation()
        while not self._stopped:
            with self._turn:
                while (self._queue or self._tasks) and not self._stopped:
                    self._work()
            self._bell.wait(30.0)

    def _drain(self, deadline: Deadline) -> bool:
        if not self._turn.acquire(timeout=deadline.left()):
            return False
        try:
            while (self._queue or self._tasks) and not deadline.over:
                self._work()
            return not self._queue
        finally:
            self._turn.release()

    def _work(self) -> None:
        if self._queue:
            self._hand_over()
            return
        try:
            self._tasks.popleft()()
        except Exception:
            _log.debug("a periodic task of %s failed", self.name, exc_info=True)

    def _hand_over(self) -> None:
        with self._lock:
            records = self._queue.popleft()
            self._waiting -= len(records)
        try:
            self._inner.accept(records)
        except Exception:  # against its contract
            self.account.offer(len(records))
            self.account.drop(DESTINATION_FAILED, len(records))
