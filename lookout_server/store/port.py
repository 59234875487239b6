"""The one door to ClickHouse: two backends answer it with the same SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may use. ClickHouse stops it, and StoreLimit is raised."""

    seconds: float = 10.0
    memory_bytes: int = 500_000_000
    threads: int = 2


#: ClickHouse's error numbers for rows, time, memory, bytes and size of a result over a limit.
LIMIT_CODES = frozenset({158, 159, 241, 307, 396})


class StoreError(Exception):
    """ClickHouse refused or failed; ``code`` is its error number, 0 where there is none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StoreLimit(StoreError):
    """A query ran into its time (code 159) or memory (code 241) limit."""


class StoreUnavailable(StoreError):
    """ClickHouse cannot be reached now; the same call may succeed later."""


class Store(Protocol):
    """Thread-safe. All calls block: use them from worker threads, never on the event loop."""

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert all of ``rows`` once: a repeat with the same token is ignored."""

    def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        mark: str | None = None,
    ) -> pa.Table:
        """Answer of a SELECT. Values are bound on ClickHouse's side as ``{name:Type}``.

        ``mark`` names the query for :meth:`cancel`: letters, digits and hyphens.
        """

    def cancel(self, mark: str) -> None:
        """Stop the fetches given this mark, if they run still; they raise StoreError."""

    def execute(self, sql: str) -> None:
        """Run DDL or a mutation."""

    def close(self) -> None: ...
