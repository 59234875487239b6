"""Puts one batch into the tables, each row of it once, also when some of it cannot be stored.

All tables are made before the first is inserted. Where ClickHouse finds fault with the rows of
one part of one table, that part alone is inserted entry by entry, and what was inserted before
stays as it is. That a part goes by entries is in the journal before the first of them does, so
that a repeat after a crash uses the same tokens for the same rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from .journal import Batch, Entry, Journal
from .signal import Rows, Signal, sampled_out
from .store.port import Store
from .store.split import by_days, day_range, days_between, outside, within

log = logging.getLogger("lookout.writer")

TIME_OUT_OF_BOUNDS = "time_out_of_bounds"
SET_ASIDE = "set_aside"
SAMPLED_OUT = "collector_sample_rate"

#: First and last time that is stored, as Unix seconds.
Window: TypeAlias = tuple[float, float]


class Unstorable(Exception):
    """These rows can never be stored."""


@dataclass(slots=True)
class Piece:
    """The rows of one journal entry."""

    seq: int
    rows: Rows | None  # None: to be read from the journal
    count: int
    accepted: float  # Unix time, seconds: when the request came in
    process: str = ""
    tenant: str = ""
    #: How many of its rows were not stored, by reason.
    dropped: dict[str, int] = field(default_factory=dict)
    #: Rows that its body had beyond these, left out by the collector's sample rate.
    sampled_out: int = 0
    #: An earlier run accepted it and did not get it written.
    inherited: bool = False
    #: When it was handed to the writer (monotonic).
    came: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, seq: int, entry: Entry, rows: Rows) -> Piece:
        """The rows that an entry was decoded to."""
        receipt = entry.receipt
        return cls(
            seq,
            rows,
            len(rows),
            receipt.received_ms / 1000,
            entry.process,
            receipt.tenant,
            sampled_out=sampled_out(rows),
        )

    @property
    def stored(self) -> int:
        return self.count - sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times that are stored, in seconds around the moment a batch's first request came in.

    Not around the moment of writing: a repeat after a crash must leave out the same rows.
    """

    past: float | None = None  # None: since 1970
    future: float | None = None  # None: until 2105

    def around(self, moment: float) -> Window:
        return (
            0.0 if self.past is None else moment - self.past,
            4.26e9 if self.future is None else moment + self.future,
        )


@dataclass(slots=True)
class Outcome:
    """What became of a batch that was placed."""

    #: Rows left out for their time, in the table that lost most.
    left_out: int = 0
    #: The entries that cannot be stored, and why.
    aside: dict[int, str] = field(default_factory=dict)

    def set_aside(self, piece: Piece, error: Unstorable) -> None:
        piece.dropped = {SET_ASIDE: piece.count}
        self.aside[piece.seq] = str(error)

    def add(self, other: Outcome) -> None:
        self.left_out += other.left_out
        self.aside |= other.aside


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table that are inserted at once."""

    table: str
    rows: pa.Table
    token: str
    #: First day and the one after the last, since 1970; all days where it is the whole table.
    days: tuple[float, float] = (float("-inf"), float("inf"))


class Placer:
    """Inserts the batches of one signal (the writer's thread)."""

    def __init__(
        self,
        signal: Signal[Any],
        store: Store,
        journal: Journal,
        time_columns: Mapping[str, str],
        bounds: Bounds,
        patiently: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._signal = signal
        self._store = store
        self._journal = journal
        self._columns = time_columns
        self._bounds = bounds
        self._patiently = patiently  # repeats what fails for the moment; raises Unstorable

    def place(self, batch: Batch, pieces: Sequence[Piece]) -> Outcome:
        """Insert the batch. What an entry loses is noted in its piece too."""
        outcome = Outcome()
        if not pieces:
            return outcome
        if batch.token in batch.singly:
            return self._by_entries(batch, pieces)
        try:
            tables = self._tables(pieces)
        except Unstorable as error:
            if len(pieces) == 1:
                outcome.set_aside(pieces[0], error)
                return outcome
            self._divide(batch, batch.token, error)
            return self._by_entries(batch, pieces)
        window = self._bounds.around(pieces[0].accepted)
        outcome.left_out = self._note_left_out(tables, pieces, window)
        for part in self._parts(tables, batch.token, window):
            self._insert(batch, part, pieces, window, outcome)
        return outcome

    def _by_entries(self, batch: Batch, pieces: Sequence[Piece]) -> Outcome:
        """A batch that no tables can be made of: each entry is one by itself."""
        outcome = Outcome()
        for piece in pieces:
            one = Batch(f"{batch.token}-{piece.seq}", batch.signal, piece.seq, piece.seq)
            outcome.add(self.place(one, [piece]))
        return outcome

    def _insert(
        self,
        batch: Batch,
        part: Part,
        pieces: Sequence[Piece],
        window: Window,
        outcome: Outcome,
    ) -> None:
        if part.token not in batch.singly:
            try:
                return self._insert_rows(part.table, part.rows, part.token)
            except Unstorable as error:
                if len(pieces) == 1:
                    return outcome.set_aside(pieces[0], error)
                self._divide(batch, part.token, error)
        self._insert_singly(part, pieces, window, outcome)

    def _insert_singly(
        self, part: Part, pieces: Sequence[Piece], window: Window, outcome: Outcome
    ) -> None:
        """The rows that each entry has in this part, under tokens of their own."""
        self._forget()
        for piece in pieces:
            try:
                rows = self._share(part, piece, window)
                self._insert_rows(part.table, rows, f"{part.token}-{piece.seq}")
            except Unstorable as error:
                outcome.set_aside(piece, error)
        self._forget()

    def _share(self, part: Part, piece: Piece, window: Window) -> pa.Table:
        rows = self._tables([piece]).get(part.table, part.rows.slice(0, 0))
        column = self._columns.get(part.table)
        if column is None:
            return rows
        return days_between(within(rows, column, *window), column, *part.days)

    def _divide(self, batch: Batch, token: str, error: Unstorable) -> None:
        log.warning("%s: %s by single entries: %s", batch.signal, token, error)
        self._patiently(lambda: self._journal.divide(batch, token))

    def _parts(self, tables: Mapping[str, pa.Table], token: str, window: Window) -> Iterator[Part]:
        for table, rows in tables.items():
            column = self._columns.get(table)
            if column is None:
                yield Part(table, rows, f"{token}-{table}")
                continue
            cuts = list(by_days(within(rows, column, *window), column))
            edges = [day_range(cut, column)[0] for cut in cuts[1:]]
            ranges = zip([float("-inf"), *edges], [*edges, float("inf")], strict=True)
            for number, (cut, days) in enumerate(zip(cuts, ranges, strict=True)):
                yield Part(table, cut, f"{token}-{table}-{number}", days)

    def _note_left_out(
        self, tables: Mapping[str, pa.Table], pieces: Sequence[Piece], window: Window
    ) -> int:
        """Rows outside of the window; by piece from the tables with a line for each row."""
        counts = [piece.count for piece in pieces]
        most = 0
        for table, rows in tables.items():
            column = self._columns.get(table)
            if column is None:
                continue
            left_out = outside(rows, column, *window)
            most = max(most, int(left_out.sum()))
            if left_out.any() and len(rows) == sum(counts):
                owners = np.repeat(np.arange(len(pieces)), counts)[left_out]
                _note(pieces, np.bincount(owners, minlength=len(pieces)).tolist())
        return most

    def _tables(self, pieces: Sequence[Piece]) -> Mapping[str, pa.Table]:
        try:
            return self._signal.tables([piece.rows for piece in pieces])
        except Exception as error:  # a bug of ours or rows nobody thought of: never block
            self._forget()
            raise Unstorable(f"{type(error).__name__}: {error}") from error

    def _forget(self) -> None:
        """What the signal believes to have handed over may not be stored."""
        forget = getattr(self._signal, "forget", None)
        if forget:
            forget()

    def _insert_rows(self, table: str, rows: pa.Table, token: str) -> None:
        if len(rows):
            self._patiently(lambda: self._store.insert(table, rows, token))


def _note(pieces: Sequence[Piece], left_out: Sequence[int]) -> None:
    for piece, count in zip(pieces, left_out, strict=True):
        if count > piece.dropped.get(TIME_OUT_OF_BOUNDS, 0):
            piece.dropped[TIME_OUT_OF_BOUNDS] = count
