"""What the layers below one request need to know of it: its explanation, and how to end it.

It travels in a context variable, so that the catalog and the source of series stay free of HTTP.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyarrow as pa

from ...store.port import Limits, Store
from ..explain import Explanation, Stage
from .errors import QueryCanceled

_NUMBERS = itertools.count(1)


class Asking:
    """One request: what it did, whether it is to be told, and whether anybody still waits."""

    def __init__(self) -> None:
        self.explanation = Explanation()
        self.explained = False  # the client asked for the explanation
        self.canceled = False
        self._marks: set[str] = set()

    @contextmanager
    def marked(self) -> Iterator[str]:
        """A mark for one fetch. Raises QueryCanceled where nobody waits for it."""
        mark = f"lookout-promql-{os.getpid()}-{next(_NUMBERS)}"
        self._marks.add(mark)  # first, so that either this or cancel() sees the other
        try:
            if self.canceled:
                raise QueryCanceled
            yield mark
        finally:
            self._marks.discard(mark)

    def cancel(self, store: Store) -> None:
        """Nobody waits any more: fetch nothing else, and stop what is being fetched. Blocks."""
        self.canceled = True
        for mark in [*self._marks]:
            store.cancel(mark)


ASKING: ContextVar[Asking | None] = ContextVar("lookout-asking", default=None)


@contextmanager
def stage(name: str, sql: str = "") -> Iterator[Stage]:
    """Time a stage of the request at work, if there is one."""
    asking = ASKING.get()
    with (asking.explanation if asking else Explanation()).stage(name, sql=sql) as found:
        yield found


class AskedStore(Store):
    """A store whose fetches are explained, and stopped with the request they are for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        mark: str | None = None,
    ) -> pa.Table:
        asking = ASKING.get()
        if asking is None:
            return self._store.fetch(sql, parameters, limits, mark)
        with stage("clickhouse", sql) as told, asking.marked() as own:
            table = self._store.fetch(sql, parameters, limits, own)
            told.rows = len(table)
            return table

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        self._store.insert(table, rows, token)

    def cancel(self, mark: str) -> None:
        self._store.cancel(mark)

    def execute(self, sql: str) -> None:
        self._store.execute(sql)

    def close(self) -> None:
        self._store.close()
