"""The ways in for metrics over HTTP."""

from __future__ import annotations

from starlette.routing import BaseRoute

from ..server import Server
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
