"""The ways in for metrics over HTTP."""

from __future__ import annotations

from starlette.routing import BaseRoute

from ..metrics.span_service import SpanMetricsService
from ..server import Server, Service
from .gateway_routes import gateway_routes
from .otlp_metric_routes import otlp_metric_routes
from .remote_write_routes import remote_write_routes


def routes(server: Server) -> list[BaseRoute]:
    """All routes that take metrics."""
    return [
        *remote_write_routes(server),
        *otlp_metric_routes(server),
        *gateway_routes(server),
    ]


def services(server: Server) -> list[Service]:
    """What makes metrics beside the HTTP API, as configured."""
    found: list[Service] = []
    config = server.config
    if config.span_metrics_interval > 0:
        spans = SpanMetricsService(
            server, config.span_metrics_interval, config.span_metrics_keys_max
        )
        server.observe_stored("spans", spans.observe)
        found.append(spans)
    return found
