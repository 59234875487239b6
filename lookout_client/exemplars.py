"""Exemplars: the trace that was current when a value was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

#: How many recordings after a collection may look for a current trace. It bounds what looking
#: costs on a busy series to nothing, and still finds a trace at a sampling rate of a few percent.
TRIES = 64


class Exemplar(NamedTuple):
    """One recorded value and the trace it was recorded in, whose ids are hexadecimal."""

    trace_id: str
    span_id: str
    value: float
    time_ns: int  # Unix epoch

    @classmethod
    def of(cls, trace_id: int, span_id: int, value: float, time_ns: int) -> Exemplar:
        """The same from ids that are numbers."""
        return cls(f"{trace_id:032x}", f"{span_id:016x}", value, time_ns)


#: Answers (trace id, span id) of the current sampled span, or None.
CurrentTrace = Callable[[], "tuple[int, int] | None"]


def no_trace() -> tuple[int, int] | None:
    """The source used while no tracer is set up."""
    return None


class Exemplars:
    """Takes exemplars for the meters of one registry from ``current``, the current trace.

    A meter is *armed* by every collection with a number of tries. While armed, a recording asks
    for the current trace; finding one spends the counter's arming, while a histogram goes on so
    that several buckets get theirs.
    """

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self.clock_ns = clock_ns
        self.current: CurrentTrace = no_trace
        self.tries = 0

    def use(self, current: CurrentTrace) -> None:
        """Take traces from ``current`` from now on."""
        self.current = current
        self.tries = 0 if current is no_trace else TRIES

    def _take(self, meter: Any, value: float) -> Exemplar | None:
        meter._armed -= 1
        try:
            found = self.current()
        except Exception:
            return None
        return Exemplar.of(*found, value, self.clock_ns()) if found else None

    def note(self, meter: Any, amount: float) -> None:
        """Give a counter its exemplar."""
        exemplar = self._take(meter, amount)
        if exemplar is not None:
            meter.exemplar = exemplar
            meter._armed = 0

    def note_bucket(self, meter: Any, value: float, bucket: int) -> None:
        """Give one bucket its exemplar."""
        exemplar = self._take(meter, value)
        if exemplar is not None:
            if meter.exemplars is None:
                meter.exemplars = {}
            meter.exemplars[bucket] = exemplar

    def keep(self, meter: Any, value: float, exemplar: Exemplar) -> None:
        """Give a distribution an exemplar whose trace is known, once per collection."""
        if meter._armed > 0:
            meter._armed = 0
            meter.exemplars = {**(meter.exemplars or {}), meter.bucket_of(value): exemplar}
