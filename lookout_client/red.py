"""Rate, errors and durations of every kind of span, counted in the process before sampling.

A destination of finished spans, on the flusher's thread: it costs the application's threads
nothing. The metrics are named as OpenTelemetry's span metrics connector names them:
``traces.span.metrics.calls`` and ``traces.span.metrics.duration``, by span name, kind and status.
https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/connector/spanmetricsconnector
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from exporters.destination import Deadline
from exporters.ledger import Ledger
from exporters.records import KIND_NAMES, SAMPLED, SpanRecord

from .bound import BoundCounter, BoundTimer
from .exemplars import Exemplar
from .registry import DURATION_BUCKETS, Registry

_KEYS = ("span.name", "span.kind", "status.code")
_STATUS = ("STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR")


class _Meters(NamedTuple):
    calls: BoundCounter
    duration: BoundTimer


class SpanMetrics:
    """Counts and times spans, those the sampler turned down too where they are recorded.

    Names beyond the registry's limit of series are counted together in the overflow series.
    """

    name = "span metrics"
    counts_unsampled = True  # the flusher then gives us the others too

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._calls = registry.counter(
            "traces.span.metrics.calls", keys=_KEYS, description="Spans, sampled or not."
        )
        self._duration = registry.timer(
            "traces.span.metrics.duration",
            keys=_KEYS,
            buckets=DURATION_BUCKETS,
            description="Duration of spans, sampled or not.",
        )
        self._meters: dict[tuple[str, int, int], _Meters] = {}

    def accept(self, records: Sequence[SpanRecord]) -> None:
        """Count a batch."""
        known = self._meters
        for span in records:
            key = (span.name, int(span.kind), int(span.status))
            meters = known.get(key) or self._meters_of(key)
            seconds = span.duration_ns / 1e9
            meters.calls.inc()
            meters.duration.record(seconds)
            if span.flags & SAMPLED:
                end_ns = span.start_ns + span.duration_ns
                exemplar = Exemplar.of(span.trace_id, span.span_id, seconds, end_ns)
                self._registry.exemplars.keep(meters.duration, seconds, exemplar)

    def _meters_of(self, key: tuple[str, int, int]) -> _Meters:
        name, kind, status = key
        values = (name, f"SPAN_KIND_{KIND_NAMES[kind]}", _STATUS[status])
        meters = _Meters(self._calls.tagged(*values), self._duration.tagged(*values))
        if len(self._meters) < self._registry.max_series_per_metric:
            self._meters[key] = meters
        return meters

    def open(self, ledger: Ledger) -> None:
        """Nothing is sent from here, so there is nothing to account for."""

    def flush(self, deadline: Deadline) -> bool:
        """All was counted when it was accepted."""
        return True

    def shutdown(self, deadline: Deadline) -> bool:
        """The metrics stay in the registry."""
        return True

    def after_fork(self) -> None:
        """The registry starts anew by itself."""
