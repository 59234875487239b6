"""A collector that has the metric endpoints alone."""

from __future__ import annotations

from lookout_server.config import ServerConfig
from lookout_server.ingest import metric_routes
from lookout_server.metrics.signal import MetricSignal
from lookout_server.query.prometheus import api
from lookout_server.store.port import Store

from .. import plain


class PlainCollector(plain.PlainCollector):
    """See :class:`tests.lookout_server.plain.PlainCollector`."""

    def __init__(self, store: Store, config: ServerConfig) -> None:
        super().__init__(store, config, MetricSignal(config), (metric_routes, api))
