"""What the meters ask of the tracer: which trace is current."""

from __future__ import annotations

from exporters.records import SAMPLED
from tracer.context import current_span

from .exemplars import CurrentTrace, no_trace


def sampled_trace() -> tuple[int, int] | None:
    """Trace id and span id of the current span if it is kept, for an exemplar."""
    span = current_span()
    if span.flags & SAMPLED and span.trace_id:
        return span.trace_id, span.span_id
    return None


def any_trace() -> tuple[int, int] | None:
    """The same of the current span whether it is kept or not."""
    span = current_span()
    return (span.trace_id, span.span_id) if span.trace_id else None


#: By the setting ``exemplars``.
TRACES: dict[str, CurrentTrace] = {"sampled": sampled_trace, "all": any_trace, "none": no_trace}
