"""The Prometheus HTTP API, version 1."""

from __future__ import annotations

from starlette.routing import BaseRoute

from ...server import Server
from .api_admin import admin_routes
from .api_exemplars import exemplar_routes
from .api_labels import label_routes
from .api_query import query_routes
from .api_self_metrics import self_metrics_routes
from .api_status import status_routes
from .federate import federate_routes
from .remote_read import read_routes
from .service import PrometheusService


def routes(server: Server) -> list[BaseRoute]:
    """All routes of the API, for this server."""
    service = PrometheusService(server)
    return [
        *query_routes(service),
        *label_routes(service),
        *exemplar_routes(service),
        *read_routes(service),
        *federate_routes(service),
        *admin_routes(service),
        *status_routes(service),
        *self_metrics_routes(service),
    ]
