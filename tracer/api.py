"""The process's own tracer: the one place of global state in this package."""

from __future__ import annotations

from .pipeline import Pipeline
from .tracer import Tracer

#: Where spans of this process go. Off until ``init`` configures it, in place.
PIPELINE = Pipeline()

_default = Tracer(PIPELINE)

#: Start a span with the process's tracer; see :meth:`tracer.tracer.Tracer.start_span`.
start_span = _default.start_span


def get_tracer(scope: str = "", version: str = "") -> Tracer:
    """A tracer that starts spans in the name of ``scope``, an instrumentation's package."""
    return Tracer(PIPELINE, scope, version) if scope or version else _default
