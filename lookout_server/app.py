"""Wiring: from a configuration to the collector and its ASGI application."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import pyarrow as pa
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute

from . import health, self_metrics
from .config import ServerConfig
from .cors import QueryCors
from .errors import HANDLERS
from .intake import JournalIntake
from .janitor import Janitor
from .journal import Journal
from .metrics import MetricSignal
from .middleware import Admission, CancelOnDisconnect, ClientLedger
from .reconcile import Reconciliation, ledger_routes
from .security import Security, load_tokens
from .spans import SpanSignal
from .stages import staged
from .store.migrations import migrate
from .store.opening import dialect, open_store
from .store.port import Limits
from .store.split import time_columns
from .writer import Bounds, Pace, Writer

ROUTE_MODULES = (
    "ingest.span_routes",
    "ingest.metric_routes",
    "query.zipkin.api",
    "query.prometheus.api",
    "ui.routes",
)
_SETTLE_SECONDS = 3.0
_MARKS = itertools.count(1)


class Collector:
    """The parts, put together. See :class:`.server.Server`."""

    def __init__(self, config: ServerConfig) -> None:
        """Open everything. Raises StoreError, JournalError, TokensInvalid or StageError."""
        self.config = config
        self.metrics = self_metrics.SelfMetrics()
        self.reconciliation = Reconciliation()
        self.tokens = load_tokens(config.tokens_file) if config.tokens_file else None
        signals = (SpanSignal(config), MetricSignal(config))
        decoders = {signal.name: staged(signal, config.stages) for signal in signals}
        self.journal = Journal(
            config.data_dir / "journal.sqlite", config.journal_sync, config.journal_max
        )
        self.journal.drop_accounts(self.reconciliation.restore(self.journal.accounts()))
        self.store = open_store(config)
        schema = dialect(config, self.store)
        migrate(self.store, schema)
        self.writers = {
            signal.name: Writer(
                signal,
                decoders[signal.name],
                self.journal,
                self.store,
                self.metrics,
                pace=Pace(config.batch_rows, config.batch_seconds, config.pending_rows),
                bounds=_bounds(config, signal.name),
                time_columns=time_columns(),
                stored=self.reconciliation.stored,
            )
            for signal in signals
        }
        self.intake = JournalIntake(
            config, self.journal, self.writers, decoders, self.metrics, self.reconciliation
        )
        self.janitor = Janitor(config, self.store, schema, self.journal)
        self._readers = ThreadPoolExecutor(config.readers, "lookout-reader")
        health.observe(self)

    def start(self) -> None:
        """Begin to write, with what the journal holds from before."""
        for writer in self.writers.values():
            writer.start(self.journal.last)
        self.janitor.start()

    def stop(self) -> bool:
        """Write what waits and close; True when nothing had to stay in the journal."""
        self.intake.draining = True
        self.janitor.stop()
        written = [writer.stop() for writer in self.writers.values()]
        self._readers.shutdown(cancel_futures=True)
        self.journal.close()
        self.store.close()
        return all(written)

    def asgi(self) -> Starlette:
        """The application; starting and stopping the collector is the caller's part."""
        config = self.config
        routes: list[BaseRoute] = health.routes(self) + self_metrics.routes(self)
        routes += ledger_routes(self.reconciliation)
        for name in ROUTE_MODULES:
            with suppress(ModuleNotFoundError):
                routes += import_module(f".{name}", __package__).routes(self)
        middleware = [
            Middleware(QueryCors, origins=config.cors_origins),
            Middleware(Security, multitenancy=config.multitenancy, tokens=self.tokens),
            Middleware(Admission, limit=config.inflight_max),
            Middleware(ClientLedger, reconciliation=self.reconciliation),
            Middleware(CancelOnDisconnect),
        ]
        return Starlette(routes=routes, middleware=middleware, exception_handlers=HANDLERS)

    def tenant(self, request: Request) -> str:
        """The request's tenant, already checked by the middleware."""
        return str(request.state.tenant)

    async def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> pa.Table:
        """:meth:`Store.fetch` on a reader thread; cancelled with the request."""
        mark = f"lookout-{next(_MARKS)}"
        loop = asyncio.get_running_loop()
        fetch = partial(self.store.fetch, sql, parameters, limits, mark)
        try:
            return await loop.run_in_executor(self._readers, contextvars.copy_context().run, fetch)
        except asyncio.CancelledError:
            loop.run_in_executor(None, self.store.cancel, mark)
            raise

    async def settle(self, signal: str) -> None:
        """Read your writes; see :class:`.server.Server`."""
        waiting = self.writers[signal].settle()
        if waiting is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(waiting), _SETTLE_SECONDS)


def _bounds(config: ServerConfig, signal: str) -> Bounds:
    """A day of grace beyond retention: partitions are days."""
    retention = [config.retention_of(signal), *config.tenant_retention(signal).values()]
    if 0 in retention:
        return Bounds()
    return Bounds(past=max(retention) + 86_400, future=config.future_limit + 86_400)
