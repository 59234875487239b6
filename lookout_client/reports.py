"""Reports to a SOFALookout gateway, from the start of metrics to their end."""

from __future__ import annotations

import logging
import os

from exporters._process import at_exit, at_exit_of_child
from exporters.destination import Deadline
from exporters.records import Resource

from .config import MetricsConfig
from .push.gateway import GatewayTransport
from .push.lookout import LookoutReporter, LookoutSender
from .push.pusher import Schedule
from .registry import Registry
from .resource import common_tags, metric_resource
from .self_metrics import ReportMetrics

_log = logging.getLogger("lookout")

#: How long the last report may take.
CLOSE_S = 2.0


class Reports:
    """Tells the gateways of ``config`` every completed step, and at the end what there is of the
    present one. Raises ValueError for an address that is none.
    """

    def __init__(
        self,
        registry: Registry,
        config: MetricsConfig,
        resource: Resource,
        schedule: Schedule,
        spill_dir: str | None = None,
    ) -> None:
        self._attributes = metric_resource(resource)
        tags = common_tags(self._attributes())
        headers = {"app": tags["app"], "Client-Ip": tags["ip"]}
        way = GatewayTransport(config.gateway, headers, token=config.gateway_token)
        # Beside the collector's: each sender looks after a directory of its own.
        spill = f"{os.path.normpath(spill_dir)}-gateway" if spill_dir else None
        self._sender = sender = LookoutSender(way, spill=spill)
        self._reporter = LookoutReporter(registry, sender.put, common_tags=tags, wanted=way.wants)
        self._tasks = self._reporter.start(schedule)
        self._forget = registry.add_source(ReportMetrics(registry, self._reporter, sender))
        self._forget_exit = at_exit(self._at_exit)
        self._closed = False

    def pulled(self, active: bool) -> None:
        """While somebody pulls, nothing is reported besides."""
        self._reporter.active = not active

    def flush(self, timeout_s: float) -> bool:
        """Send what completed steps have; False where ``timeout_s`` was not enough."""
        deadline = Deadline(timeout_s)
        told = [task.run(deadline.left() / 2) for task in self._tasks]
        return self._sender.flush(deadline) and all(told)

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Report a last time; False where that took too long. A second call does nothing."""
        if self._closed:
            return True
        self._closed = True
        self._forget_exit()
        deadline = Deadline(timeout_s)
        for task in self._tasks:
            task.cancel(deadline.left() / 2)
        try:
            self._reporter.finish()
        except Exception as error:
            _log.warning("the last step is not reported: %r", error)
        self._forget()
        return self._sender.shutdown(deadline)

    def after_fork(self) -> None:
        """In the child: what waits is the parent's to send."""
        self._sender.after_fork()
        self._reporter.after_fork(common_tags(self._attributes()))
        at_exit_of_child(self._at_exit)

    def _at_exit(self) -> None:
        self.close()
