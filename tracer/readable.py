"""What OpenTelemetry's SDK lets one read of a span, beyond what its API promises.

Instrumentations do read it: ``span.kind``, ``span.name``, ``span.attributes``, ``span.parent``.
``events``, ``links`` and ``status`` keep the form of :class:`exporters.records.SpanRecord` here; in
OpenTelemetry's form they are on :class:`tracer.span_view.SpanView`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from exporters.records import REMOTE_PARENT

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext as OtelSpanContext

    from exporters.records import TagValue

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scope:
    """An instrumentation scope, as OpenTelemetry's SDK describes one. Exporters group by it."""

    name: str
    version: str | None = None
    schema_url: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict, compare=False)


class Readable:
    """Mixed into :class:`tracer.span.Span`; costs its instances nothing."""

    __slots__ = ()

    if TYPE_CHECKING:
        _tracer: Any
        trace_id: int
        parent_id: int
        flags: int
        duration_ns: int

        @property
        def tags(self) -> Mapping[str, TagValue] | None: ...
        @property
        def start_ns(self) -> int: ...
        @property
        def end_ns(self) -> int: ...
        @property
        def dropped_tags(self) -> int: ...
        def is_recording(self) -> bool: ...

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The tags; empty, not None, where there are none."""
        return self.tags or _NOTHING

    @property
    def parent(self) -> OtelSpanContext | None:
        """The identity of the parent, None for the root of a trace."""
        if not self.parent_id:
            return None
        from opentelemetry.trace import SpanContext, TraceFlags

        remote = bool(self.flags & REMOTE_PARENT)
        return SpanContext(self.trace_id, self.parent_id, remote, TraceFlags(self.flags & 1))

    @property
    def start_time(self) -> int:
        """Unix time in nanoseconds."""
        return self.start_ns

    @property
    def end_time(self) -> int | None:
        """Unix time in nanoseconds; None before the span has finished."""
        return None if self.is_recording() else self.end_ns

    @property
    def dropped_attributes(self) -> int:
        """Attributes that were beyond their limit."""
        return self.dropped_tags

    @property
    def instrumentation_scope(self) -> Scope:
        """In whose name the span was started."""
        tracer = self._tracer
        return Scope(tracer.scope, tracer.scope_version or None)

    @property
    def instrumentation_info(self) -> Scope:
        """The former name of :attr:`instrumentation_scope`."""
        return self.instrumentation_scope
