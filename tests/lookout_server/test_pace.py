"""When a batch is written: how early, how often for readers, and what counts as load."""

from __future__ import annotations

import time

import pytest

from lookout_server.writer import Early, Load, Pace, Patience

DAY = 86_400


def test_readers_hasten_a_bounded_number_of_batches() -> None:
    """A burst of early batches is free, after it they come at the interval: parts cost merges."""
    early = Early(Pace(early_burst=3, early_interval=10.0))
    granted = 0
    for _ in range(10):
        early.wanted = True
        if early.due():
            granted += 1
            early.start(writing=True)
    assert granted == 3 + 1
    assert 0 < early.pause() <= 10


def test_a_burst_is_no_load_and_seconds_of_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Much at once, and a few seconds of much, leave readers their batches; five seconds do not."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    load = Load(100)
    for _ in range(5):
        load.count(5000)
        assert not load.busy()
        now += 1
    load.count(1)
    assert load.busy()
    now += 1  # of which the second before had one row
    load.count(1)
    assert not load.busy()


def test_slow_seconds_do_not_end_a_long_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a disk is slow for a while, and what comes waits; a third of its time does."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    load = Load(100)
    busy = []
    for rows in [5000] * 12 + [50, 5000, 50, 50, 50]:
        load.count(rows)
        busy.append(load.busy())
        now += 1
    assert busy == [False] * 5 + [True] * 11 + [False]
    for _ in range(60):
        load.count(5000)
        now += 1
    for _ in range(8):
        load.count(50)
        assert load.busy()
        now += 1
    now += 3
    assert not load.busy()
    for _ in range(10):
        load.count(5000)
        now += 1
    now += 3
    load.count(5000)
    assert not load.busy()


def test_load_goes_on_as_a_second_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two bodies of a steady load no reader takes it for ended, and soon after it is."""
    now = 1000.9
    monkeypatch.setattr(time, "monotonic", lambda: now)
    load = Load(100)
    for _ in range(6):
        load.count(5000)
        now += 1
    now -= 0.8
    assert load.busy()
    now += 0.4
    assert not load.busy()


def test_a_batch_begins_early_by_what_writing_takes() -> None:
    """Rows are stored when they are as old as was asked for; a slow store gets no tiny batches."""
    patience = Patience(1.0)
    assert patience.seconds == 1.0
    for _ in range(50):
        patience.wrote(0.2)
    assert patience.seconds == pytest.approx(0.8, abs=0.01)
    for _ in range(50):
        patience.wrote(30.0)
    assert patience.seconds == 0.5
