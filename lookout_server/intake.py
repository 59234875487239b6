"""Where bodies become durable: decode, journal, hand to the writer, answer."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from .config import ServerConfig
from .decoding.decoder import Decoder
from .decoding.link import Decoded
from .http import Overloaded
from .journal import Entry, Journal, JournalError, Origin
from .limits import TenantLimits
from .placing import SAMPLED_OUT, Piece
from .reconcile import Reconciliation
from .repeats import MAX_REMEMBERED, Repeats, digest
from .self_metrics import SelfMetrics
from .self_tracing import step
from .signal import Malformed, Receipt, Rows, rejected, sampled_out
from .writer import Writer

#: Uid of the client process whose request is being handled, where it told one.
CLIENT_PROCESS: ContextVar[str] = ContextVar("client_process", default="")


#: An answer waits no longer for what was accepted before to be written.
_HELD_SECONDS = 1.0


class JournalIntake:
    """See :class:`.server.Intake`. Lives on the event loop."""

    def __init__(
        self,
        config: ServerConfig,
        journal: Journal,
        writers: Mapping[str, Writer],
        decoder: Decoder,
        metrics: SelfMetrics,
        reconciliation: Reconciliation,
    ) -> None:
        self.draining = False
        self._config = config
        self._journal = journal
        self._writers = writers
        self._decoder = decoder
        self._metrics = metrics
        self._reconciliation = reconciliation
        self._repeats = Repeats(journal.kept(MAX_REMEMBERED))
        self._taken: dict[str, dict[Origin, int]] = {}  # by source
        for origin, seq in journal.taken().items():
            self._taken.setdefault(origin.source, {})[origin] = seq
        self._answers = _Answers()
        self._limits = TenantLimits(config.max_tenants, config.tenant_rate)

    async def accept(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Rows:
        """Decode, journal, hand to the writer; returns once the body survives kill -9.

        Returns later, by up to a second, where more comes than is written: a client that waits for
        answers then sends as fast as ClickHouse takes it. Raises Malformed (400), or Overloaded
        (429, 503) with nothing kept.
        """
        rows, compressed = await self._admitted(signal, fmt, body, receipt)
        if len(rows) or sampled_out(rows):
            # A client's ledger counts its spans; metrics come with the same header.
            process = CLIENT_PROCESS.get() if signal == "spans" else ""
            with step("journal"):
                entry = Entry(signal, fmt, body, receipt, process, compressed=compressed)
                await self._keep_once(entry, rows)
        self._count(signal, fmt, body, rows)
        if (room := self._writers[signal].room()) is not None:
            await asyncio.wait([asyncio.wrap_future(room)], timeout=_HELD_SECONDS)
        return rows

    async def take(self, origin: Origin, entry: Entry) -> int:
        """Keep what a queue gave, once, however often it gives it; the journal's number of it.

        0 where there is nothing to store. Raises as :meth:`accept`. The place is remembered
        in the transaction that keeps the body, until :meth:`acknowledged`; that of a body of which
        nothing is kept in memory only, so that after a crash what it left out may count again.
        """
        known = self._taken.setdefault(origin.source, {})
        if (seq := known.get(origin)) is not None:
            self._metrics.repeats.labels(entry.signal).inc()
            return seq
        rows, compressed = await self._admitted(
            entry.signal, entry.format, entry.body, entry.receipt
        )
        seq = 0
        if len(rows):
            seq = await self._keep(replace(entry, origin=origin, compressed=compressed), rows)
        known[origin] = seq
        self._credit(entry, rows)
        self._count(entry.signal, entry.format, entry.body, rows)
        return seq

    def acknowledged(self, source: str, below: int) -> None:
        """The queue will not give positions before ``below`` again: they need no memory."""
        known = self._taken.get(source, {})
        for origin in [origin for origin in known if origin.position < below]:
            del known[origin]
        self._journal.drop_taken(source, below)

    async def _admitted(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Decoded:
        self._admit(receipt.tenant, len(body))
        try:
            with step("decode"):
                return await self._decoder.decode(signal, fmt, body, receipt)
        except Malformed:
            self._metrics.refused.labels("malformed").inc()
            raise

    def _count(self, signal: str, fmt: str, body: bytes, rows: Rows) -> None:
        self._metrics.count_body(signal, fmt, len(body), len(rows))
        if sampled_out(rows):
            self._metrics.dropped.labels(signal, SAMPLED_OUT).inc(sampled_out(rows))
        for reason, count in rejected(rows).items():
            self._metrics.rejected.labels(reason).inc(count)

    def _admit(self, tenant: str, size: int) -> None:
        if self.draining:
            self._refuse("draining", Overloaded("the collector is stopping"))
        if self._journal.full:
            text = (
                f"the journal holds its limit of {self._config.journal_max} bytes: "
                "the database does not take data as fast as it comes"
            )
            self._refuse("journal_full", Overloaded(text, retry_after=5))
        if refusal := self._limits.refusal(tenant, size):
            self._refuse(refusal.reason, Overloaded(refusal.text, refusal.retry_after, 429))

    def _refuse(self, reason: str, error: Overloaded) -> None:
        self._metrics.refused.labels(reason).inc()
        raise error

    async def _keep_once(self, entry: Entry, rows: Rows) -> None:
        if not entry.process:
            if len(rows):
                await self._keep(entry, rows)
            return
        key = digest(entry.process, entry.body)

        async def keep() -> None:  # to its end, also when the request is cancelled meanwhile
            if len(rows):
                await self._keep(replace(entry, digest=key), rows)
            self._credit(entry, rows)

        if not await self._repeats.once(key, keep):
            self._metrics.repeats.labels(entry.signal).inc()

    def _credit(self, entry: Entry, rows: Rows) -> None:
        """What an entry left out is credited with its rows when they are written; now without."""
        if len(rows):
            self._reconciliation.accepted(entry.process, len(rows))
        else:
            self._reconciliation.sampled_out(entry.process, sampled_out(rows))

    async def _keep(self, entry: Entry, rows: Rows) -> int:
        """The journal's number of the entry, once it is there."""
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[int] = loop.create_future()
        writer = self._writers[entry.signal]

        def done(seq: int, error: JournalError | None) -> None:  # the journal's thread
            if error is None:
                writer.add(Piece.of(seq, entry, rows))
            self._answers.put(loop, kept, seq, error)

        self._journal.append(entry, done)
        try:
            return await kept
        except JournalError as error:
            self._metrics.refused.labels("journal_error").inc()
            raise Overloaded(str(error), retry_after=5) from None


class _Answers:
    """Brings what the journal's thread found to the event loop, which is woken once a commit.

    Waking it for each entry is a system call each, and the two threads take turns at every one.
    """

    def __init__(self) -> None:
        self._found: deque[tuple[asyncio.Future[int], int, JournalError | None]] = deque()

    def put(
        self,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[int],
        seq: int,
        error: JournalError | None,
    ) -> None:
        """Have the future resolved by its loop (the journal's thread)."""
        self._found.append((future, seq, error))
        if len(self._found) == 1:
            with suppress(RuntimeError):  # the loop is closed: nobody waits for the answer
                loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        while self._found:
            # Taken off only afterwards: the journal's thread then knows that it is seen to.
            _resolve(*self._found[0])
            self._found.popleft()


def _resolve(future: asyncio.Future[int], seq: int, error: JournalError | None) -> None:
    if future.done():  # cancelled
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(seq)


def receipt(tenant: str, hints: Mapping[str, Any] | None = None) -> Receipt:
    """A receipt of this moment."""
    return Receipt(tenant, time.time_ns() // 1_000_000, hints or {})
