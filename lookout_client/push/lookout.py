"""Reporting to a SOFALookout gateway, step by step, in its own protocol."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from exporters.backlog import Backlog
from exporters.ledger import Ledger, Report
from exporters.periodic import Task
from exporters.sender import Limits, Sender

from ..metric import Tags, tag_set
from ..registry import Registry
from ..steps import Intervals, Priority
from ..windows import Indicator, StepReader
from .gateway import PATH, GatewayTransport
from .lines import SEPARATOR, batches, line
from .pusher import Schedule

BATCH_SIZE = 1_700
COMPRESS_FROM = 100  # measurements


class LookoutSender(Sender):
    """Queues bodies for a gateway; retries them, and spills them where a directory is given.

    The lines in them are accounted for as spans are, in a ledger of their own.
    """

    what = "metrics"

    def __init__(
        self,
        transport: GatewayTransport,
        *,
        spill: str | None = None,
        spill_bytes: int = 64_000_000,
    ) -> None:
        limits = Limits(memory_bytes=8_000_000, longest_wait_s=3_600.0)
        backlog = Backlog(limits.memory_bytes, spill, spill_bytes)
        super().__init__("lookout gateway", transport, limits=limits, backlog=backlog)
        self.open(Ledger())

    def put(self, body: bytes, headers: dict[str, str], lines: int) -> None:
        """Send ``body`` with so many lines as soon as a gateway takes it. Never blocks."""
        self._ledger.create(lines)
        self._put(body, PATH, headers, count=lines)

    @property
    def report(self) -> Report:
        """What became of the lines."""
        return self._ledger.report(self.name)

    def after_fork(self) -> None:
        super().after_fork()
        self._ledger.reset()


class LookoutReporter:
    """Reads each priority's metrics at the edges of its steps and hands the lines to ``put``.

    :param put: takes a body, the headers that tell what it is, and how many lines it has.
    :param common_tags: tags of every line, such as ``app``, ``ip`` and ``host``.
    :param wanted: whether an indicator is to be reported; the gateway's filter by default.
    """

    def __init__(
        self,
        registry: Registry,
        put: Callable[[bytes, dict[str, str], int], object],
        *,
        common_tags: Mapping[str, object] | None = None,
        intervals: Intervals | None = None,
        wanted: Callable[[Indicator], bool] = lambda indicator: True,
        batch_size: int = BATCH_SIZE,
        compress_from: int = COMPRESS_FROM,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._registry = registry
        self._put = put
        self._common: Tags = tag_set(common_tags or {})
        self._wanted = wanted
        self._batch_size = batch_size
        self._compress_from = compress_from
        self._compress = _snappy()
        self._clock_ms = clock_ms
        intervals = intervals or Intervals()
        self.readers = {
            priority: StepReader(registry, intervals[priority], clock_ms(), (priority,))
            for priority in Priority
        }
        #: While False, steps pass without a report: a pull server has taken over.
        self.active = True
        #: Lines that the gateway would not have taken.
        self.refused = 0

    def report(self, priority: Priority) -> None:
        """Hand on the lines of the step completed since the last report, if one was."""
        self._send(priority, self.readers[priority].read(self._clock_ms()))

    def finish(self) -> None:
        """Hand on what the current steps have so far, as their value. For the end.

        They are told under the present time: their own, the end of the step, is still to come.
        """
        now = self._clock_ms()
        for priority, reader in self.readers.items():
            self._send(priority, reader.read(now))
            unfinished = reader.read(now + reader.clock.until_edge_ms(now))
            self._send(priority, [item._replace(time_ms=now) for item in unfinished])

    def _send(self, priority: Priority, indicators: Iterable[Indicator]) -> None:
        if not self.active:
            return
        common = tag_set({**dict(self._registry.common_tags), **dict(self._common)})
        lines = [line(item, common) for item in indicators if self._wanted(item)]
        told = [text for text in lines if text is not None]
        self.refused += len(lines) - len(told)
        for batch in batches(told, self._batch_size):
            self._put(*self.body(priority, batch), len(batch))

    def body(self, priority: Priority, batch: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
        """The body of one POST and the headers that tell what it is."""
        text = SEPARATOR.join(batch)
        headers = {"pri": priority.name}
        if len(batch) >= self._compress_from and self._compress is not None:
            kind = {"Content-Type": "application/octet-stream", "Content-Encoding": "snappy"}
            return bytes(self._compress(text)), {**kind, **headers}
        return text, {"Content-Type": "text/plain", **headers}

    def start(self, schedule: Schedule) -> list[Task]:
        """Report at every edge, by way of ``schedule``: the tasks that do."""
        return [
            schedule(partial(self._until_edge_s, priority), partial(self.report, priority))
            for priority in Priority
        ]

    def after_fork(self, common_tags: Mapping[str, object]) -> None:
        """In the child: it has tags of its own, nobody pulls from it, its series count from
        nothing."""
        self._common = tag_set(common_tags)
        self.active = True
        self.refused = 0
        for reader in self.readers.values():
            reader.begin_again(self._clock_ms())

    def _until_edge_s(self, priority: Priority) -> float:
        return self.readers[priority].clock.until_edge_ms(self._clock_ms()) / 1000


def _snappy() -> Callable[[bytes], Any] | None:
    """Raw Snappy, if cramjam is installed; without it bodies travel as they are."""
    try:
        compress: Callable[[bytes], Any] = importlib.import_module("cramjam").snappy.compress_raw
    except (ImportError, AttributeError):
        return None
    return compress
