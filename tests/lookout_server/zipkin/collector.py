"""A collector that has the span endpoints alone."""

from __future__ import annotations

from lookout_server.config import ServerConfig
from lookout_server.ingest import span_routes
from lookout_server.query.zipkin import api
from lookout_server.spans.signal import SpanSignal
from lookout_server.store.port import Store

from .. import plain


class PlainCollector(plain.PlainCollector):
    """See :class:`tests.lookout_server.plain.PlainCollector`."""

    def __init__(self, store: Store, config: ServerConfig) -> None:
        super().__init__(store, config, SpanSignal(config), (span_routes, api))
