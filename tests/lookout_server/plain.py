"""The parts of a collector that endpoints of one signal need, without journal and writer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import pyarrow as pa
from starlette.applications import Starlette
from starlette.requests import Request

from lookout_server.config import ServerConfig
from lookout_server.server import Intake, Right
from lookout_server.signal import Receipt, Rows
from lookout_server.store.port import Limits, Store

_BATCHES = itertools.count(1)


class PlainCollector:
    """Writes each body as its own batch, at once. See :class:`lookout_server.server.Server`."""

    def __init__(
        self, store: Store, config: ServerConfig, signal: Any, endpoints: Sequence[ModuleType]
    ) -> None:
        self.config = config
        self.store = store
        self.intake: Intake = self
        self.signal = signal
        self.writers = {signal.name: self}  # where endpoints ask the signal what is new
        self._endpoints = endpoints

    async def accept(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Rows:
        rows: Rows = self.signal.decode(fmt, body, receipt)
        if len(rows):
            await asyncio.to_thread(self._insert, rows)
        return rows

    def _insert(self, rows: Any) -> None:
        batch = next(_BATCHES)
        for table, data in self.signal.tables([rows]).items():
            if data.num_rows:
                self.store.insert(table, data, f"{self.signal.name}-{batch}-{table}")
        self.signal.stored()

    def tenant(self, request: Request) -> str:
        return request.headers.get("x-scope-orgid", "default")

    def authorize(self, headers: Mapping[str, str], right: Right) -> str:
        return headers.get("x-scope-orgid", "default")

    async def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> pa.Table:
        return await asyncio.to_thread(self.store.fetch, sql, parameters, limits)

    async def settle(self, signal: str, *, patient: bool = False) -> bool:
        """Nothing waits."""
        return False

    def observe_stored(self, signal: str, observer: Callable[[Sequence[Any]], None]) -> None:
        """Nobody is told."""

    def app(self) -> Starlette:
        """The endpoints alone."""
        return Starlette(routes=[route for one in self._endpoints for route in one.routes(self)])
