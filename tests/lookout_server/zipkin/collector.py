"""The parts of a collector that the span endpoints need, without journal and writer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from starlette.applications import Starlette
from starlette.requests import Request

from lookout_server.config import ServerConfig
from lookout_server.ingest import span_routes
from lookout_server.query.zipkin import api
from lookout_server.server import Intake, Right
from lookout_server.signal import Receipt, Rows
from lookout_server.spans.signal import SpanSignal
from lookout_server.store.port import Limits, Store

_BATCHES = itertools.count(1)


class PlainCollector:
    """Writes each body as its own batch, at once. See :class:`lookout_server.server.Server`."""

    def __init__(self, store: Store, config: ServerConfig) -> None:
        self.config = config
        self.store = store
        self.intake: Intake = self
        self._signal = SpanSignal(config)
        #: As the collector has it, so that what was read is remembered here too.
        self.writers = {"spans": SimpleNamespace(signal=self._signal)}

    async def accept(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Rows:
        rows = self._signal.decode(fmt, body, receipt)
        if len(rows):
            await asyncio.to_thread(self._insert, rows)
        return rows

    def _insert(self, rows: Any) -> None:
        batch = next(_BATCHES)
        for table, data in self._signal.tables([rows]).items():
            if data.num_rows:
                self.store.insert(table, data, f"plain-{batch}-{table}")
        self._signal.stored()

    def tenant(self, request: Request) -> str:
        return request.headers.get("x-scope-orgid", "default")

    async def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> pa.Table:
        return await asyncio.to_thread(self.store.fetch, sql, parameters, limits)

    def observe_stored(self, *_: Any) -> None:
        """Nobody is told."""

    def authorize(self, headers: Mapping[str, str], right: Right) -> str:
        return headers.get("x-scope-orgid", "default")

    async def settle(self, signal: str, *, patient: bool = False) -> bool:
        """Nothing waits."""
        return False

    def app(self) -> Starlette:
        """The span endpoints alone."""
        return Starlette(routes=[*span_routes.routes(self), *api.routes(self)])
