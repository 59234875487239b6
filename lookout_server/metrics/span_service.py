"""Runs the metrics of spans beside the collector: observes what is stored, reports in intervals."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..http import Refused
from ..server import Server
from ..signal import Malformed, Receipt
from ..spans.packed import PackedSpans
from .service_graph import ServiceGraph
from .span_body import FORMAT
from .span_metrics import SpanMetrics
from .span_report import graph_bodies, span_bodies

log = logging.getLogger("lookout.span_metrics")


class SpanMetricsService:
    """See :class:`lookout_server.server.Service`."""

    def __init__(self, server: Server, interval_s: float, most_keys: int) -> None:
        self._server = server
        self._interval_s = interval_s
        self._metrics = SpanMetrics(most_keys)
        self._graph = ServiceGraph()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to report."""
        self._task = asyncio.create_task(self._run(), name="lookout-span-metrics")

    async def stop(self) -> None:
        """Report what is left, and end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            await self.report()

    def observe(self, pieces: Sequence[Any]) -> None:
        """Spans that have been stored (the writer's thread)."""
        batch = [piece.rows for piece in pieces if isinstance(piece.rows, PackedSpans)]
        now_ms = time.time_ns() // 1_000_000
        self._metrics.observe(batch, now_ms)
        self._graph.observe(batch, now_ms)

    async def report(self) -> None:
        """Hand the counts so far to the intake, each tenant's as bodies of its own."""
        now_ms = time.time_ns() // 1_000_000
        bodies = await asyncio.to_thread(self._bodies, now_ms)
        # All at once: an answer may be held for a second, and a stop waits for the last report.
        await asyncio.gather(*(self._hand_over(tenant, body, now_ms) for tenant, body in bodies))

    async def _hand_over(self, tenant: str, body: bytes, now_ms: int) -> None:
        receipt = Receipt(tenant, now_ms, {})
        try:
            await self._server.intake.accept("metrics", FORMAT, body, receipt)
        except (Refused, Malformed) as error:  # the next report has these counts too
            log.warning("span metrics of tenant %s were not taken: %s", tenant, error)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.report()
            except Exception:  # a report that fails must not end all reports
                log.exception("span metrics could not be reported")

    def _bodies(self, now_ms: int) -> list[tuple[str, bytes]]:
        exemplars = self._metrics.take_exemplars()
        found = [
            (tenant, body)
            for tenant, counts in self._metrics.read().items()
            for body in span_bodies(now_ms, counts, exemplars.get(tenant, {}))
        ]
        for tenant, edges in self._graph.read().items():
            found += [(tenant, body) for body in graph_bodies(now_ms, edges)]
        return found
