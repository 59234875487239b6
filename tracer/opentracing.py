"""OpenTracing's API, answered by our tracer, for code that was never moved on. Needs opentracing.

    import opentracing
    from tracer.opentracing import Tracer

    opentracing.set_global_tracer(Tracer())

What is active here is current there, so that spans of both APIs and of OpenTelemetry's nest.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any

import opentracing
from opentracing import Format, InvalidCarrierException, Reference, ReferenceType
from opentracing.ext import tags as names

from . import context as current_context
from . import propagation
from .api import PIPELINE
from .context import use_span
from .kinds import StatusCode
from .passive import NOOP
from .pipeline import Pipeline
from .span import Span as OurSpan
from .span_context import SpanContext as OurContext
from .tracer import CURRENT
from .tracer import Tracer as OurTracer
from .values import text

_NS = 1_000_000_000


class SpanContext(opentracing.SpanContext):  # type: ignore[misc]  # opentracing is untyped
    """The identity of a span, here or elsewhere."""

    def __init__(self, source: OurSpan | OurContext) -> None:
        self.source = source

    @property
    def baggage(self) -> dict[str, str]:
        """What travels with it; of a live span, as it is now."""
        baggage = self.source.baggage
        return dict(baggage.biz) if baggage is not None else {}


class Span(opentracing.Span):  # type: ignore[misc]
    """One of our spans, which is ``span.span``."""

    def __init__(self, tracer: Tracer, span: OurSpan) -> None:
        super().__init__(tracer, SpanContext(span))
        self.span = span

    def set_operation_name(self, operation_name: str) -> Span:
        """Name it anew."""
        self.span.set_name(operation_name)
        return self

    def finish(self, finish_time: float | None = None) -> None:
        """End it, now or at a Unix time in seconds."""
        self.span.finish(_ns(finish_time))

    def set_tag(self, key: str, value: Any) -> Span:
        """Record a tag. ``span.kind`` and ``error`` are understood."""
        if key == names.SPAN_KIND:
            self.span.set_kind(value)
        elif key == names.ERROR:
            if value not in (False, "false", None):
                self.span.set_status(StatusCode.ERROR)
        else:
            self.span.set_tag(key, value)
        return self

    def log_kv(self, key_values: Mapping[str, Any], timestamp: float | None = None) -> Span:
        """An event, named by its ``event``; an ``error.object`` is recorded as an exception."""
        fields = dict(key_values)
        error = fields.pop("error.object", None)
        if isinstance(error, BaseException):
            self.span.record_exception(error, timestamp=_ns(timestamp))
        else:
            name = text(fields.pop("event", "log"), 256)
            self.span.add_event(name, fields, _ns(timestamp))
        return self

    def set_baggage_item(self, key: str, value: str) -> Span:
        """Give an item along."""
        self.span.set_baggage_item(key, value)
        return self

    def get_baggage_item(self, key: str) -> str | None:
        """An item that travels."""
        return self.span.get_baggage_item(key)


class Scope(opentracing.Scope):  # type: ignore[misc]
    """The time during which a span is active."""

    def __init__(self, manager: ScopeManager, span: Any, finish_on_close: bool) -> None:
        super().__init__(manager, span)
        self._finish_on_close = finish_on_close
        self._previous = manager.variable.get()
        ours = getattr(span, "span", None)
        self._use = use_span(ours) if isinstance(ours, OurSpan) else None
        if self._use is not None:
            self._use.__enter__()

    def close(self) -> None:
        """End it. Only the active scope can be closed: for another nothing happens."""
        if self.manager.variable.get() is not self:
            return
        self.manager.variable.set(self._previous)
        if self._use is not None:
            self._use.__exit__(None, None, None)
        if self._finish_on_close:
            self.span.finish()


class ScopeManager(opentracing.ScopeManager):  # type: ignore[misc]
    """What is active, in each task and thread."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        super().__init__()
        self._tracer = tracer
        self.variable: ContextVar[Scope | None] = ContextVar("opentracing_scope", default=None)

    def activate(self, span: Any, finish_on_close: bool) -> Scope:
        """Make ``span`` active until the scope is closed."""
        scope = Scope(self, span, finish_on_close)
        self.variable.set(scope)
        return scope

    @property
    def active(self) -> Scope | None:
        """The innermost scope; one made on the spot for a span of another API that is current."""
        scope = self.variable.get()
        if self._tracer is None:
            return scope
        span = current_context.current_span()
        if span is NOOP or (scope is not None and getattr(scope.span, "span", None) is span):
            return scope
        found: Scope = Scope.__new__(Scope)
        opentracing.Scope.__init__(found, self, Span(self._tracer, span))
        return found


class Tracer(opentracing.Tracer):  # type: ignore[misc]
    """OpenTracing's tracer over the process's pipeline, or one of your own."""

    def __init__(self, pipeline: Pipeline | None = None) -> None:
        super().__init__(ScopeManager(self))
        self._start = OurTracer(pipeline or PIPELINE, "opentracing").start_span

    def start_active_span(
        self,
        operation_name: str,
        child_of: Any = None,
        references: Sequence[Reference] | Reference | None = None,
        tags: Mapping[str, Any] | None = None,
        start_time: float | None = None,
        ignore_active_span: bool = False,
        finish_on_close: bool = True,
    ) -> Scope:
        """Start a span that is active until the scope is closed."""
        span = self.start_span(
            operation_name, child_of, references, tags, start_time, ignore_active_span
        )
        scope: Scope = self.scope_manager.activate(span, finish_on_close)
        return scope

    def start_span(
        self,
        operation_name: str | None = None,
        child_of: Any = None,
        references: Sequence[Reference] | Reference | None = None,
        tags: Mapping[str, Any] | None = None,
        start_time: float | None = None,
        ignore_active_span: bool = False,
    ) -> Span:
        """Start a span below ``child_of``, the first reference, or the active span.

        References beyond the parent become links; their baggage goes along where the parent's
        has no such item.
        """
        above = [child_of, *_referenced(references)]
        sources = [source for item in above if (source := _source(item)) is not None]
        parent: Any = None if ignore_active_span else CURRENT
        if sources:
            parent = sources[0]
        span = Span(
            self,
            self._start(
                operation_name or "", parent=parent, links=sources[1:], start_ns=_ns(start_time)
            ),
        )
        for key, value in (tags or {}).items():
            span.set_tag(key, value)
        for source in sources[1:]:
            for key, value in (source.baggage.biz if source.baggage else {}).items():
                if span.span.get_baggage_item(key) is None:
                    span.span.set_baggage_item(key, value)
        return span

    def inject(self, span_context: Any, format: str, carrier: Any) -> None:
        """Write the context in the configured formats.

        UnsupportedFormatException for another format than TEXT_MAP, HTTP_HEADERS and BINARY;
        InvalidCarrierException for a carrier that cannot be written to.
        """
        _check(format)
        source = _source(span_context)
        if format != Format.BINARY:
            if not isinstance(carrier, MutableMapping):
                raise InvalidCarrierException(f"a {format} carrier must be a mutable mapping")
            propagation.inject(carrier, source)
            return
        if not isinstance(carrier, bytearray):
            raise InvalidCarrierException("a binary carrier must be a bytearray")
        headers: dict[str, str] = {}
        propagation.inject(headers, source)
        carrier[:] = "\n".join(f"{name}:{value}" for name, value in headers.items()).encode()

    def extract(self, format: str, carrier: Any) -> SpanContext | None:
        """The context in ``carrier``, None where there is none; errors as in :meth:`inject`."""
        _check(format)
        if format == Format.BINARY:
            if not isinstance(carrier, bytes | bytearray):
                raise InvalidCarrierException("a binary carrier must be a bytearray")
            lines = bytes(carrier).decode("utf-8", "replace").splitlines()
            carrier = [tuple(line.split(":", 1)) for line in lines if ":" in line]
        elif not isinstance(carrier, Mapping):
            raise InvalidCarrierException(f"a {format} carrier must be a mapping")
        found = propagation.extract(carrier)
        return SpanContext(found) if found is not None else None


def _check(format: str) -> None:
    if format not in (Format.TEXT_MAP, Format.HTTP_HEADERS, Format.BINARY):
        raise opentracing.UnsupportedFormatException(format)


def _referenced(references: Sequence[Reference] | Reference | None) -> list[Any]:
    """What is referenced, parents first."""
    if isinstance(references, Reference):
        references = [references]
    ordered = sorted(references or (), key=lambda item: item.type != ReferenceType.CHILD_OF)
    return [item.referenced_context for item in ordered]


def _source(value: Any) -> OurSpan | OurContext | None:
    context = getattr(value, "context", value)
    return context.source if isinstance(context, SpanContext) else None


def _ns(seconds: float | None) -> int | None:
    return int(seconds * _NS) if isinstance(seconds, int | float) else None
