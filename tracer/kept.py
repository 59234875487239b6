"""A destination that is not shown the spans which are recorded only to be counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporters.destination import Deadline, Destination
from exporters.ledger import Account, Ledger
from exporters.records import SAMPLED, SpanRecord

#: The reason under which the ledger shows recorded spans that a destination was not sent.
SAMPLED_OUT = "sampled_out"


class SampledOnly:
    """Hands ``inner`` the sampled records of each batch and accounts for the others."""

    def __init__(self, inner: Destination) -> None:
        self.inner = inner
        self.name = inner.name
        self._account: Account | None = None

    def open(self, ledger: Ledger) -> None:
        self.inner.open(ledger)
        self._account = ledger.account(self.name)

    def accept(self, records: Sequence[SpanRecord]) -> None:
        kept = [record for record in records if record.flags & SAMPLED]
        others = len(records) - len(kept)
        if others and self._account is not None:
            self._account.offer(others)
            self._account.drop(SAMPLED_OUT, others)
        if kept:
            self.inner.accept(kept)

    def flush(self, deadline: Deadline) -> bool:
        return self.inner.flush(deadline)

    def shutdown(self, deadline: Deadline) -> bool:
        return self.inner.shutdown(deadline)

    def after_fork(self) -> None:
        self.inner.after_fork()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
