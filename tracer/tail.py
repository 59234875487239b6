"""Keeping what turned out to matter: failed or slow traces that the sampler had turned down.

The spans of an unsampled trace are recorded and held back in this process until its local root
finishes. Then they are kept together or given up together. What was propagated stays what it was:
the services called saw an unsampled trace, so what is kept is this process's part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporters.records import REMOTE_PARENT, SAMPLED

from .kinds import StatusCode
from .recorded import RecordedSpan

#: Traces held at once, and spans held of each; beyond it the oldest are given up.
MAX_TRACES = 1_000
MAX_SPANS = 1_000
#: Decisions remembered for spans that finish after their local root.
_REMEMBERED = 4_096


class TailBuffer:
    """Takes every finished span; passes on sampled ones, and others as their local root decides.

    ``keep`` receives spans that are kept, ``give_up`` those that are not. Takes no lock: each
    step on the dictionaries is a single atomic operation of CPython.
    """

    def __init__(
        self,
        keep: Callable[[RecordedSpan], Any],
        give_up: Callable[[RecordedSpan], Any],
        *,
        errors: bool = True,
        slower_than_s: float | None = None,
    ) -> None:
        self._keep = keep
        self._give_up = give_up
        self._errors = errors
        self._slow_ns = None if slower_than_s is None else round(slower_than_s * 1e9)
        self._held: dict[int, list[RecordedSpan]] = {}
        self._decided: dict[int, bool] = {}

    def emit(self, span: RecordedSpan) -> None:
        """Pass on, hold back, or decide."""
        if span.flags & SAMPLED:
            self._keep(span)
        elif span.parent_id == 0 or span.flags & REMOTE_PARENT:
            self._decide(span)
        else:
            self._hold(span)

    def _hold(self, span: RecordedSpan) -> None:
        trace = span.trace_id
        decided = self._decided.get(trace)
        if decided is not None:  # its local root is over
            self._settle(span, decided)
            return
        held = self._held.get(trace)
        if held is None:
            if len(self._held) >= MAX_TRACES:
                self._evict()
            held = self._held.setdefault(trace, [])
        if len(held) >= MAX_SPANS:
            self._give_up(span)
            return
        held.append(span)
        # The root may have been decided between the two lines above; then nobody looks at the
        # list any more but us.
        if self._decided.get(trace) is not None and self._held.get(trace) is not held:
            self._settle_all(held, self._decided[trace])

    def _decide(self, root: RecordedSpan) -> None:
        trace = root.trace_id
        held = self._held.get(trace) or []
        slow = self._slow_ns is not None and root.duration_ns > self._slow_ns
        kept = slow or (self._errors and any(_failed(span) for span in (*held, root)))
        if len(self._decided) >= _REMEMBERED:
            self._decided.pop(_oldest(self._decided), None)
        self._decided[trace] = kept
        self._held.pop(trace, None)
        self._settle_all(held, kept)
        self._settle(root, kept)

    def _evict(self) -> None:
        """Give up the trace that has waited longest: its root was lost or takes too long."""
        held = self._held.pop(_oldest(self._held), None)
        if held:
            self._settle_all(held, False)

    def _settle_all(self, spans: list[RecordedSpan], kept: bool) -> None:
        while spans:  # emptied as it goes, so that two threads never settle one span twice
            try:
                self._settle(spans.pop(0), kept)
            except IndexError:
                return

    def _settle(self, span: RecordedSpan, kept: bool) -> None:
        if kept:
            span.flags |= SAMPLED
            self._keep(span)
        else:
            self._give_up(span)


def _oldest(traces: dict[int, Any]) -> int:
    """The key that was put in first; 0, which is no trace, where another thread interferes."""
    try:
        return next(iter(traces), 0)
    except RuntimeError:
        return 0


def _failed(span: RecordedSpan) -> bool:
    return span.status is StatusCode.ERROR
