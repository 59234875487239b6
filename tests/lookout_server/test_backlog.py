"""More comes than is written: what waits, in how large batches, and who waits for it."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import pytest

from lookout_server.store.port import StoreUnavailable
from lookout_server.writer import Load, Pace

from .test_writer import Bench, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_memory_is_bounded_when_the_store_lags(path: Path) -> None:
    """Rows beyond the bound are dropped from memory and come from the journal in their turn."""
    bench = Bench(path, Pace(rows=10, seconds=0.01, memory_rows=20))
    bench.start()
    held = queue.SimpleQueue[None]()
    bench.shelf.before = lambda table: held.get(timeout=20)
    for number in range(100, 200):
        bench.accept(str(number))
    assert bench.writer._memory_rows <= 20
    assert bench.writer.waiting_rows == 100
    bench.shelf.before = lambda table: None
    held.put(None)
    bench.settled()
    assert bench.shelf.numbers() == list(range(100, 200))
    bench.accept("200")
    bench.settled()
    assert bench.shelf.numbers() == list(range(100, 201))
    until(lambda: not bench.writer._lagging)
    bench.close()


def test_a_backlog_goes_in_larger_batches(path: Path) -> None:
    """What waits goes up to ``most_rows`` at once, whether it waits in memory or in the journal."""
    bench = Bench(path, Pace(rows=10, seconds=3600, most_rows=40))

    def batches() -> list[int]:
        inserts = bench.shelf.inserts.items()
        return [len(rows) for (table, _), rows in inserts if table == "numbers"]

    bench.accept(*map(str, range(200, 300)))
    bench.start()
    bench.settled()
    assert batches() == [40, 40, 20]
    until(lambda: not bench.writer._lagging)
    started, held = queue.SimpleQueue[None](), queue.SimpleQueue[None]()

    def hold(table: str) -> None:
        started.put(None)
        held.get(timeout=20)

    bench.shelf.before = hold
    bench.accept(*map(str, range(300, 310)))
    started.get(timeout=20)
    bench.accept(*map(str, range(310, 370)))
    bench.shelf.before = lambda table: None
    held.put(None)
    bench.settled()
    assert batches()[3:] == [10, 40, 20]
    bench.close()


def test_who_brings_more_than_is_written_waits_for_the_next_batch(path: Path) -> None:
    """While a whole batch is overdue behind one that is written there is no room, then there is."""
    bench = Bench(path, Pace(rows=10, seconds=0.01))
    started, held = queue.SimpleQueue[None](), queue.SimpleQueue[None]()

    def hold(table: str) -> None:
        started.put(None)
        held.get(timeout=20)

    bench.shelf.before = hold
    bench.start()
    until(lambda: not bench.writer._lagging)
    bench.accept(*map(str, range(100, 110)))
    started.get(timeout=20)
    bench.accept(*map(str, range(200, 209)))
    assert bench.writer.room() is None, "what waits is no batch yet"
    bench.accept("209")
    until(lambda: bench.writer.room() is not None)
    room = bench.writer.room()
    assert room is not None
    assert not room.done()
    bench.shelf.before = lambda table: None
    held.put(None)
    room.result(20)
    bench.settled()
    assert bench.writer.room() is None
    bench.close()


def test_nobody_waits_for_a_store_that_takes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has waited for long waits in the journal: new bodies are taken at once."""
    bench = Bench(path, Pace(rows=10, seconds=0.01))
    bench.start()
    until(lambda: not bench.writer._lagging)
    bench.shelf.failures = [StoreUnavailable("it is away")] * 1000
    bench.accept(*map(str, range(100, 110)))
    until(lambda: len(bench.shelf.failures) < 1000)
    bench.accept(*map(str, range(110, 130)))
    until(lambda: bench.writer.room() is not None)
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert bench.writer.room() is None
    monkeypatch.undo()
    bench.close()


def test_under_load_only_the_patient_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While much comes in readers get no batch of their own; who waits for the next one gets it."""
    monkeypatch.setattr(Load, "busy", lambda _: True)
    bench = Bench(path, Pace(seconds=0.5))
    bench.start()
    bench.settled()
    bench.accept("1")
    assert bench.writer.settle() is None
    assert bench.shelf.numbers() == []
    waiting = bench.writer.settle(patient=True)
    assert waiting is not None
    waiting.result(10)
    assert bench.shelf.numbers() == [1]
    assert bench.writer.settle(patient=True) is None
    bench.close()
