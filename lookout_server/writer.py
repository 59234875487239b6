"""The one batcher of a signal: from journalled rows to ClickHouse, exactly once.

A thread per signal takes what waits at 50,000 rows, in time to have it written when the oldest
row is a second old, or earlier when a reader wants to see what was accepted
(:meth:`Writer.settle`). What waits beyond a bound is dropped from
memory and read from the journal again when its turn comes; so is everything after a restart.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from .journal import Batch, Entry, Journal, JournalError
from .observing import Observers
from .placing import SET_ASIDE, TIME_OUT_OF_BOUNDS, Bounds, Outcome, Piece, Placer, Unstorable
from .self_metrics import SelfMetrics
from .signal import Receipt, Rows, Signal
from .store.port import Store, StoreError, StoreUnavailable

log = logging.getLogger("lookout.writer")

Decode = Callable[[str, bytes, Receipt], Rows]

#: ClickHouse found fault with the data itself: repeating the insert cannot help.
DATA_ERRORS = {6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 469, 690}
#: Load goes on for so long after the last rows: journalled bodies come in groups.
_STILL_SECONDS = 0.5
#: So many busy seconds in a row are a load, under which readers do not hasten batches.
_LASTING_SECONDS = 5
#: So many are counted at most, and so many fewer after a second without a load.
_STREAK_MOST, _SLOW_SECOND = 30, 3
#: Of the time within which rows are to be written: when it has passed before their batch begins,
#: they will be late.
_OVERDUE = 0.75
#: Rows that wait for longer than this wait for a store that takes none: nobody is held up for it.
_STUCK_SECONDS = 5.0
_RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """When a batch is written."""

    rows: int = 50_000
    #: Age of the oldest row at which the batch is to be *written*; it begins earlier by as long as
    #: batches take to write, at most by half.
    seconds: float = 1.0
    memory_rows: int = 400_000
    #: What one batch takes of a backlog; ``rows`` where it is less.
    most_rows: int = 0
    #: Early batches for readers: so many at once, and one more in each interval (parts!).
    early_burst: int = 100
    early_interval: float = 0.05
    #: With more rows than this in each of some seconds, readers do not hasten batches.
    busy_rows: int = 5_000


class Writer:
    """Batches one signal. Thread-safe; :meth:`start` it after construction."""

    def __init__(
        self,
        signal: Signal[Any],
        decode: Decode,
        journal: Journal,
        store: Store,
        metrics: SelfMetrics,
        *,
        pace: Pace | None = None,
        bounds: Bounds | None = None,
        time_columns: Mapping[str, str] | None = None,
        stored: Callable[[Sequence[Piece]], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self.signal = signal
        self.waiting_rows = 0  # in memory, in the journal and being written
        self._decode = decode
        self._journal = journal
        self._metrics = metrics
        self._pace = pace or Pace()
        self._most_rows = max(self._pace.rows, self._pace.most_rows)
        self._stored = stored
        self._placer = Placer(
            signal, store, journal, time_columns or {}, bounds or Bounds(), self._patiently
        )
        #: Told the pieces of each batch that was stored.
        self.observers: Observers[Sequence[Piece]] = Observers(f"observers-{signal.name}")
        self._changed = threading.Condition()
        self._waiting: deque[Piece] = deque()
        self._memory_rows = 0
        self._accepted = 0  # highest seq given to add()
        self._inherited = 0  # highest seq of those before this process
        self._taken = 0  # highest seq taken into a batch
        self._written = 0  # every seq up to here is in ClickHouse or set aside
        self._lagging = True  # entries after _taken are in the journal only
        self._early = Early(self._pace)
        self._patience = Patience(self._pace.seconds)
        self._load = Load(self._pace.busy_rows)
        self._readers: list[tuple[int, Future[None]]] = []
        self._held: list[Future[None]] = []
        self._stopping = False
        self._abandon = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"lookout-writer-{signal.name}", daemon=True
        )

    def start(self, accepted: int = 0) -> None:
        """Begin with what the journal holds from before; ``accepted`` is its highest number."""
        self._accepted = self._inherited = accepted
        self.observers.start()
        self._thread.start()

    def add(self, piece: Piece) -> None:
        """A journalled piece, in order of its number (the journal's thread)."""
        with self._changed:
            self._accepted = max(self._accepted, piece.seq)
            if piece.seq <= self._taken:
                return  # was read from the journal between its commit and this call
            self._load.count(piece.count)
            self.waiting_rows += piece.count
            if self._lagging or self._memory_rows + piece.count > self._pace.memory_rows:
                self._lagging = True
            else:
                self._waiting.append(piece)
                self._memory_rows += piece.count
            if len(self._waiting) <= 1 or self._memory_rows >= self._pace.rows:
                self._changed.notify_all()

    @property
    def written(self) -> int:
        """ClickHouse has, or the journal set aside, every entry of this signal up to this one."""
        return self._written

    def settle(self, *, patient: bool = False) -> Future[None] | None:
        """A future of "what was accepted by now is written"; None where it is already.

        None too under heavy load: readers then are at most one batch behind, unless they are
        patient and wait for that batch.
        """
        with self._changed:
            busy = self._load.busy()
            if self._written >= self._accepted or (busy and not patient):
                return None
            self._early.wanted = self._early.wanted or not busy
            reader: Future[None] = Future()
            self._readers.append((self._accepted, reader))
            self._changed.notify_all()
            return reader

    def room(self) -> Future[None] | None:
        """A future of "the next batch is taken", for who brings more than is written; else None.

        That is where a whole batch waits and will be late, because another is still written. None
        too where nothing was written for some seconds: the journal is there for that.
        """
        with self._changed:
            if self._lagging or self._memory_rows < self._pace.rows:
                return None
            waited = time.monotonic() - self._waiting[0].came
            if not _OVERDUE * self._pace.seconds < waited < _STUCK_SECONDS:
                return None
            held: Future[None] = Future()
            self._held.append(held)
            return held

    def stop(self, timeout: float = 30.0) -> bool:
        """Write what waits and end; what ClickHouse does not take stays in the journal.

        True when nothing stayed.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout)
        self._abandon.set()
        self._thread.join(5.0)
        self.observers.stop()
        return self._written >= self._accepted

    # -- the writer's thread -------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._write_all()
                return
            except _Abandoned:
                log.warning("%s: stopped; what waits stays in the journal", self.signal.name)
                return
            except Exception:  # a bug must not end the writing: begin again from the journal
                log.exception("%s: the writer failed and begins again", self.signal.name)
                self._metrics.retries.labels(self.signal.name).inc()
                self._start_over()
            if self._abandon.wait(1.0):
                return

    def _write_all(self) -> None:
        for batch in self._journal.batches(self.signal.name):
            self._repeat(batch)
        while (pieces := self._next()) is not None:
            if pieces:
                self._write(pieces)
            self._tell_readers()

    def _start_over(self) -> None:
        """As after a restart: the journal has everything that is not written."""
        with self._changed:
            self._waiting.clear()
            self._memory_rows = 0
            self._taken = self._written
            self._lagging = True
        self._forget()

    def _forget(self) -> None:
        """Nobody knows how much is stored of what the signal made tables of."""
        forget = getattr(self.signal, "forget", None)
        if forget:
            forget()

    def _repeat(self, batch: Batch) -> None:
        """A batch that was planned before a crash: the same rows under the same token."""
        pieces = self._read(batch.first, batch.last)
        with self._changed:
            self.waiting_rows += sum(piece.count for piece in pieces)
        self._insert(batch, pieces)
        self._forget()  # some of it may have been stored before
        self._taken = max(self._taken, batch.last)

    def _next(self) -> list[Piece] | None:
        """Wait for the next batch; None when all is written and the writer is to stop."""
        with self._changed:
            while not self._due():
                if self._stopping and not self._waiting and not self._lagging:
                    return None
                self._changed.wait(self._pause())
            self._early.start(bool(self._waiting) or self._lagging)
            if self._waiting:
                return self._take()
        return self._catch_up()

    def _due(self) -> bool:
        if self._lagging:
            return True
        if not self._waiting:
            return False
        return (
            self._stopping
            or self._memory_rows >= self._pace.rows
            or self._remaining() <= 0
            or self._early.due()
        )

    def _pause(self) -> float | None:
        if not self._waiting:
            return None
        remaining = self._remaining()
        if self._early.wanted:
            remaining = min(remaining, self._early.pause())
        return max(remaining, 0.001)

    def _remaining(self) -> float:
        """Seconds until the oldest row in memory has waited for long enough."""
        return self._waiting[0].came + self._patience.seconds - time.monotonic()

    def _take(self) -> list[Piece]:
        pieces: list[Piece] = []
        count = 0
        while self._waiting and count < self._most_rows:
            piece = self._waiting.popleft()
            count += piece.count
            pieces.append(piece)
        self._memory_rows -= count
        self._taken = pieces[-1].seq
        held, self._held = self._held, []
        _resolve(held)
        return pieces

    def _catch_up(self) -> list[Piece]:
        """The next batch out of the journal; when there is none, memory is enough again."""
        with self._changed:
            committed = self._accepted
        pieces = self._read(self._taken + 1, None)
        with self._changed:
            self._taken = pieces[-1].seq if pieces else max(self._taken, committed)
            # add() has not counted what came before it, or comes after this.
            self.waiting_rows += sum(
                piece.count
                for piece in pieces
                if piece.seq <= self._inherited or piece.seq > self._accepted
            )
            if not pieces and self._taken >= self._accepted:
                self._lagging = False
                self._written = max(self._written, self._taken)
                self.waiting_rows = 0
        return pieces

    def _read(self, first: int, last: int | None) -> list[Piece]:
        """Entries decoded again, up to a batch. Those that do not decode are set aside."""
        pieces: list[Piece] = []
        count = 0
        for seq, entry in self._journal.read(self.signal.name, first, last):
            piece = self._decoded(seq, entry)
            if piece is None:
                continue
            pieces.append(piece)
            count += piece.count
            if last is None and count >= self._most_rows:
                break
        return pieces

    def _decoded(self, seq: int, entry: Entry) -> Piece | None:
        try:
            rows = self._decode(entry.format, entry.body, entry.receipt)
        except Exception as error:  # whatever a decoder raises, the others must go on
            self._set_aside(seq, f"{type(error).__name__}: {error}")
            return None
        piece = Piece.of(seq, entry, rows)
        piece.inherited = seq <= self._inherited
        return piece

    def _set_aside(self, seq: int, reason: str) -> None:
        log.error("%s: entry %d cannot be stored: %s", self.signal.name, seq, reason)
        self._metrics.dropped.labels(self.signal.name, SET_ASIDE).inc()
        self._patiently(lambda: self._journal.set_aside(seq, reason))

    def _write(self, pieces: list[Piece]) -> None:
        batch = self._patiently(
            lambda: self._journal.plan(self.signal.name, pieces[0].seq, pieces[-1].seq)
        )
        self._insert(batch, pieces)

    def _insert(self, batch: Batch, pieces: list[Piece]) -> None:
        started = time.perf_counter()
        outcome = self._placer.place(batch, pieces)
        for seq, reason in outcome.aside.items():
            log.error("%s: entry %d cannot be stored: %s", self.signal.name, seq, reason)
        self._tell_signal(outcome)
        self._journal.forget(batch, self._stored(pieces), outcome.aside)
        with self._changed:
            self._written = batch.last
            self.waiting_rows = max(0, self.waiting_rows - sum(piece.count for piece in pieces))
        seconds = time.perf_counter() - started
        self._patience.wrote(seconds)
        self._measure(pieces, outcome, seconds)
        self.observers.tell([piece for piece in pieces if piece.seq not in outcome.aside])

    def _tell_signal(self, outcome: Outcome) -> None:
        """Its tables can be read now; of what was set aside nobody knows how far it came."""
        for name in ("forget", "stored") if outcome.aside else ("stored",):
            tell = getattr(self.signal, name, None)
            if tell:
                tell()

    def _patiently(self, action: Callable[[], Any]) -> Any:
        """Repeat what fails for the moment, for as long as the writer lives."""
        for pause in _pauses():
            try:
                return action()
            except StoreError as error:
                if error.code in DATA_ERRORS:
                    raise Unstorable(str(error)) from error
                self._complain("the store", error, pause)
            except JournalError as error:
                self._complain("the journal", error, pause)
            if self._abandon.wait(pause):
                raise _Abandoned
        raise AssertionError("unreachable")

    def _complain(self, what: str, error: Exception, pause: float) -> None:
        self._metrics.retries.labels(self.signal.name).inc()
        level = (
            logging.DEBUG if isinstance(error, StoreUnavailable) and pause > 1 else logging.WARNING
        )
        log.log(level, "%s: %s: %s; again in %g s", self.signal.name, what, error, pause)

    def _measure(self, pieces: Sequence[Piece], outcome: Outcome, seconds: float) -> None:
        name, metrics, now = self.signal.name, self._metrics, time.time()
        count = sum(piece.count for piece in pieces)
        aside = sum(piece.count for piece in pieces if piece.seq in outcome.aside)
        metrics.batch_seconds.labels(name).observe(seconds)
        metrics.batch_rows.labels(name).observe(count)
        metrics.stored.labels(name).inc(max(0, count - aside - outcome.left_out))
        for reason, dropped in ((TIME_OUT_OF_BOUNDS, outcome.left_out), (SET_ASIDE, aside)):
            if dropped:
                metrics.dropped.labels(name, reason).inc(dropped)
        if pieces:
            metrics.delay_seconds.labels(name).observe(now - pieces[0].accepted)

    def _tell_readers(self) -> None:
        with self._changed:
            done = [f for seq, f in self._readers if seq <= self._written]
            self._readers = [(s, f) for s, f in self._readers if s > self._written]
        _resolve(done)


def _resolve(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_result(None)


class Early:
    """How often readers may hasten a batch: a burst, then one an interval."""

    def __init__(self, pace: Pace) -> None:
        self.wanted = False
        self._interval = pace.early_interval
        self._credit = pace.early_burst * pace.early_interval
        self._next = 0.0

    def due(self) -> bool:
        return self.wanted and self.pause() <= 0

    def pause(self) -> float:
        """Seconds until the next early batch may be written."""
        return self._next - self._credit - time.monotonic()

    def start(self, writing: bool) -> None:
        """A batch begins, which serves the readers who asked."""
        if self.wanted and writing:
            self._next = max(self._next, time.monotonic()) + self._interval
        self.wanted = False


class Patience:
    """How long the oldest row waits for others, so that it is written within a time."""

    def __init__(self, seconds: float) -> None:
        self._whole = seconds
        self._writing = 0.0  # what a batch takes, on the average of the last few

    @property
    def seconds(self) -> float:
        """Half of the time at least: smaller batches cost more, and a slow store would get them."""
        return max(self._whole / 2, self._whole - self._writing)

    def wrote(self, seconds: float) -> None:
        """A batch took so long."""
        self._writing += (seconds - self._writing) / 4


class Load:
    """How many seconds in a row, up to the one before, had many rows.

    A burst is no load: who sends a file and asks for what is in it expects to find it. A slow
    second does not end a long load, or readers would wait for the batches of the seconds after it.
    """

    def __init__(self, busy_rows: int) -> None:
        self._busy_rows = busy_rows
        self._second = 0
        self._rows = 0
        self._streak = 0
        self._latest = 0.0

    def count(self, rows: int) -> None:
        self._turn()
        self._rows += rows
        self._latest = time.monotonic()

    def busy(self) -> bool:
        """Whether many rows have come for some seconds, and come still."""
        self._turn()
        # As a second begins none came in it yet: that some came just now will do.
        recent = time.monotonic() - self._latest < _STILL_SECONDS
        return self._streak >= _LASTING_SECONDS and (self._rows > 0 or recent)

    def _turn(self) -> None:
        second = int(time.monotonic())
        passed = second - self._second
        if passed:
            much = self._rows > self._busy_rows
            streak = self._streak + much - _SLOW_SECOND * (passed - much)
            self._streak = min(max(streak, 0), _STREAK_MOST)
            self._second, self._rows = second, 0


class _Abandoned(Exception):
    """The writer is to end although something waits."""


def _pauses() -> Iterator[float]:
    yield from _RETRY_SECONDS
    while True:
        yield _RETRY_SECONDS[-1]
