"""From the journal to the store: everything once, whatever fails in between."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lookout_server.config import ServerConfig
from lookout_server.journal import Entry, Journal, JournalError
from lookout_server.metrics.rows import MetricRows, RowsBuilder
from lookout_server.metrics.signal import MetricSignal
from lookout_server.placing import Bounds, Piece
from lookout_server.self_metrics import SelfMetrics
from lookout_server.signal import Malformed, Receipt, Rows, Signal
from lookout_server.store.port import StoreError, StoreUnavailable
from lookout_server.writer import Pace, Writer

DAY = 86_400


class Numbers:
    """A signal whose bodies are comma-separated Unix seconds."""

    name = "numbers"

    def decode(self, fmt: str, body: bytes, receipt: Receipt) -> list[int]:
        if body == b"poison":
            raise Malformed("no numbers")
        return [int(part) for part in body.split(b",")]

    def tables(self, rows: Sequence[list[int]]) -> Mapping[str, pa.Table]:
        numbers = [number for row in rows for number in row]
        if 13 in numbers:
            raise ArithmeticError("13")
        times = pa.array(numbers, pa.int64()).cast(pa.timestamp("s"))
        return {"numbers": pa.table({"ts": times}), "sums": pa.table({"sum": [sum(numbers)]})}


class Shelf:
    """A store that keeps inserts by token, and fails when told to."""

    def __init__(self) -> None:
        self.inserts: dict[tuple[str, str], pa.Table] = {}
        self.repeats = 0
        self.failures: list[StoreError] = []
        self.before: Callable[[str], None] = lambda table: None

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        self.before(table)
        if self.failures:
            raise self.failures.pop(0)
        if (table, token) in self.inserts:
            self.repeats += 1
            assert self.inserts[table, token] == rows, "a repeat must be the same"
        self.inserts[table, token] = rows

    def numbers(self) -> list[int]:
        return sorted(
            int(value.timestamp())
            for (table, _), rows in self.inserts.items()
            if table == "numbers"
            for value in rows.column("ts").cast(pa.timestamp("s", "UTC")).to_pylist()
        )

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"not used here: {name}")


class Bench:
    """Journal, writer and shelf, put together as the collector does."""

    def __init__(
        self,
        path: Path,
        pace: Pace | None = None,
        bounds: Bounds | None = None,
        signal: Signal[Any] | None = None,
    ) -> None:
        self.signal = signal or Numbers()
        self.shelf = Shelf()
        self.metrics = SelfMetrics()
        self.path = path
        self.pace = pace or Pace(seconds=0.02)
        self.bounds = bounds
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.path)
        self.writer = Writer(
            self.signal,
            self.signal.decode,
            self.journal,
            self.shelf,
            self.metrics,
            pace=self.pace,
            bounds=self.bounds,
            time_columns={"numbers": "ts"},
        )

    def start(self) -> None:
        self.writer.start(self.journal.last)

    def accept(self, *bodies: str, add: bool = True) -> None:
        """Journal bodies and hand them to the writer."""
        done: queue.SimpleQueue[int] = queue.SimpleQueue()
        for body in bodies:
            receipt = Receipt("t", time.time_ns() // 1_000_000, {})
            entry = Entry("numbers", "csv", body.encode(), receipt)
            rows = [1] if body == "poison" else self.signal.decode("csv", entry.body, receipt)

            def kept(seq: int, error: JournalError | None, rows: Rows = rows) -> None:
                assert error is None
                if add:
                    self.writer.add(Piece(seq, rows, len(rows), time.time()))
                done.put(seq)

            self.journal.append(entry, kept)
        for _ in bodies:
            done.get(timeout=10)

    def settled(self) -> None:
        waiting = self.writer.settle()
        if waiting is not None:
            waiting.result(10)

    def close(self) -> None:
        self.writer.stop(5)
        self.journal.close()


def until(check: Callable[[], bool]) -> None:
    """Wait for what happens on another thread."""
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def bench(path: Path) -> Iterator[Bench]:
    made = Bench(path)
    yield made
    made.close()


def test_written_and_forgotten(bench: Bench) -> None:
    """Rows arrive in every table, and the journal lets go of them."""
    bench.start()
    bench.accept("1,2", "3")
    bench.settled()
    assert bench.shelf.numbers() == [1, 2, 3]
    until(lambda: bench.journal.batches("numbers") == [])
    assert bench.journal.count("entries") == 0
    assert bench.writer.waiting_rows == 0


def test_what_a_crash_left_is_written(bench: Bench) -> None:
    """Journalled and never handed over: the next start writes it, before what comes then."""
    bench.accept("1", "2,3", add=False)
    bench.start()
    bench.accept("4")
    bench.settled()
    assert bench.shelf.numbers() == [1, 2, 3, 4]


def test_what_an_earlier_run_accepted_is_known(bench: Bench) -> None:
    """Whoever counts what is accepted can tell what was before the start from what came after."""
    seen: dict[int, bool] = {}
    bench.writer.observers.add(lambda pieces: seen.update({p.seq: p.inherited for p in pieces}))
    bench.accept("1", add=False)
    bench.journal.plan("numbers", 1, 1)
    bench.accept("2", add=False)
    bench.start()
    bench.accept("3")
    bench.settled()
    bench.writer.stop(5)
    assert seen == {1: True, 2: True, 3: False}


def test_a_planned_batch_is_repeated_as_it_was(bench: Bench) -> None:
    """A crash after the insert and before forgetting: same rows, same tokens, nothing twice."""
    bench.accept("1", "2", add=False)
    bench.journal.plan("numbers", 1, 2)
    bench.accept("3", add=False)
    crashed = Bench(bench.path)
    crashed.writer._placer._store = bench.shelf
    crashed.writer._placer.place(bench.journal.batches("numbers")[0], _pieces(1, 2))
    assert bench.shelf.numbers() == [1, 2]
    bench.start()
    bench.settled()
    assert bench.shelf.numbers() == [1, 2, 3]
    assert bench.shelf.repeats == 2
    crashed.journal.close()


def _pieces(*numbers: int) -> list[Piece]:
    return [Piece(number, [number], 1, 0.0) for number in numbers]


def test_outage(bench: Bench) -> None:
    """While the store is away everything waits; when it is back everything is there once."""
    bench.shelf.failures = [StoreUnavailable("gone"), StoreError("too many parts", 252)]
    bench.start()
    bench.accept("1", "2")
    bench.settled()
    bench.accept("3")
    bench.settled()
    assert bench.shelf.numbers() == [1, 2, 3]
    assert bench.metrics.retries.labels("numbers")._value.get() == 2


def test_poison_is_set_aside(bench: Bench) -> None:
    """An entry that decodes no more is counted and kept; the others pass."""
    bench.accept("1", "poison", "2", add=False)
    bench.start()
    bench.settled()
    assert bench.shelf.numbers() == [1, 2]
    until(lambda: bench.journal.count("set_aside") == 1)
    assert bench.metrics.dropped.labels("numbers", "set_aside")._value.get() == 1


def test_rows_that_make_no_table_are_set_aside(bench: Bench) -> None:
    """One bad entry in a batch costs only itself, also when a crash comes in the middle."""
    bench.start()
    bench.accept("1", "13", "2")
    bench.settled()
    assert bench.shelf.numbers() == [1, 2]
    until(lambda: bench.journal.count("set_aside") == 1)


class NumberMetrics(MetricSignal):
    """Each number is a metric of its own, with a sample at that second."""

    name = "numbers"

    def decode(self, fmt: str, body: bytes, receipt: Receipt) -> MetricRows:
        builder = RowsBuilder(receipt.tenant, receipt.received_ms)
        for number in body.decode().split(","):
            builder.sample(builder.series({"__name__": f"m{number}"}), int(number) * 1000, 1.0)
        return builder.build()

    def tables(self, rows: Sequence[MetricRows]) -> Mapping[str, pa.Table]:
        made = super().tables(rows)
        if 13_000 in [time for one in rows for time in one.timestamps.tolist()]:
            raise ArithmeticError("13")
        return made


def test_what_is_stored_beside_what_is_set_aside_is_seen(path: Path) -> None:
    """Readers who hold samples and series in memory learn of all that a batch did store."""
    signal = NumberMetrics(ServerConfig())
    bench = Bench(path, signal=signal)
    bench.accept("7", "13", "8", add=False)
    bench.start()
    bench.settled()
    until(lambda: bench.journal.count("set_aside") == 1)
    changed = signal.freshness.changed_from("t", 0)
    assert changed is not None and changed <= 7_000
    assert signal.series_stored > 0
    bench.accept("8")
    bench.settled()
    [*_, written] = [rows for (table, _), rows in bench.shelf.inserts.items() if table == "series"]
    assert written.num_rows == 1  # once more: what became of its row was not certain
    bench.close()


def test_rows_the_store_finds_fault_with_are_set_aside(bench: Bench) -> None:
    """A data error is no outage: it is not repeated for ever."""
    bench.shelf.failures = [StoreError("cannot parse", 27)]
    bench.start()
    bench.accept("1")
    bench.settled()
    bench.accept("2")
    bench.settled()
    assert bench.shelf.numbers() == [2]
    until(lambda: bench.journal.count("set_aside") == 1)


def test_all_that_spoils_a_planned_batch_is_set_aside(bench: Bench) -> None:
    """What is left of a batch after a crash is set aside itself, not the batch's first entry."""
    bench.accept("poison", "13", add=False)
    bench.journal.plan("numbers", 1, 2)
    bench.start()
    bench.settled()
    until(lambda: bench.journal.count("set_aside") == 2)


class Picky(Shelf):
    """Finds fault with sums over 9; a crash may come before any insert."""

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        super().insert(table, rows, token)
        if table == "sums" and max(rows.column("sum").to_pylist()) > 9:
            del self.inserts[table, token]
            raise StoreError("too large a sum", 69)

    def sums(self) -> list[int]:
        return sorted(
            value
            for (table, _), rows in self.inserts.items()
            if table == "sums"
            for value in rows.column("sum").to_pylist()
        )


def _picky(bench: Bench) -> Picky:
    shelf = Picky()
    bench.shelf = bench.writer._placer._store = shelf
    return shelf


def test_a_fault_in_the_second_table(bench: Bench) -> None:
    """What was stored before the fault is not stored again; the sound entries are complete."""
    shelf = _picky(bench)
    bench.start()
    bench.accept("1", "2,3", "20", "4")
    bench.settled()
    assert shelf.numbers() == [1, 2, 3, 4, 20]
    assert shelf.sums() == [1, 4, 5]
    until(lambda: bench.journal.count("entries") == 0)
    until(lambda: bench.journal.count("set_aside") == 1)
    assert bench.metrics.stored.labels("numbers")._value.get() == 4
    assert bench.metrics.dropped.labels("numbers", "set_aside")._value.get() == 1


@pytest.mark.parametrize("inserts", range(1, 6))
def test_a_crash_amid_single_entries(path: Path, inserts: int) -> None:
    """Wherever it comes, everything is stored once after it, under the tokens of before."""
    before = Bench(path)
    shelf = _picky(before)
    before.accept("1", "2,3", "20", "4", add=False)
    left = list(range(inserts))

    def crash(table: str) -> None:
        if not left:
            raise StoreUnavailable("dead")
        left.pop()

    shelf.before = crash
    before.start()
    until(lambda: not left)
    before.writer.stop(0.05)
    before.journal.close()
    shelf.before = lambda table: None
    after = Bench(path)
    after.shelf = after.writer._placer._store = shelf
    after.start()
    after.accept("5")
    after.settled()
    assert shelf.numbers() == [1, 2, 3, 4, 5, 20]
    assert shelf.sums() == [1, 4, 5, 5]
    until(lambda: after.journal.count("set_aside") == 1)
    after.close()


def test_a_fault_in_a_batch_of_many_days(bench: Bench) -> None:
    """Only the days that were refused go by entries, and each row goes once."""
    shelf = bench.shelf
    refused: list[int] = []

    def fault(table: str) -> None:
        if table == "numbers" and len(shelf.inserts) == 1 and not refused:
            refused.append(1)
            raise StoreError("cannot parse", 27)

    shelf.before = fault
    days = [day * DAY for day in range(200)]
    bench.accept(",".join(map(str, days[::2])), ",".join(map(str, days[1::2])), add=False)
    bench.start()
    bench.settled()
    assert refused
    assert shelf.numbers() == days
    sizes = [len(rows) for (table, _), rows in shelf.inserts.items() if table == "numbers"]
    assert sizes == [90, 45, 45, 20]


def test_a_bug_does_not_end_the_writing(bench: Bench) -> None:
    """Whatever is raised, the writer begins again from the journal, and nothing is twice."""
    failures = [RuntimeError("a bug")] * 2

    def fail(table: str) -> None:
        if table == "sums" and failures:  # the other table has the batch already
            raise failures.pop()

    bench.shelf.before = fail
    bench.start()
    bench.accept("1", "2")
    bench.accept("3")
    bench.settled()
    assert bench.shelf.numbers() == [1, 2, 3]
    assert failures == []


def test_what_a_bug_kept_from_being_stored_is_not_taken_for_stored(path: Path) -> None:
    """A series whose row was made, and not inserted, is made again with the batch."""
    bench = Bench(path, signal=NumberMetrics(ServerConfig()))
    failures = [RuntimeError("a bug")]

    def fail(table: str) -> None:
        if table == "series" and failures:
            raise failures.pop()

    bench.shelf.before = fail
    bench.start()
    bench.accept("7")
    bench.settled()
    assert failures == []
    assert "series" in {table for table, _ in bench.shelf.inserts}
    bench.close()


class Rememberer(Numbers):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stored(self) -> None:
        self.told.append("stored")

    def forget(self) -> None:
        self.told.append("forget")


def test_a_repeated_batch_may_have_been_stored_before(path: Path) -> None:
    """Who counts what is stored counts none of it twice: it is to read anew after the repeat."""
    signal = Rememberer()
    bench = Bench(path, signal=signal)
    bench.accept("1", add=False)
    bench.journal.plan("numbers", 1, 1)
    bench.start()
    bench.settled()
    assert signal.told == ["stored", "forget"]
    bench.close()


def test_observers_see_each_batch_once(bench: Bench) -> None:
    """In order, whatever one of them raises, and all of them before the end."""
    seen: list[int] = []

    def fail(pieces: Sequence[Piece]) -> None:
        raise KeyError("an observer's bug")

    bench.writer.observers.add(fail)
    bench.writer.observers.add(lambda pieces: seen.extend(piece.seq for piece in pieces))
    bench.start()
    for number in range(3):
        bench.accept(str(number))
        bench.settled()
    bench.writer.stop(5)
    assert seen == [1, 2, 3]


def test_many_days_are_many_inserts(bench: Bench) -> None:
    """No insert touches more than 90 partitions."""
    bench.start()
    days = [day * DAY for day in range(200)]
    bench.accept(",".join(map(str, days)))
    bench.settled()
    assert bench.shelf.numbers() == days
    sizes = [len(rows) for (table, _), rows in bench.shelf.inserts.items() if table == "numbers"]
    assert sizes == [90, 90, 20]


def test_times_out_of_bounds(path: Path) -> None:
    """What would expire at once, or lies in the future, is left out and counted."""
    bench = Bench(path, bounds=Bounds(past=DAY, future=3600))
    bench.start()
    now = int(time.time())
    told: list[tuple[int, dict[str, int]]] = []

    def stored(pieces: Sequence[Piece]) -> Mapping[str, str]:
        told.extend((piece.stored, piece.dropped) for piece in pieces)
        return {}

    bench.writer._stored = stored
    bench.accept(f"{now},{now - 2 * DAY},{now + 2 * DAY}", f"{now}")
    bench.settled()
    assert bench.shelf.numbers() == [now, now]
    assert told == [(1, {"time_out_of_bounds": 2}), (1, {})]
    assert bench.metrics.dropped.labels("numbers", "time_out_of_bounds")._value.get() == 2
    bench.close()


def test_stopping_writes_what_waits(path: Path) -> None:
    """SIGTERM does not wait for the second to end, and says that nothing stayed."""
    bench = Bench(path, Pace(seconds=3600))
    bench.start()
    bench.accept("1", "2")
    assert bench.writer.stop(10)
    assert bench.shelf.numbers() == [1, 2]
    bench.journal.close()


def test_stopping_during_an_outage(path: Path) -> None:
    """The collector ends although the store is away; the journal keeps the rest."""
    bench = Bench(path)
    bench.shelf.failures = [StoreUnavailable("gone")] * 1000
    bench.start()
    bench.accept("1")
    assert not bench.writer.stop(0.3)
    assert bench.journal.count("entries") == 1
    bench.journal.close()
