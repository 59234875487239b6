"""The port every destination implements."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from .ledger import Account, Ledger
from .records import SpanRecord


class Deadline:
    """A moment by which something must be over, handed down through all layers."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the moment, never negative."""
        return max(0.0, self._at - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the moment has passed."""
        return time.monotonic() >= self._at


@runtime_checkable
class Destination(Protocol):
    """Where finished spans go. The flusher calls it from one thread at a time.

    None of the methods may raise or wait for a network: a destination that can be slow keeps
    its own bounded queue and thread (:class:`exporters.sender.Sender`).
    """

    @property
    def name(self) -> str:
        """The key of its account in the ledger."""

    def open(self, ledger: Ledger) -> None:
        """Called once, before anything else."""

    def accept(self, records: Sequence[SpanRecord]) -> None:
        """Take a batch. The account must come to know what becomes of every record."""

    def flush(self, deadline: Deadline) -> bool:
        """Hand over everything accepted. False when the deadline came first."""

    def shutdown(self, deadline: Deadline) -> bool:
        """Flush and let go of files, sockets and threads. False when the deadline came first."""

    def after_fork(self) -> None:
        """In the child: forget what the parent will send, replace locks. No I/O, no logging."""


class LocalDestination:
    """What destinations have in common that do their work at once, on the flusher's thread."""

    name = "local"

    def __init__(self) -> None:
        self.account = Account(self.name)

    def open(self, ledger: Ledger) -> None:
        self.account = ledger.account(self.name)

    def flush(self, deadline: Deadline) -> bool:
        return True

    def shutdown(self, deadline: Deadline) -> bool:
        return self.flush(deadline)

    def after_fork(self) -> None:
        """Nothing to forget."""

    def _done(self, count: int) -> None:
        self.account.offer(count)
        self.account.send(count)
        self.account.acknowledge(count)
