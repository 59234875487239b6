"""The metrics half at work: what ``init`` starts for the process's registry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from .config import MetricsConfig
from .exemplars import no_trace
from .expiry import Expiry
from .importers.http import watch_http
from .push.pusher import OtlpPusher, Post, Schedule
from .registry import Registry
from .scrape.server import ScrapeServer, start_server
from .tracing import sampled_trace

_log = logging.getLogger("lookout")


#: How often idle series are looked for.
EXPIRY_INTERVAL_S = 60.0


class Metrics:
    """Pushes, serves and imports for one registry, until it is stopped."""

    def __init__(self, registry: Registry, config: MetricsConfig) -> None:
        self.registry = registry
        self.config = config
        self.server: ScrapeServer | None = None
        self._pusher: OtlpPusher | None = None
        self._undo: list[Callable[[], object]] = []
        registry.max_series = config.max_series
        registry.max_series_per_metric = config.max_series_per_metric

    def start(
        self,
        schedule: Schedule,
        post: Post | None,
        resource: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Begin. ``post`` is the way to the collector, None where there is none."""
        self.registry.exemplars.use(sampled_trace if self.config.exemplars else no_trace)
        self._undo.append(watch_http(self.registry))
        if post is not None and self.config.metrics_push:
            self._pusher = OtlpPusher(self.registry, resource, post)
            self._undo.append(schedule(self.config.metrics_interval_s, self._pusher))
        expiry = Expiry(self.registry, self.config.metrics_idle_s)
        self._undo.append(schedule(EXPIRY_INTERVAL_S, expiry.sweep))
        if self.config.metrics_port is not None:
            self._serve(self.config.metrics_port)

    def push(self) -> None:
        """Hand the current metrics to the collector's queue now."""
        if self._pusher is not None:
            self._pusher()

    def _serve(self, port: int) -> None:
        try:
            self.server = start_server(port, self.config.metrics_host, self.registry)
        except OSError as error:
            _log.warning("lookout: cannot serve metrics on port %d: %s", port, error)

    def stop(self) -> None:
        """End everything begun. What was pushed last stays as it is."""
        while self._undo:
            self._undo.pop()()
        self.registry.exemplars.use(no_trace)
        if self.server is not None:
            self.server.close()
            self.server = None
