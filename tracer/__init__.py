"""What happened: spans, where they belong, and whether they are kept."""

from .api import get_tracer, start_span
from .baggage import Baggage
from .config import Config
from .context import current_context, current_span, use_span, wrap
from .core import implementation
from .decorators import trace
from .kinds import SpanKind, StatusCode
from .propagation import extract, inject
from .sampling import AlwaysOff, AlwaysOn, Decision, ParentBased, Ratio, Sampler
from .setup import Sdk, flush, init, ledger, running, shutdown
from .span import Span
from .span_context import SpanContext
from .tracer import CURRENT, Tracer

__all__ = [
    "CURRENT",
    "AlwaysOff",
    "AlwaysOn",
    "Baggage",
    "Config",
    "Decision",
    "ParentBased",
    "Ratio",
    "Sampler",
    "Sdk",
    "Span",
    "SpanContext",
    "SpanKind",
    "StatusCode",
    "Tracer",
    "current_context",
    "current_span",
    "extract",
    "flush",
    "get_tracer",
    "implementation",
    "init",
    "inject",
    "ledger",
    "running",
    "shutdown",
    "start_span",
    "trace",
    "use_span",
    "wrap",
]
