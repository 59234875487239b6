"""OTLP traces, protobuf and JSON, to columns.

Source: opentelemetry-proto v1 (collector/trace/v1, trace/v1, common/v1).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from functools import lru_cache
from struct import unpack
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ..signal import Malformed
from ..spans.columns import SpanColumns
from ..spans.remembered import Remembered
from .otlp_spans import Event, Link, OtlpColumns, OtlpSpans
from .shallow import message_classes


def decode_protobuf(body: bytes) -> SpanColumns:
    """Columns of an ExportTraceServiceRequest. Raises Malformed.

    The protobuf library says whether the body is well-formed; then it is read a second time without
    looking into attributes: those repeat, and are remembered by their bytes.
    """
    columns = OtlpColumns()
    try:
        ExportTraceServiceRequest.FromString(body)
        for resource_spans in _Request.FromString(body).resource_spans:
            _read_resource_spans(columns, resource_spans)
    except (DecodeError, UnicodeDecodeError, IndexError) as error:  # the latter two of old fields
        raise Malformed(f"the body is no ExportTraceServiceRequest: {error}") from error
    return columns.finish()


#: What is read of each span by its fields; attributes and what is rare stay bytes.
_Request = message_classes(
    "lookout.traces",
    {
        "Request": {"resource_spans": (1, "*ResourceSpans")},
        "ResourceSpans": {
            "resource": (1, "bytes"),
            "scope_spans": (2, "*ScopeSpans"),
            "library_spans": (1000, "*ScopeSpans"),  # the name before version 0.15
        },
        "ScopeSpans": {"scope": (1, "bytes"), "spans": (2, "*Span")},
        "Span": {
            "trace_id": (1, "bytes"),
            "span_id": (2, "bytes"),
            "trace_state": (3, "bytes"),
            "parent_span_id": (4, "bytes"),
            "name": (5, "bytes"),
            "kind": (6, "int32"),
            "start_ns": (7, "fixed64"),
            "end_ns": (8, "fixed64"),
            "attributes": (9, "*bytes"),
            "events": (11, "*bytes"),
            "links": (13, "*bytes"),
            "status": (15, "bytes"),
        },
    },
)["Request"]


def _delimited(field: int) -> int:
    return field << 3 | 2


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Key and value of each field: bytes, or the number of a varint or fixed one."""
    at, end = 0, len(message)
    while at < end:
        key, value, at = _field(message, at)
        yield key, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _read_resource_spans(columns: OtlpColumns, message: Any) -> None:
    resource = _attributes(message.resource, _delimited(1))
    for scope_spans in (*message.scope_spans, *message.library_spans):
        _begin_scope(columns, resource, scope_spans.scope)
        columns.add(_read_spans(list(scope_spans.spans)))


def _begin_scope(columns: OtlpColumns, resource: dict[str, str], scope: bytes) -> None:
    fields = dict(_fields(scope))
    name, version = fields.get(_delimited(1), b""), fields.get(_delimited(2), b"")
    columns.begin(resource, name.decode(), version.decode(), _attributes(scope, _delimited(3)))


def _read_spans(spans: list[Any]) -> OtlpSpans:
    return OtlpSpans(
        [span.trace_id for span in spans],
        [span.span_id for span in spans],
        [span.parent_span_id for span in spans],
        [span.name.decode() for span in spans],
        [span.kind for span in spans],
        [span.start_ns for span in spans],
        [span.end_ns for span in spans],
        [dict(map(_pairs.__getitem__, span.attributes)) for span in spans],
        # Asking whether there are any takes half of what a list of none does.
        [list(map(_event, events)) if (events := span.events) else [] for span in spans],
        [list(map(_link, links)) if (links := span.links) else [] for span in spans],
        [_status(status) if (status := span.status) else _UNSET for span in spans],
        [span.trace_state.decode() for span in spans],
    )


_UNSET = (0, "")


def _field(message: bytes, at: int) -> tuple[int, Any, int]:
    """Key, value and end of the field at a place."""
    key, at = _varint(message, at)
    kind = key & 7
    if kind == 0:
        value, at = _varint(message, at)
        return key, value, at
    if kind == 2:
        length, at = _varint(message, at)
        return key, message[at : at + length], at + length
    if kind not in (1, 5):  # groups: the library knows them, OTLP does not
        raise Malformed(f"field {key >> 3} has the wire type {kind}, which OTLP does not use")
    size = 8 if kind == 1 else 4
    return key, int.from_bytes(message[at : at + size], "little"), at + size


def _attributes(message: bytes, attribute_key: int) -> dict[str, str]:
    return dict(_pairs[value] for key, value in _fields(message) if key == attribute_key)


@lru_cache(maxsize=65_536)
def _status(message: bytes) -> tuple[int, str]:
    fields = dict(_fields(message))
    return fields.get(3 << 3, 0), fields.get(_delimited(2), b"").decode()


def _event(message: bytes) -> Event:
    fields = dict(_fields(message))
    name = fields.get(_delimited(2), b"").decode()
    return Event(fields.get(1 << 3 | 1, 0), name, _attributes(message, _delimited(3)))


def _link(message: bytes) -> Link:
    fields = dict(_fields(message))
    return Link(
        fields.get(_delimited(1), b""),
        fields.get(_delimited(2), b""),
        fields.get(_delimited(3), b"").decode(),
        _attributes(message, _delimited(4)),
    )


def _key_value(message: bytes) -> tuple[str, str]:
    if (short := _short_text(message)) is not None:
        return short
    key = ""
    value: Any = None
    for field, part in _fields(message):
        if field == _delimited(1):
            key = part.decode()
        elif field == _delimited(2):
            value = _any_value(part)
    return key, as_text(value)


#: Most attributes are the same again and again.
_pairs = Remembered(_key_value, size=lambda message, pair: len(message) + sum(map(len, pair)))


def _short_text(message: bytes) -> tuple[str, str] | None:
    """The attribute if it is a short text, as most are that are new each time.

    Its bytes are tag, length and key, tag and length of the value, and tag, length and text in it.
    """
    size = len(message)
    if not 6 <= size < 0x80:
        return None
    at = message[1] + 2
    # One comparison after the other: a slice and bytes to compare it with take twice as long.
    if at + 4 > size or message[0] != 0x0A or message[at] != 0x12 or message[at + 2] != 0x0A:
        return None
    if message[at + 1] != size - at - 2 or message[at + 3] != size - at - 4:
        return None
    return message[2:at].decode(), message[at + 4 :].decode()


def _any_value(message: bytes) -> Any:
    """A value as JSON has it: text, bool, number, list, mapping or None."""
    value: Any = None
    for key, part in _fields(message):
        match key >> 3:
            case 1:
                value = part.decode()
            case 2:
                value = bool(part)
            case 3:
                value = part - 2**64 if part >= 2**63 else part
            case 4:
                value = unpack("<d", part.to_bytes(8, "little"))[0]
            case 5:
                value = [_any_value(v) for k, v in _fields(part) if k == _delimited(1)]
            case 6:
                value = {}
                for k, v in _fields(part):
                    if k == _delimited(1):
                        pair = dict(_fields(v))
                        name = pair.get(_delimited(1), b"").decode()
                        value[name] = _any_value(pair.get(_delimited(2), b""))
            case 7:
                value = base64.b64encode(part).decode()
    return value


def as_text(value: Any) -> str:
    """An attribute's value as a tag's: text as it is, all else as JSON would have it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested beyond reason
        return str(value)


def decode_json(body: bytes) -> SpanColumns:
    """Columns of the JSON form: ids in hex, enums as numbers or names. Raises Malformed."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    columns = OtlpColumns()
    try:
        for resource_spans in _objects(request, "resourceSpans"):
            _add_resource_spans(columns, resource_spans)
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"the body is no OTLP trace request: {error}") from error
    return columns.finish()


def _add_resource_spans(columns: OtlpColumns, resource_spans: Mapping[str, Any]) -> None:
    resource = _json_attributes(_object(resource_spans, "resource"))
    name = "scopeSpans" if "scopeSpans" in resource_spans else "instrumentationLibrarySpans"
    for scope_spans in _objects(resource_spans, name):
        scope = _object(scope_spans, "scope")
        columns.begin(
            resource, _text(scope, "name"), _text(scope, "version"), _json_attributes(scope)
        )
        columns.add(_read_json_spans(_objects(scope_spans, "spans")))


def _read_json_spans(spans: list[Any]) -> OtlpSpans:
    statuses = [_object(span, "status") for span in spans]
    return OtlpSpans(
        [_json_id(span, "traceId") for span in spans],
        [_json_id(span, "spanId") for span in spans],
        [_json_id(span, "parentSpanId") for span in spans],
        [_text(span, "name") for span in spans],
        [_enum(span, "kind", _KIND_NAMES) for span in spans],
        [_number(span, "startTimeUnixNano") for span in spans],
        [_number(span, "endTimeUnixNano") for span in spans],
        [_json_attributes(span) for span in spans],
        [[_json_event(event) for event in _objects(span, "events")] for span in spans],
        [[_json_link(link) for link in _objects(span, "links")] for span in spans],
        [(_enum(one, "code", _STATUS_NAMES), _text(one, "message")) for one in statuses],
        [_text(span, "traceState") for span in spans],
    )


def _json_event(event: Any) -> Event:
    return Event(_number(event, "timeUnixNano"), _text(event, "name"), _json_attributes(event))


def _json_link(link: Any) -> Link:
    return Link(
        _json_id(link, "traceId"),
        _json_id(link, "spanId"),
        _text(link, "traceState"),
        _json_attributes(link),
    )


_KIND_NAMES = [
    f"SPAN_KIND_{name}"
    for name in ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
]
_STATUS_NAMES = [f"STATUS_CODE_{name}" for name in ("UNSET", "OK", "ERROR")]


def _value(parent: Any, name: str, kind: type[Any], empty: Any) -> Any:
    """A member of an object, or ``empty`` where it is absent or null. Raises ValueError."""
    if not isinstance(parent, dict):
        raise ValueError(f"expected an object with {name!r}, not {parent!r:.40}")
    value = parent.get(name)
    if value is None:
        return empty
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r:.40}, expected {kind.__name__}")
    return value


def _objects(parent: Any, name: str) -> list[Any]:
    values: list[Any] = _value(parent, name, list, [])
    return values


def _object(parent: Any, name: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = _value(parent, name, dict, {})
    return value


def _text(parent: Any, name: str) -> str:
    return str(_value(parent, name, str, ""))


def _json_id(parent: Any, name: str) -> bytes:
    return bytes.fromhex(_text(parent, name))


def _number(parent: Any, name: str) -> int:
    """A 64-bit number, which JSON has as text or number."""
    number = int(_value(parent, name, str | int, 0))  # type: ignore[arg-type]
    if not 0 <= number < 2**64:
        raise ValueError(f"{name} is {number}, expected 64 bits")
    return number


def _enum(parent: Any, name: str, names: list[str]) -> int:
    value = _value(parent, name, str | int, 0)  # type: ignore[arg-type]
    if isinstance(value, str):
        return names.index(value) if value in names else 0
    return int(value)


def _json_attributes(parent: Any) -> dict[str, str]:
    return {
        _text(attribute, "key"): as_text(_json_any_value(attribute.get("value")))
        for attribute in _objects(parent, "attributes")
    }


def _json_any_value(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    for name, part in value.items():
        match name:
            case "stringValue" | "bytesValue":
                return str(part)
            case "intValue":
                return int(part)
            case "boolValue" | "doubleValue":
                return part
            case "arrayValue":
                return [_json_any_value(v) for v in _objects(part, "values")]
            case "kvlistValue":
                return {
                    _text(v, "key"): _json_any_value(v.get("value"))
                    for v in _objects(part, "values")
                }
    return None
