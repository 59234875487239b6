"""The life of a network destination: its own queue, its own thread, patience.

Records wait in a bounded queue, become parcels of bounded size, and are delivered one after
the other over one connection, oldest first. While one is being delivered and the queue is full,
whoever brings more makes parcels of it. While the destination is down parcels wait in memory up
to a limit of bytes, or on disk when a directory for them is given, and what waits longest gives
way when that is full. Every record ends in the ledger.

The thread starts with the first record. ``flush`` and ``shutdown`` work on the calling thread,
so they need no other one: at interpreter exit none can be started any more.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ._bell import Bell
from ._process import may_start_threads
from .backlog import Backlog
from .backoff import Backoff
from .destination import Deadline
from .ledger import (
    NOT_ENCODABLE,
    QUEUE_FULL,
    REFUSED,
    TOO_LARGE,
    Account,
    Ledger,
)
from .parcel import Parcel, Refused, Transport, Unavailable
from .records import SpanRecord
from .suppression import suppress_instrumentation, suppressed

_log = logging.getLogger("lookout")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sender may hold and send at once."""

    queue_records: int = 16_384  # waiting to be encoded
    batch_records: int = 4_000  # in one parcel
    batch_bytes: int = 2_000_000  # in one parcel, before compression
    memory_bytes: int = 16_000_000  # parcels waiting in memory, when no directory is given
    linger_s: float = 0.5  # how long a record waits for company
    timeout_s: float = 10.0  # for one attempt
    longest_wait_s: float = 300.0  # what the destination's own Retry-After may ask for
    #: A parcel that the destination receives and answers with a server error this often is
    #: given up: it, not the destination, may be what is broken.
    attempts: int = 20


class Sender:
    """A :class:`exporters.destination.Destination` that sends through ``transport``."""

    #: What its records are, for people.
    what = "spans"

    def __init__(
        self,
        name: str,
        transport: Transport,
        *,
        limits: Limits | None = None,
        backlog: Backlog | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self.limits = limits if limits is not None else Limits()
        self._transport = transport
        self._backlog = backlog if backlog is not None else Backlog(self.limits.memory_bytes)
        self._backlog.what = self.what
        self._backoff = backoff if backoff is not None else Backoff()
        self._ledger = Ledger()
        self.account = Account(name)
        self._queue: deque[Sequence[SpanRecord]] = deque()
        self._stopped = False
        self._usual_bytes = 1  # of a record, as of the last body; to make few that are too large
        self._abandoned = False  # by a shutdown that could not wait for the thread
        self._thread: threading.Thread | None = None
        self._renew()

    def _renew(self) -> None:
        """What belongs to one process."""
        self._thread = None
        self._bell = Bell()
        self._turn_lock = threading.Lock()  # held by whoever encodes and delivers
        self._pack_lock = threading.Lock()  # by whoever encodes, who may be another meanwhile
        self._queue_lock = threading.Lock()
        self._attempting = False
        self._waiting = 0
        self._waiting_since = 0.0
        self._not_before = 0.0
        self._rest_until = 0.0
        self._on_the_wire = 0
        self._down = ""
        self._told: set[str] = set()  # what the log was told of this outage

    # The destination's side, called by the flusher.

    def open(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.account = ledger.account(self.name)
        self._backlog.open(ledger, self.account)

    @property
    def down(self) -> str:
        """Why nothing can be sent now; empty when all is well."""
        return self._down

    def accept(self, records: Sequence[SpanRecord]) -> None:
        """Queue a batch; what does not fit is dropped and counted."""
        self.account.offer(len(records))
        if self._attempting and self._waiting + len(records) > self.limits.queue_records:
            self._pack_meanwhile()
        with self._queue_lock:
            first = not self._waiting
            room = self.limits.queue_records - self._waiting
            taken = records if len(records) <= room else records[: max(0, room)]
            if first:
                self._waiting_since = time.monotonic()
            self._queue.append(taken)
            self._waiting += len(taken)
        self.account.drop(QUEUE_FULL, len(records) - len(taken))
        if first or self._waiting >= self._enough():
            self._wake()  # otherwise its timer runs already

    def _pack_meanwhile(self) -> None:
        """Make the oldest records a parcel on the caller's thread.

        Our own waits for an answer, up to the time limit of an attempt. In parcels much more can
        wait than in the queue.
        """
        if self._backlog.has_room and self._pack_lock.acquire(blocking=False):
            try:
                self._pack()
            finally:
                self._pack_lock.release()

    def _put(
        self,
        body: bytes,
        path: str,
        headers: dict[str, str],
        timeout_s: float | None = None,
        count: int = 0,
    ) -> None:
        """Send a ready body with the patience records get. The ledger knows of ``count`` in it."""
        parcel = Parcel(body, count, self._ledger.process, path, headers, timeout_s=timeout_s)
        self.account.offer(count)
        self._backlog.put(parcel)
        self._wake()

    def flush(self, deadline: Deadline) -> bool:
        """Send what was accepted. False when the deadline came first or the destination is down."""
        if not self._turn_lock.acquire(timeout=deadline.left()):
            return False
        try:
            with suppressed():
                self._encode_waiting()
                self._not_before = 0.0
                while self._backlog and not deadline.over:
                    if not self._deliver_next(deadline.left()):
                        return False
            return not self._backlog
        finally:
            self._turn_lock.release()

    def shutdown(self, deadline: Deadline) -> bool:
        """Flush, add a last ledger report, keep the rest on disk or give it up, counted."""
        self._stopped = True  # the thread ends after its turn
        self._bell.ring()
        flushed = self.flush(deadline)
        in_time = self._turn_lock.acquire(timeout=deadline.left())
        # Without the lock the thread hangs in a request, and what it holds is not waited for.
        self._abandoned = not in_time
        with suppressed():
            self._last_words(deadline, flushed and in_time)
        # Where the thread is still at it, it finds itself abandoned afterwards, and closes.
        if in_time or self._turn_lock.acquire(blocking=False):
            self._transport.close()
            self._turn_lock.release()
        return flushed and in_time

    def after_fork(self) -> None:
        self._queue.clear()
        self._renew()
        self._backlog.after_fork()
        self._transport.after_fork()

    # The thread.

    def _wake(self) -> None:
        if self._thread is None and not self._stopped:
            self._start()
        self._bell.ring()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"lookout-{self.name}", daemon=True)
        with self._queue_lock, contextlib.suppress(RuntimeError):
            # RuntimeError: the interpreter is going down; flush does the work.
            if self._thread is None and may_start_threads():
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        suppress_instrumentation()
        with self._turn_lock:
            self._backlog.adopt()
        while not self._stopped:
            try:
                pause = self._work()
            except Exception:  # what nobody thought of must not end the sending for good
                _log.exception("%s failed", self.name)
                pause = _AFTER_FAILURE_S
            if pause > 0:
                self._bell.wait(pause)
        if self._abandoned:  # by a shutdown that did not wait for this request to end
            self._transport.close()

    def _work(self) -> float:
        """One turn: the seconds until the next one makes sense."""
        with self._turn_lock:
            if self._stopped:
                return 0.0
            if self._ripe():
                self._encode_some()
            if self._backlog and time.monotonic() >= self._not_before:
                self._deliver_next()
            self._backlog.settle(bool(self._down))
        return self._pause()

    def _pause(self) -> float:
        now = time.monotonic()
        pauses = [_IDLE_S]
        if self._backlog:
            pauses.append(self._not_before - now)
        if self._waiting:
            pauses.append(self._due() - now)
        return min(pauses)

    def _enough(self) -> int:
        """As many as make a parcel; during a rest, half of the queue."""
        if time.monotonic() < self._rest_until:
            return self.limits.queue_records // 2
        return self.limits.batch_records

    def _due(self) -> float:
        """When what waits is to be encoded, if no more comes."""
        if self._waiting >= self._enough():
            return 0.0
        if self._waiting >= self.limits.batch_records:
            return self._rest_until
        return max(self._rest_until, self._waiting_since + self._linger())

    def _linger(self) -> float:
        # A destination that is down is in no hurry: fewer, larger parcels.
        return self.limits.linger_s * (4 if self._down else 1)

    def _ripe(self) -> bool:
        return bool(self._waiting) and time.monotonic() >= self._due()

    # Records into parcels. Below here the turn lock is held.

    def _encode_waiting(self) -> None:
        while self._waiting:
            self._encode_some()

    def _encode_some(self) -> None:
        """Make the oldest records a parcel.

        Then rest: beside a thread that computes, what is encoded is the time that its requests
        wait for the interpreter, see :mod:`exporters.flusher`.
        """
        began, computed = time.monotonic(), time.thread_time()
        with self._pack_lock:
            self._pack()
        self._rest_until = began + (time.thread_time() - computed) / _SHARE
        self._backlog.settle(bool(self._down))

    def _pack(self) -> None:
        bodies = list(self._encode(self._take()))  # and nobody keeps the records
        for body, count in bodies:
            self._backlog.put(self._parcel(body, count))

    def _take(self) -> list[SpanRecord]:
        wanted = min(self.limits.batch_records, self.limits.batch_bytes // self._usual_bytes + 1)
        taken: list[SpanRecord] = []
        with self._queue_lock:
            while self._queue and len(taken) < wanted:
                batch = self._queue.popleft()
                room = wanted - len(taken)
                taken.extend(batch[:room])
                if len(batch) > room:
                    self._queue.appendleft(batch[room:])
            self._waiting -= len(taken)
            self._waiting_since = time.monotonic()
        return taken

    def _encode(self, records: Sequence[SpanRecord]) -> Iterator[tuple[bytes, int]]:
        """Bodies within the limit of bytes, by halving what is too large."""
        try:
            body, left_out = self._transport.encode(records)
        except Exception as error:
            _log.debug("%s cannot encode a batch: %r", self.name, error)
            body, left_out = b"", len(records)
            if len(records) > 1:  # find the one that spoils it
                yield from self._encode_halves(records)
                return
        if len(body) > self.limits.batch_bytes:
            if len(records) > 1:
                yield from self._encode_halves(records)
            else:
                self.account.drop(TOO_LARGE, 1)
            return
        self.account.drop(NOT_ENCODABLE, left_out)
        if len(records) > left_out:
            self._usual_bytes = len(body) // (len(records) - left_out) + 1
            yield body, len(records) - left_out

    def _encode_halves(self, records: Sequence[SpanRecord]) -> Iterator[tuple[bytes, int]]:
        middle = len(records) // 2
        yield from self._encode(records[:middle])
        yield from self._encode(records[middle:])

    def _parcel(self, body: bytes, count: int) -> Parcel:
        packed, path, headers = self._transport.parcel(body)
        return Parcel(packed, count, self._ledger.process, path, dict(headers))

    # Delivery.

    def _deliver_next(self, left_s: float = math.inf) -> bool:
        """Try the oldest parcel. True when it is dealt with, False when it must wait."""
        parcel = self._backlog.peek()
        if parcel is None:
            return True
        own = parcel.count if parcel.process == self._ledger.process else 0
        self._on_the_wire = own
        self.account.send(own)
        self._attempting = True
        try:
            timeout_s = parcel.timeout_s or self.limits.timeout_s
            outcome = self._attempt(parcel, min(left_s, timeout_s))
        except BaseException:  # an interrupt of the application that flushes: the parcel waits on
            if not self._abandoned:
                self._on_the_wire = 0
                self.account.unsend(own)
            raise
        finally:
            self._attempting = False
        if self._abandoned:
            return True
        self._on_the_wire = 0
        if isinstance(outcome, int):
            self._delivered(parcel, own, outcome)
            return True
        self.account.unsend(own)
        if isinstance(outcome, Refused):
            self._give_up(parcel, outcome)
            return True
        return self._postpone(parcel, outcome)

    def _attempt(self, parcel: Parcel, timeout_s: float) -> int | Refused | Unavailable:
        try:
            return self._transport.deliver(parcel, self._ledger_for(parcel), timeout_s)
        except (Refused, Unavailable) as trouble:
            return trouble
        except Exception as error:  # a transport that breaks its promise must not stop us
            return Unavailable(repr(error), answered=True)

    def _ledger_for(self, parcel: Parcel) -> str:
        if parcel.process != self._ledger.process:
            return parcel.ledger
        return self._ledger.report(self.name).header()

    def _delivered(self, parcel: Parcel, own: int, rejected: int) -> None:
        self._backlog.pop()
        if own:
            rejected = min(own, rejected)
            self.account.unsend(rejected)
            self.account.drop(REFUSED, rejected)
            self.account.acknowledge(own - rejected)
        else:
            self.account.replay(parcel.count)
        self._not_before = 0.0
        self._backoff.succeeded()
        if self._down:
            _log.warning("%s is back; %d batches waited for it", self.name, len(self._backlog) + 1)
            self._down = ""
            self._told.clear()

    def _postpone(self, parcel: Parcel, trouble: Unavailable) -> bool:
        parcel.failures += trouble.answered
        if parcel.failures >= self.limits.attempts:
            self._give_up(parcel, Refused(f"failed {parcel.failures} times: {trouble}", REFUSED))
            return True
        wait = self._backoff.failed()
        if trouble.retry_after_s is not None:
            wait = min(max(wait, trouble.retry_after_s), self.limits.longest_wait_s)
        self._not_before = time.monotonic() + wait
        state = "refuses us" if trouble.turns_away else "is down"
        if state not in self._told:
            self._told.add(state)
            waiting = f"{self.what} wait {self._backlog.where}"
            _log.warning("%s %s (%s); %s", self.name, state, trouble, waiting)
        self._down = str(trouble)
        return False

    def _give_up(self, parcel: Parcel, refusal: Refused) -> None:
        self._backlog.pop()
        smaller = self._transport.split(parcel) if refusal.reason == TOO_LARGE else ()
        if smaller:
            self._backlog.put_first(smaller)
            return
        self._backlog.lose(refusal.reason, parcel.count, parcel.process)
        _log.warning("%s refused %d %s: %s", self.name, parcel.count, self.what, refusal)

    # The end.

    def _last_words(self, deadline: Deadline, flushed: bool) -> None:
        """Tell the final counts, so that the other side can say what never arrived."""
        self._encode_waiting()
        report = self._transport.encode(())[0]
        if report and self.account.offered:
            self._backlog.put(self._parcel(report, 0))
            if flushed:
                self._deliver_next(deadline.left())
        if self._abandoned:
            self.account.unsend(self._on_the_wire)
        self._backlog.close()


#: Longest sleep of an idle sender.
_IDLE_S = 30.0
#: How much of the time may go into encoding, while there is room for what waits: so that there are
#: about as many pieces of a switch interval (5 ms) a second as the flusher takes turns.
_SHARE = 0.12
#: Sleep after a turn that failed.
_AFTER_FAILURE_S = 5.0
