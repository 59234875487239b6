"""``/-/ready``, ``/-/healthy``, and the gauges that show what waits where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from .self_metrics import Reading, age_seconds

if TYPE_CHECKING:
    from .collector import Collector


def routes(server: Collector) -> list[BaseRoute]:
    """Ready: requests are taken and kept. Healthy: the process runs."""

    async def ready(request: Request) -> Response:
        if server.intake.draining:
            return PlainTextResponse("stopping\n", 503)
        if server.journal.error is not None:
            return PlainTextResponse(f"{server.journal.error}\n", 503)
        return PlainTextResponse("ready\n")

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("healthy\n")

    return [
        Route("/-/ready", ready, methods=["GET"]),
        Route("/-/healthy", healthy, methods=["GET"]),
    ]


def observe(server: Collector) -> None:
    """Register the gauges of journal, writers, database and clients."""
    gauge, janitor = server.metrics.gauge, server.janitor
    tenants = server.config.multitenancy
    _observe_journal(server)
    _observe_decoder(server)

    def waiting() -> Reading:
        return [((name,), writer.waiting_rows) for name, writer in server.writers.items()]

    gauge("waiting_rows", "Rows accepted and not yet stored.", ("signal",), waiting)

    def of_tables(attribute: str) -> Reading:
        return [((t.table,), getattr(t, attribute)) for t in janitor.found.tables]

    gauge("table_parts", "Active parts.", ("table",), lambda: of_tables("parts"))
    gauge("table_bytes", "Bytes on disk.", ("table",), lambda: of_tables("bytes"))
    gauge("table_rows", "Rows.", ("table",), lambda: of_tables("rows"))
    gauge("merges", "Merges running.", (), lambda: [((), janitor.found.merges)])
    gauge("disk_free_bytes", "Free on the data disk.", (), lambda: [((), janitor.found.disk_free)])
    gauge(
        "disk_budget_bytes", "The budget; 0: none.", (), lambda: [((), server.config.disk_budget)]
    )
    gauge(
        "days_dropped",
        "Days dropped for the budget since the start.",
        (),
        lambda: [((), janitor.found.days_dropped)],
    )
    gauge(
        "retention_seconds",
        "Age at which data expires; 0: never.",
        ("signal",),
        lambda: [((name,), server.config.retention_of(name)) for name in server.writers],
    )
    gauge(
        "client_spans_missing",
        "Spans clients created and neither dropped on purpose nor stored here (yet).",
        () if tenants else ("service",),  # no tenant is to see the services of others
        server.reconciliation.all_missing if tenants else server.reconciliation.missing,
    )


def _observe_journal(server: Collector) -> None:
    gauge, journal = server.metrics.gauge, server.journal
    gauge("journal_bytes", "Bodies waiting in the journal.", (), lambda: [((), journal.bytes)])
    gauge("journal_max_bytes", "Its limit.", (), lambda: [((), journal.max_bytes)])
    gauge(
        "journal_oldest_seconds",
        "Age of the oldest body waiting.",
        (),
        lambda: [((), age_seconds(journal.oldest_ms()))],
    )
    gauge(
        "journal_set_aside",
        "Bodies that could not be stored and were set aside.",
        (),
        lambda: [((), journal.count("set_aside"))],
    )
    gauge(
        "journal_set_aside_deleted",
        "Bodies set aside and deleted since the start, because others needed their space.",
        (),
        lambda: [((), journal.aside_deleted)],
    )
    gauge("journal_commits", "Synced groups so far.", (), lambda: [((), journal.commits)])
    gauge("journal_commit_seconds", "Time they took.", (), lambda: [((), journal.synced_seconds)])


def _observe_decoder(server: Collector) -> None:
    gauge, decoder = server.metrics.gauge, server.decoder
    gauge(
        "decoding_bodies",
        "Bodies that were to be decoded in the collector, and in the process beside it.",
        ("where",),
        lambda: [((where,), count) for where, count in decoder.bodies.items()],
    )
    gauge(
        "decoding_process_up",
        "Whether there is a process that decodes.",
        (),
        lambda: [((), decoder.pid is not None)],
    )
    gauge(
        "decoding_process_restarts",
        "How often it ended and was to be started again.",
        (),
        lambda: [((), decoder.restarts)],
    )
    gauge("decoding_waiting", "Bodies under way to it.", (), lambda: [((), decoder.waiting[0])])
    gauge("decoding_waiting_bytes", "Their bytes.", (), lambda: [((), decoder.waiting[1])])
    server.metrics.observe_process("lookout_decoding", lambda: decoder.pid)
