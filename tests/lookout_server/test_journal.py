"""The journal keeps what it said it kept, in order, and says so when it cannot."""

from __future__ import annotations

import os
import queue
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lookout_server.journal import Entry, Journal, JournalError
from lookout_server.signal import Receipt

BODY = b'[{"traceId":"a"}]'


def entry(body: bytes = BODY, signal: str = "spans") -> Entry:
    return Entry(signal, "zipkin", body, Receipt("t'1", 1_700_000_000_000, {"path": "/x"}), "p1")


def keep(journal: Journal, *entries: Entry) -> list[int]:
    """Append and wait; the numbers given."""
    answers: queue.SimpleQueue[tuple[int, JournalError | None]] = queue.SimpleQueue()
    for one in entries:
        journal.append(one, lambda seq, error: answers.put((seq, error)))
    numbers = []
    for _ in entries:
        seq, error = answers.get(timeout=10)
        if error:
            raise error
        numbers.append(seq)
    return numbers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def test_entries_come_back_as_they_were(journal: Journal) -> None:
    """Body, format, tenant, time, hints and process survive, small bodies and large ones."""
    entries = [entry(b""), entry(os.urandom(5)), entry(BODY * 5000), entry(os.urandom(200_000))]
    keep(journal, *entries)
    assert [one for _, one in journal.read("spans", 0)] == entries


def test_numbers_follow_the_order_of_arrival(journal: Journal) -> None:
    """One rising sequence over all signals; reading one leaves the others out."""
    assert keep(journal, entry(), entry(signal="metrics"), entry()) == [1, 2, 3]
    assert [seq for seq, _ in journal.read("spans", 0)] == [1, 3]
    assert [seq for seq, _ in journal.read("spans", 2, 9)] == [3]


def test_reopened_after_a_kill(path: Path, journal: Journal) -> None:
    """What was acknowledged is there for the next process, without the first having closed."""
    keep(journal, entry(), entry())
    batch = journal.plan("spans", 1, 2)
    second = Journal(path)
    assert [seq for seq, _ in second.read("spans", 0)] == [1, 2]
    assert second.batches("spans") == [batch]
    assert second.bytes == journal.bytes > 0
    second.close()


def test_forgotten_batches_free_their_bytes(path: Path) -> None:
    """Numbers are never given twice, not even after everything was forgotten."""
    journal = Journal(path)
    keep(journal, entry(), entry(signal="metrics"), entry())
    journal.forget(journal.plan("spans", 1, 3))
    assert keep(journal, entry()) == [4]
    assert [seq for seq, _ in journal.read("metrics", 0)] == [2]
    journal.forget(journal.plan("metrics", 2, 2))
    journal.forget(journal.plan("spans", 4, 4))
    journal.close()
    again = Journal(path)
    assert (again.bytes, again.last, again.batches("spans")) == (0, 4, [])
    assert keep(again, entry()) == [5]
    again.close()


def test_tokens_differ_between_journals(journal: Journal, tmp_path: Path) -> None:
    """A journal that starts again at 1 must not repeat tokens ClickHouse remembers."""
    other = Journal(tmp_path / "other.sqlite")
    assert journal.plan("spans", 1, 2).token != other.plan("spans", 1, 2).token
    other.close()


def test_set_aside(journal: Journal) -> None:
    """An entry that cannot be stored is out of the way and kept for whoever looks."""
    keep(journal, entry(), entry())
    journal.set_aside(1, "no span")
    assert [seq for seq, _ in journal.read("spans", 0)] == [2]
    assert (journal.count("entries"), journal.count("set_aside")) == (1, 1)


def test_what_is_set_aside_makes_room(journal: Journal) -> None:
    """Bodies that cannot be stored do not fill the journal until the next start."""
    keep(journal, entry())
    journal.set_aside(1, "no span")
    assert journal.bytes == 0


def test_a_divided_batch(journal: Journal) -> None:
    """What goes by entries is known after a crash, for that batch alone and until it is written."""
    keep(journal, entry(), entry(), entry())
    batch, other = journal.plan("spans", 1, 2), journal.plan("spans", 3, 3)
    journal.divide(batch, f"{batch.token}-names")
    journal.divide(batch, f"{batch.token}-names")
    found = journal.batches("spans")
    assert [b.singly for b in found] == [{f"{batch.token}-names"}, set()]
    journal.forget(batch, aside={2: "no name"})
    journal.forget(other)
    journal.plan("spans", 1, 2)
    assert [b.singly for b in journal.batches("spans")] == [set()]
    assert (journal.count("entries"), journal.count("set_aside")) == (0, 1)
    assert journal.bytes == 0


def test_many_threads_share_commits(journal: Journal) -> None:
    """Requests that come while a commit is synced wait for one more, not for one each."""
    threads = [
        threading.Thread(target=lambda: [keep(journal, entry()) for _ in range(50)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.count("entries") == 400
    assert journal.commits < 400


def test_full(path: Path) -> None:
    """The limit is seen as soon as it is reached, and again after a restart."""
    journal = Journal(path, max_bytes=1000)
    assert not journal.full
    keep(journal, entry(os.urandom(2000)))
    assert journal.full
    journal.close()
    journal = Journal(path, max_bytes=1000)
    assert journal.full
    journal.forget(journal.plan("spans", 1, 1))
    keep(journal, entry())
    assert not journal.full
    journal.close()


def test_failing_disk(journal: Journal, path: Path) -> None:
    """What cannot be written is refused, what was forgotten meanwhile is made up for later."""
    keep(journal, entry(), entry())
    batch = journal.plan("spans", 1, 1)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    journal._writing.execute("PRAGMA busy_timeout = 0")
    journal.forget(batch)
    with pytest.raises(JournalError, match="locked"):
        keep(journal, entry())
    assert journal.error is not None
    blocker.execute("ROLLBACK")
    blocker.close()
    assert keep(journal, entry()) == [3]
    assert journal.error is None
    assert [seq for seq, _ in journal.read("spans", 0)] == [2, 3]
    assert journal.batches("spans") == []


def test_unusable_place(tmp_path: Path) -> None:
    """A journal that cannot be opened says which file and why."""
    place = tmp_path / "journal.sqlite"
    place.write_bytes(b"this is no database, and longer than a header of one hundred bytes" * 9)
    with pytest.raises(JournalError, match=r"journal\.sqlite.*not a database"):
        Journal(place)


def test_digests_outlive_their_entries(journal: Journal, path: Path) -> None:
    """What was kept lately is known after it was stored, and by the next process."""
    digests = [bytes([n]) * 16 for n in range(5)]
    keep(journal, *(replace(entry(), digest=digest) for digest in digests))
    journal.forget(journal.plan("spans", 1, 5))
    journal.drop_kept(3)
    keep(journal, entry())
    second = Journal(path)
    assert second.kept(10) == digests[2:]
    assert second.kept(2) == digests[3:]
    second.close()


def test_an_entry_that_cannot_be_written_down(journal: Journal) -> None:
    """It is refused by itself; the others of its group and those after it are kept."""
    bad = replace(entry(), receipt=Receipt("t", 1, {"x": object()}))
    with pytest.raises(JournalError, match="not JSON serializable"):
        keep(journal, entry(), bad, entry())
    assert keep(journal, entry())
    assert journal.count("entries") == 3
    huge = replace(entry(), receipt=Receipt("t", 2**70, {}))
    with pytest.raises(JournalError, match="too large"):
        keep(journal, huge)
    assert keep(journal, entry())


def test_a_failing_receiver_does_not_end_the_journal(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """What ``done`` raises is logged; this entry is kept, and so are the next ones."""

    def fail(seq: int, error: JournalError | None) -> None:
        raise RuntimeError("receiver")

    journal.append(entry(), fail)
    assert keep(journal, entry()) == [2]
    assert "the receiver of entry 1 failed" in caplog.text
    assert len(list(journal.read("spans", 0))) == 2


def test_what_is_set_aside_is_bounded(tmp_path: Path) -> None:
    """The oldest bodies that cannot be stored make room for younger ones, and are counted."""
    journal = Journal(tmp_path / "bounded.sqlite", aside_bytes=5_000)
    for n in range(5):
        (seq,) = keep(journal, entry(f"{n}".encode()))
        journal.set_aside(seq, "broken")
    with closing(sqlite3.connect(journal.path)) as reading:
        left = [row[0] for row in reading.execute("SELECT body FROM set_aside ORDER BY seq")]
    assert left == [b"1", b"2", b"3", b"4"]
    (seq,) = keep(journal, entry(os.urandom(2_500)))
    journal.forget(journal.plan("spans", seq, seq), aside={seq: "broken"})
    keep(journal, entry(b"committed with or after it"))
    assert journal.count("set_aside") == 2
    assert journal.aside_deleted == 4
    journal.close()


def test_answered_means_on_disk(tmp_path: Path) -> None:
    """A copy of the files as they are when the answer is given has the entry: nothing is owed."""
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def copy(seq: int, error: JournalError | None) -> None:
        target = tmp_path / f"copy-{seq}"
        target.mkdir()
        for file in (path, path.with_name("journal.sqlite-wal")):
            shutil.copy(file, target / file.name)
        copies.put(target)

    for n in range(5):
        journal.append(entry(f"body {n}".encode()), copy)
        found = Journal(copies.get(timeout=10) / path.name)
        assert [e.body for _, e in found.read("spans", n + 1)] == [f"body {n}".encode()]
        found.close()
    journal.close()


_SYNCING = """
import sys, threading
from pathlib import Path
from lookout_server.journal import Entry, Journal
from lookout_server.signal import Receipt
journal = Journal(Path(sys.argv[1]), sys.argv[2])
for n in range(5):
    done = threading.Event()
    entry = Entry("spans", "f", b"x" * 100, Receipt("default", n, {}))
    journal.append(entry, lambda *_: (open(sys.argv[3] + str(n), "w").close(), done.set()))
    done.wait()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("policy", "synced"), [("full", True), ("normal", False)])
def test_synced_before_the_answer(tmp_path: Path, policy: str, synced: bool) -> None:
    """What survives power loss: the log is synced between each write to it and its answer."""
    path, log = tmp_path / "journal.sqlite", tmp_path / "log"
    traced = ["strace", "-f", "-y", "-e", "trace=pwrite64,fsync,fdatasync,openat", "-o", str(log)]
    command = [sys.executable, "-c", _SYNCING, str(path), policy, str(tmp_path / "answer-")]
    made = subprocess.run([*traced, *command], check=False, capture_output=True, text=True)
    if "ptrace" in made.stderr.lower() and made.returncode:
        pytest.skip(f"strace may not trace here: {made.stderr.strip()}")
    written = False
    unsynced = []
    for line in log.read_text().splitlines():
        if "sqlite-wal" in line:
            written = "pwrite64(" in line or (written and "sync(" not in line)
        elif "answer-" in line and "openat(" in line:
            unsynced.append(written)
    assert unsynced == [not synced] * 5
