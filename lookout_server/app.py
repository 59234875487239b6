"""Wiring: the collector's ASGI application, from the table of modules and the middleware."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from . import health, openapi, reconcile, self_metrics
from .collector import Collector
from .cors import QueryCors
from .errors import HANDLERS
from .ingest import kafka
from .middleware import Admission, CancelOnDisconnect, ClientLedger
from .security import Security
from .server import Service

#: Each exports ``routes(server)``, and may export ``services(server)``.
MODULES = (
    "ingest.span_routes",
    "ingest.metric_routes",
    "query.zipkin.api",
    "query.prometheus.api",
    "ui.routes",
)


def application(collector: Collector) -> Starlette:
    """Every route behind the middleware; starting and stopping is :mod:`.runner`'s part."""
    config = collector.config
    routes: list[BaseRoute] = []
    for module in _modules():  # first, and ingest before all: routes are tried in order
        routes += module.routes(collector)
    routes += health.routes(collector)
    routes += self_metrics.routes(collector)
    routes += reconcile.ledger_routes(collector.reconciliation)
    routes += openapi.openapi_routes()
    middleware = [Middleware(collector.self_tracing.middleware)] if config.self_tracing_rate else []
    middleware += [
        Middleware(QueryCors, origins=config.cors_origins),
        Middleware(Security, gate=collector.gate),
        Middleware(Admission, limit=config.inflight_max),
        Middleware(ClientLedger, reconciliation=collector.reconciliation),
        Middleware(CancelOnDisconnect),
    ]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=HANDLERS)


def services(collector: Collector) -> list[Service]:
    """What runs beside the HTTP API, as configured."""
    found: list[Service] = []
    if collector.config.self_tracing_rate:
        found.append(collector.self_tracing)
    for module in _modules():
        if hasattr(module, "services"):
            found += module.services(collector)
    # The decoder last: the others may still bring bodies while they stop.
    return [*found, *kafka.services(collector), collector.decoder]


def _modules() -> list[ModuleType]:
    return [import_module(f".{name}", __package__) for name in MODULES]
