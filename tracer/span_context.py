"""What crosses a border: the identity of a span and what travels with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporters.records import DEBUG, SAMPLED

from .identity import format_span_id, format_trace_id

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext as OtelSpanContext
    from opentelemetry.trace import TraceFlags, TraceState

    from .baggage import Baggage

#: The trace id is random (W3C trace-context level 2); kept beside the bits of exporters.records.
RANDOM = 16


class Carried(NamedTuple):
    """What a trace brought along besides ids; shared by its spans until one changes it."""

    tracestate: str = ""
    baggage: Baggage | None = None
    sofa_trace_id: str = ""  # SOFA's own spelling, where the trace came from a SOFA service


class SpanContext:
    """The identity of a span, as it is handed to a child or to another process.

    ``trace_id`` and ``span_id`` are 0 where a caller sent a sampling decision or baggage but no
    ids. ``sampled`` is True or False, or None where the caller left the decision to us.
    """

    __slots__ = (
        "baggage",
        "debug",
        "is_remote",
        "parent_id",
        "random",
        "rpc_id",
        "sampled",
        "sofa_trace_id",
        "span_id",
        "trace_id",
        "tracestate",
    )

    def __init__(
        self,
        trace_id: int,
        span_id: int,
        *,
        sampled: bool | None = True,
        debug: bool = False,
        parent_id: int = 0,
        tracestate: str = "",
        baggage: Baggage | None = None,
        is_remote: bool = False,
        random: bool = False,
        rpc_id: str = "",
        sofa_trace_id: str = "",
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled
        self.debug = debug
        self.parent_id = parent_id
        self.tracestate = tracestate
        self.baggage = baggage
        self.is_remote = is_remote
        self.random = random
        self.rpc_id = rpc_id
        self.sofa_trace_id = sofa_trace_id

    @property
    def is_valid(self) -> bool:
        """Whether both ids are there."""
        return self.trace_id != 0 and self.span_id != 0

    @property
    def flags(self) -> int:
        """The bits of :mod:`exporters.records`, with :data:`RANDOM`."""
        return (
            (SAMPLED if self.sampled else 0)
            | (DEBUG if self.debug else 0)
            | (RANDOM if self.random else 0)
        )

    @property
    def trace_flags(self) -> TraceFlags:
        """The flags as OpenTelemetry's SpanContext has them."""
        from opentelemetry.trace import TraceFlags

        return TraceFlags((1 if self.sampled else 0) | (2 if self.random else 0))

    @property
    def trace_state(self) -> TraceState:
        """The tracestate as OpenTelemetry's SpanContext has it."""
        from opentelemetry.trace import TraceState

        return TraceState.from_header([self.tracestate]) if self.tracestate else TraceState()

    @property
    def carried(self) -> Carried | None:
        """What a child inherits besides ids, None when there is nothing."""
        if self.tracestate or self.baggage or self.sofa_trace_id:
            return Carried(self.tracestate, self.baggage, self.sofa_trace_id)
        return None

    def with_baggage(self, baggage: Baggage | None) -> SpanContext:
        """The same with other baggage."""
        changed = SpanContext.__new__(SpanContext)
        for slot in SpanContext.__slots__:
            setattr(changed, slot, getattr(self, slot))
        changed.baggage = baggage
        return changed

    def to_otel(self) -> OtelSpanContext:
        """The same as OpenTelemetry's SpanContext."""
        from opentelemetry.trace import SpanContext as OtelSpanContext

        return OtelSpanContext(
            self.trace_id, self.span_id, self.is_remote, self.trace_flags, self.trace_state
        )

    @classmethod
    def from_otel(cls, context: OtelSpanContext) -> SpanContext:
        """What an OpenTelemetry SpanContext says."""
        flags = int(context.trace_flags)
        return cls(
            context.trace_id,
            context.span_id,
            sampled=bool(flags & 1),
            tracestate=context.trace_state.to_header() if context.trace_state else "",
            is_remote=context.is_remote,
            random=bool(flags & 2),
        )

    def _identity(self) -> tuple[object, ...]:
        return (self.trace_id, self.span_id, self.sampled, self.debug, self.tracestate)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpanContext):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.trace_id, self.span_id))

    def __repr__(self) -> str:
        return (
            f"SpanContext(trace_id={format_trace_id(self.trace_id)}, "
            f"span_id={format_span_id(self.span_id)}, sampled={self.sampled})"
        )


class _Arrived(SpanContext):
    """One whose maker sets the slots itself: eleven named arguments take three times as long."""

    __slots__ = ()

    __init__ = object.__init__


def remote(
    trace_id: int,
    span_id: int,
    sampled: bool | None,
    debug: bool = False,
    parent_id: int = 0,
    random: bool = False,
) -> SpanContext:
    """A context that arrived from another process; the usual result of reading headers."""
    context: SpanContext = _Arrived()
    context.trace_id = trace_id
    context.span_id = span_id
    context.sampled = sampled
    context.debug = debug
    context.parent_id = parent_id
    context.tracestate = ""
    context.baggage = None
    context.is_remote = True
    context.random = random
    context.rpc_id = ""
    context.sofa_trace_id = ""
    return context
