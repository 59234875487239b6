"""Our span as the ``ReadableSpan`` of OpenTelemetry's SDK, for its span processors and exporters.

Needs opentelemetry-api only: nothing here is a subclass of the SDK's, it has the same attributes.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind as OtelSpanKind

from exporters.records import LinkRecord, Resource

from .span import Span

_KINDS = tuple(sorted(OtelSpanKind, key=lambda kind: kind.value))
_STATUS = tuple(sorted(StatusCode, key=lambda code: code.value))


class ViewedResource:
    """A resource with what OpenTelemetry's has. Exporters group spans by it, so it is hashable."""

    __slots__ = ("__weakref__", "attributes", "schema_url")

    def __init__(self, resource: Resource) -> None:
        self.attributes: Mapping[str, Any] = resource.attributes
        self.schema_url = ""

    def to_json(self, indent: int | None = 4) -> str:
        """The attributes as JSON."""
        return json.dumps(_resource(self), indent=indent)


class ViewedEvent(NamedTuple):
    """An event as OpenTelemetry's SDK names its parts."""

    name: str
    timestamp: int
    attributes: Mapping[str, Any]
    dropped_attributes: int = 0


class ViewedLink(Link):
    """A link that also says what the SDK's says."""

    dropped_attributes = 0


class SpanView:
    """Reads like the SDK's span; what it lacks, such as ``set_attribute``, is our span's own."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)

    @property
    def context(self) -> SpanContext:
        return self._span.get_span_context()

    @property
    def kind(self) -> OtelSpanKind:
        return _KINDS[self._span.kind]

    @property
    def status(self) -> Status:
        span = self._span
        return Status(_STATUS[span.status], span.status_text or None)

    @property
    def events(self) -> tuple[ViewedEvent, ...]:
        return tuple(
            ViewedEvent(event.name, event.time_ns, event.attributes or {})
            for event in self._span.events or ()
        )

    @property
    def links(self) -> tuple[ViewedLink, ...]:
        return tuple(_link(link) for link in self._span.links or ())

    @property
    def resource(self) -> ViewedResource:
        return viewed_resource(self._span.resource)

    def to_json(self, indent: int | None = 4) -> str:
        """The span as the SDK's console exporter prints it."""
        return json.dumps(self._described(), indent=indent, default=str)

    def _described(self) -> dict[str, Any]:
        span, context = self._span, self.context
        status = {"status_code": self.status.status_code.name}
        if span.status_text:
            status["description"] = span.status_text
        return {
            "name": span.name,
            "context": _context(context),
            "kind": str(self.kind),
            "parent_id": f"0x{span.parent_id:016x}" if span.parent_id else None,
            "start_time": _time(span.start_time),
            "end_time": _time(span.end_time),
            "status": status,
            "attributes": dict(span.attributes),
            "events": [
                {"name": e.name, "timestamp": _time(e.timestamp), "attributes": dict(e.attributes)}
                for e in self.events
            ],
            "links": [
                {"context": _context(link.context), "attributes": dict(link.attributes or {})}
                for link in self.links
            ],
            "resource": _resource(self.resource),
        }


# ``opentelemetry.trace.set_span_in_context`` takes what is a span of the API.
OtelSpan.register(SpanView)

#: One view for each resource, so that equal resources are identical; a process has one or two.
_resources: weakref.WeakValueDictionary[int, ViewedResource] = weakref.WeakValueDictionary()


def viewed_resource(resource: Resource) -> ViewedResource:
    """The view of ``resource``: the same object for the same attributes while one is in use."""
    key = id(resource.attributes)
    known = _resources.get(key)
    if known is None or known.attributes is not resource.attributes:
        known = _resources[key] = ViewedResource(resource)
    return known


def _link(link: LinkRecord) -> ViewedLink:
    state = TraceState.from_header([link.tracestate]) if link.tracestate else None
    context = SpanContext(link.trace_id, link.span_id, True, TraceFlags(0), state)
    return ViewedLink(context, link.attributes)


def _context(context: SpanContext) -> dict[str, str]:
    return {
        "trace_id": f"0x{context.trace_id:032x}",
        "span_id": f"0x{context.span_id:016x}",
        "trace_state": repr(context.trace_state),
    }


def _resource(resource: ViewedResource) -> dict[str, Any]:
    return {"attributes": dict(resource.attributes), "schema_url": resource.schema_url}


def _time(ns: int | None) -> str | None:
    if ns is None:
        return None
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
