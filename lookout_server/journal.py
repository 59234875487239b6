"""Accepted means durable: bodies on disk, synced in groups, until ClickHouse has them.

A SQLite database in WAL mode. One thread owns its only writing connection and commits whatever
came in while the last commit was being synced, so that many requests share one fsync. Bodies
are kept as they came (compressed); decoding them again gives the same rows. A batch is planned
here (its token and its range of entries) before it is inserted, so that a repeat after a crash
is the same batch under the same token, which ClickHouse then ignores if it has it.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from .compressed import compress, decompress
from .signal import Receipt

log = logging.getLogger("lookout.journal")

Sync = Literal["full", "normal", "off"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    signal TEXT NOT NULL,
    format TEXT NOT NULL,
    tenant TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    hints TEXT NOT NULL,
    process TEXT NOT NULL,
    compressed INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    token TEXT PRIMARY KEY,
    signal TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS singly (
    batch TEXT NOT NULL, token TEXT NOT NULL, PRIMARY KEY (batch, token)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS set_aside (
    seq INTEGER PRIMARY KEY, signal TEXT, format TEXT, tenant TEXT, received_ms INTEGER,
    hints TEXT, process TEXT, compressed INTEGER, body BLOB, reason TEXT
);
CREATE TABLE IF NOT EXISTS kept (digest BLOB NOT NULL, received_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS taken (
    source TEXT NOT NULL, position INTEGER NOT NULL, mark INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (source, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identity (journal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (process TEXT PRIMARY KEY, account TEXT NOT NULL);
"""
_COLUMNS = "seq, signal, format, tenant, received_ms, hints, process, compressed, body"

#: A 40 kB body fits three pages of this size; with 4 KiB pages it costs twice the time.
_PAGE_BYTES = 16384
#: Entries live a second or two: with a log this long most are gone before they are moved
#: from the log into the file, and their pages are used again.
_LOG_PAGES = 64 * 2**20 // _PAGE_BYTES
#: Space taken by each entry that is set aside and by all younger ones; a row itself takes some.
_SPACE_ASIDE = "SELECT seq, sum(length(body) + ?) OVER (ORDER BY seq DESC) AS bytes FROM set_aside"
_ENTRY_BYTES = 1024
#: Rows of one INSERT. Each statement lets go of the interpreter and waits until a thread that
#: computes gives it back: rows inserted one by one waited for most of their commit.
_ROWS_AT_ONCE = 100
#: One commit takes no more than this, so that its requests do not wait for too long.
_GROUP_BYTES = 8 * 2**20


class JournalError(Exception):
    """The journal cannot be written or opened; the text says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a queue has a body, and will give it again until it is told that it is stored."""

    source: str  # a partition of a topic
    position: int  # the offset in it
    mark: int = 0  # what another body at the same place would differ in: its timestamp


@dataclass(frozen=True, slots=True)
class Entry:
    """A body as it was accepted."""

    signal: str
    format: str
    body: bytes
    receipt: Receipt
    process: str = ""  # uid of the sending process where it told one
    digest: bytes = b""  # what a repeat of it would be recognised by
    origin: Origin | None = None
    #: The body by :func:`.compressed.compress`, where that is done already.
    compressed: bytes | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The entries of one signal from ``first`` to ``last``, inserted under one token."""

    token: str
    signal: str
    first: int
    last: int
    #: Tokens whose rows go entry by entry, because ClickHouse refused them together.
    singly: frozenset[str] = frozenset()


#: Called on the journal's thread: the entry's number, or why it was not kept.
Done = Callable[[int, JournalError | None], None]


_Sql = tuple[str, tuple[object, ...]]


@dataclass(slots=True)
class _Append:
    entry: Entry
    done: Done


@dataclass(slots=True)
class _Change:
    sql: Sequence[_Sql]
    #: To be made up for when it fails, since nobody waits for it.
    owed: bool = False
    #: Whether it sets entries aside.
    aside: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    error: JournalError | None = None


class Journal:
    """The journal in a directory. Thread-safe."""

    def __init__(
        self,
        path: Path,
        sync: Sync = "full",
        max_bytes: int = 4 * 2**30,
        aside_bytes: int = 2**28,
    ) -> None:
        """Open or create. Raises JournalError naming the file and the reason."""
        self.path = path
        self.max_bytes = max_bytes
        self.commits = 0
        self.aside_deleted = 0  # entries set aside and deleted again for want of space
        self._aside_bytes = aside_bytes
        self.synced_seconds = 0.0
        self.error: JournalError | None = None  # of the last commit
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writing = _open(path, sync)
            self._id = _identity(self._writing)
            self._seq = _last_seq(self._writing)
            self.bytes = _live_bytes(self._writing)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"cannot open the journal {path}: {error}") from error
        self._owed: list[_Sql] = []
        self._queue: queue.SimpleQueue[_Append | _Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lookout-journal", daemon=True)
        self._thread.start()

    @property
    def identity(self) -> str:
        """A name that no other journal has."""
        return self._id

    @property
    def full(self) -> bool:
        """Whether new entries are to be refused because of the size limit."""
        return self.bytes >= self.max_bytes

    def append(self, entry: Entry, done: Done) -> None:
        """Have the entry kept; ``done`` is called when it survives a crash, or was not kept."""
        self._queue.put(_Append(entry, done))

    def plan(self, signal: str, first: int, last: int) -> Batch:
        """Record a batch before it is inserted. Raises JournalError."""
        batch = Batch(f"{self._id}-{signal}-{first}", signal, first, last)
        self._change(
            (
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)",
                (batch.token, signal, first, last),
            )
        )
        return batch

    def divide(self, batch: Batch, token: str) -> None:
        """Record that the rows of a token of the batch go entry by entry. Raises JournalError."""
        self._change(("INSERT OR IGNORE INTO singly VALUES (?, ?)", (batch.token, token)))

    def forget(
        self,
        batch: Batch,
        accounts: Mapping[str, str] | None = None,
        aside: Mapping[int, str] | None = None,
    ) -> None:
        """Drop a batch that ClickHouse has. Returns at once; done with the next commit.

        ``aside`` are the entries of it that cannot be stored, and why: they are kept apart.

        ``accounts`` replace those of the same processes in the same transaction, so that what a
        process had stored is counted once, however often the batch is repeated.
        """
        credits: list[_Sql] = [
            ("INSERT OR REPLACE INTO accounts VALUES (?, ?)", item)
            for item in (accounts or {}).items()
        ]
        moves = [_setting_aside(seq, reason) for seq, reason in (aside or {}).items()]
        sql = [*moves, *_forgetting(batch), *credits]
        self._queue.put(_Change(sql, owed=True, aside=bool(moves)))

    def accounts(self) -> dict[str, str]:
        """What :meth:`forget` kept of each process, the one heard of last at the end."""
        with closing(self._reader()) as reading:
            return dict(reading.execute("SELECT process, account FROM accounts ORDER BY rowid"))

    def kept(self, limit: int) -> list[bytes]:
        """Digests of the entries kept last, oldest first, whether they are stored by now or not."""
        with closing(self._reader()) as reading:
            rows = reading.execute(
                "SELECT digest FROM kept ORDER BY rowid DESC LIMIT ?", (limit,)
            ).fetchall()
            return [row[0] for row in reversed(rows)]

    def drop_kept(self, limit: int) -> None:
        """Forget all digests but the last ``limit``; done with the next commit."""
        last = "SELECT ifnull(max(rowid), 0) FROM kept"
        self._queue.put(_Change([(f"DELETE FROM kept WHERE rowid <= ({last}) - ?", (limit,))]))

    def taken(self) -> dict[Origin, int]:
        """What was taken from queues and is not acknowledged there, with the entries' numbers."""
        with closing(self._reader()) as reading:
            rows = reading.execute("SELECT source, position, mark, seq FROM taken")
            return {Origin(*place): seq for *place, seq in rows}

    def drop_taken(self, source: str, below: int) -> None:
        """Forget positions a queue will not give again; done with the next commit."""
        sql = "DELETE FROM taken WHERE source = ? AND position < ?"
        self._queue.put(_Change([(sql, (source, below))], owed=True))

    def drop_accounts(self, processes: Iterable[str]) -> None:
        """Forget processes; done with the next commit."""
        sql: list[_Sql] = [("DELETE FROM accounts WHERE process = ?", (key,)) for key in processes]
        self._queue.put(_Change(sql))

    def set_aside(self, seq: int, reason: str) -> None:
        """Move an entry that cannot be stored out of the way, with the reason."""
        self._change(
            _setting_aside(seq, reason),
            ("DELETE FROM entries WHERE seq = ? RETURNING length(body)", (seq,)),
            aside=True,
        )

    def batches(self, signal: str) -> list[Batch]:
        """Batches that were planned and not forgotten: what a crash left to repeat."""
        with closing(self._reader()) as reading:
            rows = reading.execute(
                "SELECT token, signal, first, last FROM batches WHERE signal = ? ORDER BY first",
                (signal,),
            ).fetchall()
            singly = reading.execute("SELECT batch, token FROM singly").fetchall()
            return [
                Batch(token, signal, first, last, frozenset(t for b, t in singly if b == token))
                for token, signal, first, last in rows
            ]

    def read(self, signal: str, first: int, last: int | None = None) -> Iterator[tuple[int, Entry]]:
        """Entries of a signal in order, from ``first`` to ``last`` (both included)."""
        with closing(self._reader()) as reading:
            rows = reading.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE seq BETWEEN ? AND ? AND signal = ? "
                "ORDER BY seq",
                (first, 2**62 if last is None else last, signal),
            )
            for row in rows:
                yield row[0], _entry(_Row(*row))

    @property
    def last(self) -> int:
        """The highest number given to an entry so far."""
        return self._seq

    def oldest_ms(self) -> int | None:
        """When the oldest entry came in (Unix ms); None where nothing waits."""
        with closing(self._reader()) as reading:
            row = reading.execute("SELECT received_ms FROM entries ORDER BY seq LIMIT 1").fetchone()
            return int(row[0]) if row else None

    def count(self, table: Literal["entries", "set_aside"]) -> int:
        """How many entries wait, or were set aside."""
        with closing(self._reader()) as reading:
            return int(reading.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def shrink(self) -> None:
        """Give space back to the file system that a backlog took, when little waits."""
        if self.bytes < _LOG_PAGES * _PAGE_BYTES:
            self._queue.put(_Change([("PRAGMA incremental_vacuum(4096)", ())]))

    def close(self) -> None:
        """Commit what is queued and stop."""
        self._queue.put(None)
        self._thread.join()
        self._writing.close()

    def _reader(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )

    def _change(self, *sql: _Sql, aside: bool = False) -> None:
        change = _Change(sql, aside=aside)
        self._queue.put(change)
        change.done.wait()
        if change.error:
            raise change.error

    # -- the journal's thread ------------------------------------------------------------

    def _run(self) -> None:
        open_ = True
        while open_:
            group: list[_Append | _Change] = []
            size = 0
            item = self._queue.get()
            while True:
                if item is None:
                    open_ = False
                    break
                group.append(item)
                size += len(item.entry.body) if isinstance(item, _Append) else 0
                if size >= _GROUP_BYTES or self._queue.empty():
                    break
                item = self._queue.get_nowait()
            if group:
                self._commit(group)

    def _commit(self, group: list[_Append | _Change]) -> None:
        changes = [item for item in group if isinstance(item, _Change)]
        first = self._seq + 1
        appends: list[_Append] = []
        rows: list[_Row] = []
        for item in group:
            if isinstance(item, _Append) and (row := _try_row(first + len(rows), item)):
                appends.append(item)
                rows.append(row)
        started = time.perf_counter()
        try:
            freed = self._transact(rows, _digests(appends), _taken(first, appends), changes)
            self._seq += len(rows)
            self.bytes += sum(len(row.body) for row in rows) - freed
            error = None
        except Exception as failure:  # whatever it is, the thread and its waiters live on
            error = JournalError(f"the journal cannot be written: {failure}")
            # What ClickHouse has is still to be forgotten, when writing is possible again.
            self._owed += [sql for change in changes if change.owed for sql in change.sql]
        if error and self.error is None:
            log.error("%s; until it can, bodies are refused", error)
        elif self.error and error is None:
            log.info("the journal can be written again")
        self.error = error
        self.commits += 1
        self.synced_seconds += time.perf_counter() - started
        for change in changes:
            change.error = error
            change.done.set()
        for number, item in enumerate(appends, first):
            _tell(item, number, error)

    def _transact(
        self,
        rows: list[_Row],
        digests: list[tuple[bytes, int]],
        taken: list[tuple[str, int, int, int]],
        changes: list[_Change],
    ) -> int:
        """One transaction; the bytes it freed. Whatever it raises, nothing was changed."""
        freed = 0
        owed = self._owed
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            for at in range(0, len(rows), _ROWS_AT_ONCE):
                self._writing.execute(*_inserting(rows[at : at + _ROWS_AT_ONCE]))
            self._writing.executemany("INSERT INTO kept VALUES (?, ?)", digests)
            self._writing.executemany("INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?)", taken)
            for sql, values in [*owed, *(s for change in changes for s in change.sql)]:
                returned = self._writing.execute(sql, values).fetchall()
                freed += sum(row[0] for row in returned if row)
            deleted = self._bound_aside(changes)
            self._writing.execute("COMMIT")
        except BaseException:
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            raise
        self._owed = []
        self.aside_deleted += deleted
        return freed

    def _bound_aside(self, changes: list[_Change]) -> int:
        """Delete the oldest of what is set aside beyond its space; how many that was."""
        if not self._owed and not any(change.aside for change in changes):
            return 0
        return self._writing.execute(
            f"DELETE FROM set_aside WHERE seq <= (SELECT max(seq) FROM ({_SPACE_ASIDE}) "
            "WHERE bytes > ?)",
            (_ENTRY_BYTES, self._aside_bytes),
        ).rowcount


def _open(path: Path, sync: Sync) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {sync}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {2 * _LOG_PAGES * _PAGE_BYTES}")
    connection.executescript(_SCHEMA)
    connection.execute("PRAGMA incremental_vacuum")
    return connection


def _identity(connection: sqlite3.Connection) -> str:
    """A name of this journal, in every token: numbers start again in a new one."""
    row = connection.execute("SELECT journal FROM identity").fetchone()
    if row is None:
        row = (uuid.uuid4().hex[:16],)
        connection.execute("INSERT INTO identity VALUES (?)", row)
    return str(row[0])


def _last_seq(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
    return int(row[0]) if row else 0


def _live_bytes(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT ifnull(sum(length(body)), 0) FROM entries").fetchone()[0])


def _inserting(rows: Sequence[_Row]) -> _Sql:
    places = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?)"] * len(rows))
    return f"INSERT INTO entries ({_COLUMNS}) VALUES {places}", tuple(chain.from_iterable(rows))


def _forgetting(batch: Batch) -> list[_Sql]:
    return [
        (
            "DELETE FROM entries WHERE seq BETWEEN ? AND ? AND signal = ? RETURNING length(body)",
            (batch.first, batch.last, batch.signal),
        ),
        ("DELETE FROM batches WHERE token = ?", (batch.token,)),
        ("DELETE FROM singly WHERE batch = ?", (batch.token,)),
    ]


def _setting_aside(seq: int, reason: str) -> _Sql:
    return (
        f"INSERT OR REPLACE INTO set_aside SELECT {_COLUMNS}, ? FROM entries WHERE seq = ?",
        (reason, seq),
    )


def _digests(appends: list[_Append]) -> list[tuple[bytes, int]]:
    return [
        (item.entry.digest, item.entry.receipt.received_ms) for item in appends if item.entry.digest
    ]


def _taken(first: int, appends: list[_Append]) -> list[tuple[str, int, int, int]]:
    return [
        (origin.source, origin.position, origin.mark, seq)
        for seq, item in enumerate(appends, first)
        if (origin := item.entry.origin) is not None
    ]


class _Row(NamedTuple):
    """A line of ``entries``."""

    seq: int
    signal: str
    format: str
    tenant: str
    received_ms: int
    hints: str
    process: str
    compressed: bool
    body: bytes


def _try_row(seq: int, item: _Append) -> _Row | None:
    """The entry's line; None, and its sender told, where it cannot be written down."""
    try:
        return _row(seq, item.entry)
    except (TypeError, ValueError) as error:
        _tell(item, 0, JournalError(f"the entry cannot be written down: {error}"))
        return None


def _tell(item: _Append, number: int, error: JournalError | None) -> None:
    """Call the entry's ``done``; what it raises must not end the journal's thread."""
    try:
        item.done(number, error)
    except Exception:
        log.exception("the receiver of entry %d failed", number)


def _row(seq: int, entry: Entry) -> _Row:
    receipt = entry.receipt
    compressed = entry.compressed or compress(entry.body)
    hints = json.dumps(dict(receipt.hints)) if receipt.hints else "{}"
    return _Row(
        seq,
        entry.signal,
        entry.format,
        receipt.tenant,
        receipt.received_ms,
        hints,
        entry.process,
        compressed is not None,
        entry.body if compressed is None else compressed,
    )


def _entry(row: _Row) -> Entry:
    receipt = Receipt(row.tenant, row.received_ms, json.loads(row.hints))
    body = decompress(row.body) if row.compressed else row.body
    return Entry(row.signal, row.format, body, receipt, row.process)
