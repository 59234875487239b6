"""Zipkin's protobuf ListOfSpans (zipkin.proto of zipkin-api)."""

from __future__ import annotations

from typing import Any

from ..signal import Malformed
from ..spans.addresses import format_ip
from ..spans.columns import SpanColumns
from ..spans.model import (
    KINDS,
    NOWHERE,
    BadSpan,
    Endpoint,
    Span,
    make_port,
    make_span,
    normalize_id,
    normalize_parent_id,
    normalize_trace_id,
)
from .wire import DELIMITED, FIXED64, VARINT, WireError, WireReader


def decode(body: bytes) -> SpanColumns:
    """Columns of a ListOfSpans. Raises Malformed with Zipkin's own words."""
    return SpanColumns.of(read_spans(body))


def read_spans(body: bytes) -> list[Span]:
    """The spans of a ListOfSpans; fields that are not known are passed over."""
    reader = WireReader(body)
    spans: list[Span] = []
    try:
        while reader.more():
            reader.varint32()  # there is but one field
            length = reader.length()
            if length:
                spans.append(_span(reader, length))
    except (WireError, BadSpan) as error:
        text = str(error)
        raise Malformed(
            f"{'Malformed' if 'Malformed' in text else text} reading List<Span> from proto3"
        ) from error
    return spans


def _key(field: int, kind: int) -> int:
    return field << 3 | kind


_TRACE_ID = _key(1, DELIMITED)
_PARENT_ID = _key(2, DELIMITED)
_ID = _key(3, DELIMITED)
_KIND = _key(4, VARINT)
_NAME = _key(5, DELIMITED)
_TIMESTAMP = _key(6, FIXED64)
_DURATION = _key(7, VARINT)
_LOCAL = _key(8, DELIMITED)
_REMOTE = _key(9, DELIMITED)
_ANNOTATION = _key(10, DELIMITED)
_TAG = _key(11, DELIMITED)
_DEBUG = _key(12, VARINT)
_SHARED = _key(13, VARINT)


def _span(reader: WireReader, length: int) -> Span:
    fields: dict[str, Any] = {}
    annotations: list[tuple[int, str]] = []
    tags: dict[str, str] = {}
    for key in reader.fields(length):
        if key == _TRACE_ID:
            fields["trace_id"] = normalize_trace_id(_hex(reader, "traceId"))
        elif key == _ID:
            fields["id"] = normalize_id(_hex(reader, "id"))
        elif key == _PARENT_ID:
            digits = reader.delimited().hex()
            fields["parent_id"] = normalize_parent_id(digits) if digits else ""
        elif key == _KIND:
            kind = reader.varint32()
            if 0 < kind < len(KINDS):
                fields["kind"] = KINDS[kind]
        elif key == _NAME:
            fields["name"] = reader.text()
        elif key == _TIMESTAMP:
            fields["timestamp"] = reader.fixed64()
        elif key == _DURATION:
            fields["duration"] = reader.varint64()
        elif key == _LOCAL:
            fields["local"] = _endpoint(reader)
        elif key == _REMOTE:
            fields["remote"] = _endpoint(reader)
        elif key == _ANNOTATION:
            annotations += _annotation(reader)
        elif key == _TAG:
            tags |= _tag(reader)
        elif key == _DEBUG:
            fields["debug"] = reader.boolean() or fields.get("debug", False)
        elif key == _SHARED:
            fields["shared"] = reader.boolean() or fields.get("shared", False)
        else:
            reader.skip(key)
    missing = [n for f, n in (("trace_id", "traceId"), ("id", "id")) if f not in fields]
    if missing:
        raise BadSpan(f"Missing : {' '.join(missing)}")
    return make_span(**fields, annotations=annotations, tags=tags)


def _hex(reader: WireReader, field: str) -> str:
    digits = reader.delimited().hex()
    if not digits:
        raise BadSpan(f"{field} == null")
    return digits


def _endpoint(reader: WireReader) -> Endpoint:
    endpoint = NOWHERE
    for key in reader.fields(reader.length()):
        if key == _key(1, DELIMITED):
            endpoint = endpoint._replace(service=reader.text().lower())
        elif key in (_key(2, DELIMITED), _key(3, DELIMITED)):
            ipv4, ipv6 = format_ip(reader.delimited())
            endpoint = endpoint._replace(ipv4=ipv4 or endpoint.ipv4, ipv6=ipv6 or endpoint.ipv6)
        elif key == _key(4, VARINT):
            endpoint = endpoint._replace(port=make_port(reader.varint32()))
        else:
            reader.skip(key)
    return endpoint


def _annotation(reader: WireReader) -> list[tuple[int, str]]:
    """The annotation, or nothing where it lacks its time or value."""
    timestamp = 0
    value = ""
    for key in reader.fields(reader.length()):
        if key == _key(1, FIXED64):
            timestamp = reader.fixed64()
        elif key == _key(2, DELIMITED):
            value = reader.text()
        else:
            reader.skip(key)
    return [(timestamp, value)] if timestamp and value else []


def _tag(reader: WireReader) -> dict[str, str]:
    """The tag, or nothing where it has no key. Its value may be empty."""
    name = value = ""
    for key in reader.fields(reader.length()):
        if key == _key(1, DELIMITED):
            name = reader.text()
        elif key == _key(2, DELIMITED):
            value = reader.text()
        else:
            reader.skip(key)
    return {name: value} if name else {}
