"""The metrics half at work: what ``init`` starts for the process's registry."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from exporters._process import after_fork_in_child, may_start_threads
from exporters.destination import Deadline
from exporters.flusher import Flusher
from exporters.periodic import Task
from exporters.records import Resource

from .config import MetricsConfig
from .exemplars import no_trace
from .expiry import Expiry
from .importers import start_importers
from .importers.http import watch_http
from .pull import PullExporter, PullServer
from .push.pusher import OtlpPusher, Post
from .registry import Registry
from .reports import CLOSE_S, Reports
from .resource import metric_resource
from .scrape.server import ScrapeServer, start_server
from .self_metrics import SelfMetrics
from .tracing import TRACES

_log = logging.getLogger("lookout")

Server = TypeVar("Server")

#: How often idle series are looked for.
EXPIRY_INTERVAL_S = 60.0
#: How often a worker process writes down what it holds.
WORKERS_INTERVAL_S = 1.0


class Metrics:
    """Pushes, serves and imports for one registry, until it is stopped."""

    def __init__(
        self,
        registry: Registry,
        config: MetricsConfig,
        flusher: Flusher,
        resource: Resource,
        spill_dir: str | None = None,
    ) -> None:
        self.registry = registry
        self.config = config
        self.server: ScrapeServer | None = None
        self.pull_server: PullServer | None = None
        self._flusher = flusher
        self._resource = resource
        self._spill_dir = spill_dir
        self._push: Task | None = None
        self._reports: Reports | None = None
        self._pid = os.getpid()
        self._undo: list[Callable[[], object]] = []

    def start(self, post: Post | None) -> None:
        """Begin. ``post`` is the way to the collector, None where there is none."""
        config, registry = self.config, self.registry
        registry.max_series = config.max_series
        registry.max_series_per_metric = config.max_series_per_metric
        registry.trace_with(TRACES[config.exemplars])
        self._undo.append(watch_http(registry))
        self._undo.append(start_importers(registry, config.importers, config.importer_names))
        if post is not None and config.metrics_push:
            resource = metric_resource(self._resource)
            pusher = OtlpPusher(registry, resource, post, config.metrics_timeout_s)
            self._push = self._every(config.metrics_interval_s, pusher)
        expiry = Expiry(registry, config.metrics_idle_s)
        self._every(EXPIRY_INTERVAL_S, expiry.sweep)
        own = SelfMetrics(registry, expiry)
        self._undo.append(registry.add_source(own))
        if config.gateway:
            self._report_to_gateway()
        if config.workers_dir:
            self._share(config.workers_dir)
        self._serve()
        after_fork_in_child(self._after_fork)

    def flush(self, timeout_s: float) -> bool:
        """Hand the current metrics to the collector's queue and completed steps to the gateway.

        False where a push that goes on already, held up by a gauge, or the gateway took longer
        than ``timeout_s``.
        """
        deadline, push, reports = Deadline(timeout_s), self._push, self._reports
        pushed = push is None or push.run(deadline.left() / 2)
        return (reports is None or reports.flush(deadline.left())) and pushed

    def last_words(self, timeout_s: float) -> bool:
        """Report the present step to the gateway too, and nothing more after it."""
        return self._reports is None or self._reports.close(timeout_s)

    def stop(self) -> None:
        """End everything begun; the last step goes to the gateway."""
        while self._undo:
            self._undo.pop()()
        self.registry.trace_with(no_trace)
        self.registry.workers = None
        for server in (self.server, self.pull_server):
            if server is not None and self._pid == os.getpid():
                server.close()
        self.last_words(CLOSE_S)
        self.server = self.pull_server = self._push = self._reports = None

    def _every(self, period_s: float, work: Callable[[], object]) -> Task:
        task = self._flusher.schedule(period_s, work)
        self._undo.append(partial(task.cancel, CLOSE_S))
        return task

    def _report_to_gateway(self) -> None:
        try:
            self._reports = Reports(
                self.registry,
                self.config,
                self._resource,
                self._flusher.schedule,
                self._spill_dir,
            )
        except ValueError as error:
            _log.warning("gateway ignored: %s", error)

    def _share(self, directory: str) -> None:
        try:
            from .workers import workers_of
        except ImportError:  # no POSIX locks
            _log.warning("workers_dir ignored: this system cannot share metrics so")
            return
        workers = self.registry.workers = workers_of(self.registry, directory)
        self._every(WORKERS_INTERVAL_S, workers.write)
        self._undo.append(workers.close)

    def _serve(self) -> None:
        config = self.config
        if (config.metrics_port, config.pull_port) == (None, None):
            return
        if not may_start_threads():
            _log.warning(
                "metrics_port and pull_port ignored: uWSGI's master forks its workers, "
                "and a thread in it could stop them; use lazy-apps, or serve metrics by a route"
            )
            return
        if (port := config.metrics_port) is not None:
            start = partial(start_server, port, config.metrics_host, self.registry)
            self.server = _listening("metrics_port", config.metrics_host, port, start)
        if (port := config.pull_port) is not None:
            exporter = PullExporter(self.registry, on_active=self._pulled)
            pull = partial(PullServer, exporter, port, config.pull_host, config.pull_token)
            self.pull_server = _listening("pull_port", config.pull_host, port, pull)

    def _pulled(self, active: bool) -> None:
        """While somebody pulls, nothing is reported to the gateway besides."""
        if self._reports is not None:
            self._reports.pulled(active)

    def _after_fork(self) -> None:
        """A child pushes its own metrics, even one that never finishes a span."""
        for server in (self.server, self.pull_server):
            if server is not None:
                server.abandon()
        if self._reports is not None:
            self._reports.after_fork()
        if self._undo:
            self._flusher.wake()


def _listening(setting: str, host: str, port: int, start: Callable[[], Server]) -> Server | None:
    """The server started; None, told in the log, where its address cannot be had."""
    try:
        return start()
    except (OSError, ValueError) as error:  # ValueError: what cannot be the name of a host
        reason = getattr(error, "strerror", None) or error
        _log.warning("cannot serve metrics at %s:%d (%s): %s", host, port, setting, reason)
        return None
