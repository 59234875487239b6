"""Spans as OTLP, in protobuf and in JSON (https://opentelemetry.io/docs/specs/otlp).

Records of one resource and scope stand together, as the protocol wants it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ._text import clean, printable
from .records import (
    DROPPED_EVENTS,
    DROPPED_LINKS,
    DROPPED_TAGS,
    REMOTE_PARENT,
    EventRecord,
    LinkRecord,
    Resource,
    SpanRecord,
)

_INT64 = range(-(2**63), 2**63)

# W3C trace flags in the low byte; whether the parent is remote in bits 8 and 9 (OTLP 1.1).
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200


def grouped(
    records: Sequence[SpanRecord],
) -> Iterator[tuple[Resource, Mapping[str, list[SpanRecord]]]]:
    """The records by resource, then by scope, in the order of their first appearance."""
    groups: dict[int, tuple[Resource, dict[str, list[SpanRecord]]]] = {}
    for record in records:
        resource = record.resource
        _, scopes = groups.setdefault(id(resource), (resource, {}))
        scopes.setdefault(record.scope, []).append(record)
    yield from groups.values()


def trace_flags(record: SpanRecord) -> int:
    """OTLP's flags of a span."""
    flags = (record.flags & 1) | _HAS_IS_REMOTE
    return flags | _IS_REMOTE if record.flags & REMOTE_PARENT else flags


def unsigned(number: int, bits: int = 64) -> int:
    """What fits an unsigned field: the number or the bound nearest to it."""
    return min(max(0, number), (1 << bits) - 1)


def losses_of(record: SpanRecord) -> Mapping[str, int]:
    """What the record lost to its limits, for the fields OTLP has for it."""
    losses: Mapping[str, int] | None = getattr(record, "losses", None)
    return losses or {}


def resource_attributes(resource: Resource) -> dict[str, Any]:
    """The attributes, with the service's name as one of them."""
    return {"service.name": resource.service_name, **resource.attributes}


class OtlpJson:
    """``ExportTraceServiceRequest`` in OTLP's JSON: ids in hex, 64-bit integers as text."""

    content_type = "application/json"

    def encode(self, records: Sequence[SpanRecord]) -> bytes:
        request = {
            "resourceSpans": [
                {
                    "resource": {"attributes": json_attributes(resource_attributes(resource))},
                    "scopeSpans": [
                        {"scope": {"name": scope}, "spans": [_json_span(r) for r in group]}
                        for scope, group in scopes.items()
                    ],
                }
                for resource, scopes in grouped(records)
            ]
        }
        try:
            return msgspec.json.encode(request)
        except (UnicodeEncodeError, TypeError, OverflowError):
            return msgspec.json.encode(clean(request))

    def rejected(self, answer: bytes) -> tuple[int, str]:
        """How many spans the answer says were not taken, and why."""
        try:
            said = msgspec.json.decode(answer)
            partial = said.get("partialSuccess") or {}
            return int(partial.get("rejectedSpans") or 0), str(partial.get("errorMessage") or "")
        except (msgspec.DecodeError, AttributeError, ValueError):
            return 0, ""


def json_attributes(attributes: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """OTLP's list of key and value."""
    if not attributes:
        return []
    return [{"key": str(key), "value": _json_value(v)} for key, v in attributes.items()]


def _json_value(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if value in _INT64 else {"stringValue": str(value)}
    if isinstance(value, float):
        # proto3's JSON mapping writes what JSON has no number for as text.
        return {"doubleValue": value if math.isfinite(value) else _JSON_FLOATS[str(value)]}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": json_attributes(value)}}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_json_value(item) for item in value]}}
    return {"stringValue": printable(value)}


_JSON_FLOATS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _json_span(record: SpanRecord) -> dict[str, Any]:
    start = record.start_ns
    span: dict[str, Any] = {
        "traceId": f"{record.trace_id:032x}",
        "spanId": f"{record.span_id:016x}",
        "flags": trace_flags(record),
        "name": record.name,
        "kind": int(record.kind) + 1,
        "startTimeUnixNano": str(unsigned(start)),
        "endTimeUnixNano": str(unsigned(start + record.duration_ns)),
        "attributes": json_attributes(record.tags),
    }
    if record.parent_id:
        span["parentSpanId"] = f"{record.parent_id:016x}"
    if record.tracestate:
        span["traceState"] = record.tracestate
    if record.events:
        span["events"] = [_json_event(event) for event in record.events]
    if record.links:
        span["links"] = [_json_link(link) for link in record.links]
    if record.status:
        span["status"] = {"code": int(record.status)}
        if record.status_text:
            span["status"]["message"] = record.status_text
    for name, count in losses_of(record).items():
        if name in _JSON_LOSSES:
            span[_JSON_LOSSES[name]] = unsigned(count, 32)
    return span


_JSON_LOSSES = {
    DROPPED_TAGS: "droppedAttributesCount",
    DROPPED_EVENTS: "droppedEventsCount",
    DROPPED_LINKS: "droppedLinksCount",
}


def _json_event(event: EventRecord) -> dict[str, Any]:
    return {
        "timeUnixNano": str(unsigned(event.time_ns)),
        "name": event.name,
        "attributes": json_attributes(event.attributes),
    }


def _json_link(link: LinkRecord) -> dict[str, Any]:
    fields = {
        "traceId": f"{link.trace_id:032x}",
        "spanId": f"{link.span_id:016x}",
        "attributes": json_attributes(link.attributes),
    }
    return fields | {"traceState": link.tracestate} if link.tracestate else fields


class OtlpProtobuf:
    """``ExportTraceServiceRequest`` in protobuf. Raises ImportError without the extra "otlp"."""

    content_type = "application/x-protobuf"

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
        from opentelemetry.proto.common.v1 import common_pb2
        from opentelemetry.proto.trace.v1 import trace_pb2

        self._service = trace_service_pb2
        self._trace = trace_pb2
        self._common = common_pb2

    def encode(self, records: Sequence[SpanRecord]) -> bytes:
        request = self._service.ExportTraceServiceRequest()
        for resource, scopes in grouped(records):
            resource_spans = request.resource_spans.add()
            self._fill(resource_spans.resource.attributes, resource_attributes(resource))
            for scope, group in scopes.items():
                scope_spans = resource_spans.scope_spans.add()
                scope_spans.scope.name = clean(scope)
                for record in group:
                    self._span(scope_spans.spans, record)
        return bytes(request.SerializeToString())

    def rejected(self, answer: bytes) -> tuple[int, str]:
        """How many spans the answer says were not taken, and why."""
        from google.protobuf.message import DecodeError

        try:
            response = self._service.ExportTraceServiceResponse.FromString(answer)
        except DecodeError:
            return 0, ""
        partial = response.partial_success
        return int(partial.rejected_spans), str(partial.error_message)

    def _span(self, spans: Any, record: SpanRecord) -> None:
        start = unsigned(record.start_ns)
        losses = losses_of(record)
        parent = record.parent_id
        span = spans.add(
            trace_id=record.trace_id.to_bytes(16, "big"),
            span_id=record.span_id.to_bytes(8, "big"),
            parent_span_id=parent.to_bytes(8, "big") if parent else b"",
            flags=trace_flags(record),
            name=clean(record.name),
            kind=int(record.kind) + 1,
            start_time_unix_nano=start,
            end_time_unix_nano=unsigned(start + record.duration_ns),
            trace_state=record.tracestate,
            dropped_attributes_count=unsigned(losses.get(DROPPED_TAGS, 0), 32),
            dropped_events_count=unsigned(losses.get(DROPPED_EVENTS, 0), 32),
            dropped_links_count=unsigned(losses.get(DROPPED_LINKS, 0), 32),
        )
        self._fill(span.attributes, record.tags)
        for event in record.events or ():
            made = span.events.add(time_unix_nano=unsigned(event.time_ns), name=clean(event.name))
            self._fill(made.attributes, event.attributes)
        for link in record.links or ():
            made = span.links.add(
                trace_id=link.trace_id.to_bytes(16, "big"),
                span_id=link.span_id.to_bytes(8, "big"),
                trace_state=link.tracestate,
            )
            self._fill(made.attributes, link.attributes)
        if record.status:
            span.status.code = int(record.status)
            span.status.message = clean(record.status_text)

    def _fill(self, attributes: Any, values: Mapping[str, Any] | None) -> None:
        for key, value in (values or {}).items():
            pair = attributes.add()
            pair.key = clean(str(key))
            self._set(pair.value, value)

    def _set(self, target: Any, value: Any) -> None:
        if isinstance(value, str):
            target.string_value = clean(value)
        elif isinstance(value, bool):
            target.bool_value = value
        elif isinstance(value, int) and value in _INT64:
            target.int_value = value
        elif isinstance(value, float):
            target.double_value = value
        elif isinstance(value, bytes):
            target.bytes_value = value
        elif isinstance(value, Mapping):
            target.kvlist_value.SetInParent()
            self._fill(target.kvlist_value.values, value)
        elif isinstance(value, (list, tuple)):
            target.array_value.SetInParent()
            for item in value:
                self._set(target.array_value.values.add(), item)
        else:
            target.string_value = clean(printable(value))
