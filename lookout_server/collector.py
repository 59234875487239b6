"""The collector: its parts put together, opened in order and closed in the other one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pyarrow as pa
from starlette.requests import Request

from . import health
from .config import ServerConfig
from .decoding.cores import cores
from .decoding.decoder import Decoder
from .decoding.frames import Settings
from .decoding.link import Mirror
from .decoding.metric_rows import MetricMirror
from .decoding.span_rows import SpanMirror
from .intake import JournalIntake
from .janitor import Janitor
from .journal import Journal
from .metrics.signal import MetricSignal
from .placing import Bounds
from .reconcile import Reconciliation
from .security import Gate, load_tokens
from .self_metrics import SelfMetrics
from .self_tracing import SelfTracing, step
from .server import Right
from .spans.signal import SpanSignal
from .stages import staged
from .store.migrations import migrate
from .store.opening import dialect, open_store
from .store.port import Limits
from .store.split import time_columns
from .writer import Decode, Pace, Writer

_SETTLE_SECONDS = 3.0
_SAMPLES_TO_A_ROW = 4
_MARKS = itertools.count(1)


class Collector:
    """The parts, put together. See :class:`.server.Server`."""

    def __init__(self, config: ServerConfig) -> None:
        """Open everything. Raises StoreError, JournalError, TokensInvalid or StageError."""
        self.config = config
        self.metrics = SelfMetrics()
        self.reconciliation = Reconciliation()
        tokens = load_tokens(config.tokens_file) if config.tokens_file else None
        self.gate = Gate(config.multitenancy, tokens)
        metric_signal = MetricSignal(config)
        signals = (SpanSignal(config), metric_signal)
        decoders = {signal.name: staged(signal, config.stages) for signal in signals}
        self.journal = Journal(
            config.data_dir / "journal.sqlite",
            config.journal_sync,
            config.journal_max,
            config.set_aside_max,
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
                pace=_pace(config, signal.name),
                bounds=_bounds(config, signal.name),
                time_columns=time_columns(),
                stored=self.reconciliation.stored,
            )
            for signal in signals
        }
        self.decoder = _decoder(config, decoders, metric_signal)
        self.intake = JournalIntake(
            config, self.journal, self.writers, self.decoder, self.metrics, self.reconciliation
        )
        self.self_tracing = SelfTracing(
            self.intake, config.self_tracing_rate, config.self_tracing_tenant
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

    def tenant(self, request: Request) -> str:
        """The request's tenant, already checked by the middleware."""
        return str(request.state.tenant)

    def authorize(self, headers: Mapping[str, str], right: Right) -> str:
        """The tenant of a request that did not come over HTTP. Raises Refused."""
        return self.gate.authorize(headers, right)

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
            with step("clickhouse"):
                return await loop.run_in_executor(self._readers, fetch)
        except asyncio.CancelledError:
            loop.run_in_executor(None, self.store.cancel, mark)
            raise

    def observe_stored(self, signal: str, observer: Callable[[Sequence[Any]], None]) -> None:
        """Have ``observer`` called with the pieces of each stored batch."""
        self.writers[signal].observers.add(observer)

    async def settle(self, signal: str, *, patient: bool = False) -> bool:
        """Read your writes; see :class:`.server.Server`."""
        waiting = self.writers[signal].settle(patient=patient)
        if waiting is None:
            return False
        with suppress(TimeoutError), step("settle"):
            await asyncio.wait_for(asyncio.wrap_future(waiting), _SETTLE_SECONDS)
        return True


def _decoder(
    config: ServerConfig, decoders: Mapping[str, Decode], metrics: MetricSignal
) -> Decoder:
    """With a second process where there is a core for it and no stage, which may be anything."""
    wanted = config.decode_processes
    if wanted is None:
        wanted = min(cores() - 1, 1)
    if not wanted or config.stages:
        return Decoder(decoders)
    settings = Settings(
        config.collector_sample_rate,
        config.label_names_max,
        config.label_name_bytes_max,
        config.label_value_bytes_max,
    )
    mirrors: dict[str, Callable[[], Mirror]] = {
        "spans": SpanMirror,
        "metrics": partial(MetricMirror, metrics.active.admit),
    }
    return Decoder(decoders, settings, mirrors, always=config.decode_processes is not None)


def _pace(config: ServerConfig, signal: str) -> Pace:
    """A sample takes a tenth of a span's memory, so more of them may wait and go at once:
    200,000 in one batch cost half of what they cost in four, merges included. Spans go in batches
    of twice as many where the writer is behind.
    """
    rows = config.batch_rows
    waiting, most = config.pending_rows, 2 * rows
    if signal == "metrics":
        waiting, most = _SAMPLES_TO_A_ROW * waiting, _SAMPLES_TO_A_ROW * rows
    return Pace(rows, config.batch_seconds, waiting, most_rows=most)


def _bounds(config: ServerConfig, signal: str) -> Bounds:
    """A day of grace beyond retention: partitions are days."""
    retention = [config.retention_of(signal), *config.tenant_retention(signal).values()]
    if 0 in retention:
        return Bounds()
    return Bounds(past=max(retention) + 86_400, future=config.future_limit + 86_400)
