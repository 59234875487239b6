"""Zipkin's v1 spans, JSON and thrift: read here, converted to v2 by :mod:`.zipkin_v1_convert`."""

from __future__ import annotations

import re

from ..signal import Malformed
from ..spans.addresses import format_ip
from ..spans.columns import SpanColumns
from ..spans.model import NOWHERE, BadSpan, Endpoint, Span
from .json_reader import JsonError, JsonReader, Token
from .thrift import BOOL, I16, I32, I64, LIST, STRING, STRUCT, ThriftError, ThriftReader
from .zipkin_json import malformed, read_endpoint
from .zipkin_v1_convert import ADDRESSES, V1Annotation, V1BinaryAnnotation, V1Span, convert

_LOW_HEX = re.compile(r"[0-9a-f]{1,32}")
_THRIFT_BOOL, _THRIFT_STRING = 0, 6


def decode_json(body: bytes) -> SpanColumns:
    """Columns of a JSON v1 list. Raises Malformed with Zipkin's own words."""
    return SpanColumns.of(read_json(body))


def decode_thrift(body: bytes) -> SpanColumns:
    """Columns of a thrift list of v1 spans. Raises Malformed with Zipkin's own words."""
    return SpanColumns.of(read_thrift(body))


def read_json(body: bytes) -> list[Span]:
    """Spans of a JSON v1 list."""
    reader = JsonReader(body)
    spans: list[Span] = []
    try:
        reader.begin_array()
        while reader.has_next():
            spans += convert(_json_span(reader))
        reader.end_array()
    except (JsonError, BadSpan) as error:
        raise malformed(error) from error
    return spans


def read_thrift(body: bytes) -> list[Span]:
    """Spans of a thrift list."""
    reader = ThriftReader(body)
    spans: list[Span] = []
    try:
        for _ in reader.elements():
            spans += convert(_thrift_span(reader))
    except (ThriftError, BadSpan) as error:
        raise Malformed(f"{error} reading List<Span> from TBinary") from error
    return spans


def _json_span(reader: JsonReader) -> V1Span:
    span = V1Span()
    reader.begin_object()
    while reader.has_next():
        name = reader.next_name()
        if name == "traceId":
            digits = reader.next_string()
            span.trace_id = _low_hex(digits)
            if len(digits) == 32:
                span.trace_id |= int(digits[:16], 16) << 64
        elif name == "id":
            span.id = _low_hex(reader.next_string())
        elif reader.peek() is Token.NULL:
            reader.skip_value()
        else:
            _json_field(reader, span, name)
    reader.end_object()
    return span


def _json_field(reader: JsonReader, span: V1Span, name: str) -> None:
    if name == "name":
        span.name = reader.next_string().lower()
    elif name == "parentId":
        span.parent_id = _low_hex(reader.next_string())
    elif name == "timestamp":
        span.timestamp = reader.next_long()
    elif name == "duration":
        span.duration = reader.next_long()
    elif name == "annotations":
        reader.begin_array()
        while reader.has_next():
            span.annotations.append(_json_annotation(reader))
        reader.end_array()
    elif name == "binaryAnnotations":
        reader.begin_array()
        while reader.has_next():
            span.binary_annotations += _json_binary_annotation(reader)
        reader.end_array()
    elif name == "debug":
        span.debug |= reader.next_boolean()
    else:
        reader.skip_value()


def _low_hex(digits: str) -> int:
    """The low 64 bits of up to 32 hex digits."""
    if not _LOW_HEX.fullmatch(digits):
        raise BadSpan(f"{digits} should be a 1 to 32 character lower-hex string with no prefix")
    return int(digits[-16:], 16)


def _json_annotation(reader: JsonReader) -> V1Annotation:
    timestamp: int | None = None
    value: str | None = None
    endpoint = NOWHERE
    reader.begin_object()
    while reader.has_next():
        name = reader.next_name()
        if name == "timestamp":
            timestamp = reader.next_long()
        elif name == "value":
            value = reader.next_string()
        elif name == "endpoint" and reader.peek() is not Token.NULL:
            endpoint = read_endpoint(reader)
        else:
            reader.skip_value()
    if timestamp is None or value is None:
        raise BadSpan(f"Incomplete annotation at {reader.path()}")
    reader.end_object()
    return V1Annotation(timestamp, value, endpoint)


def _json_binary_annotation(reader: JsonReader) -> list[V1BinaryAnnotation]:
    key: str | None = None
    text: str | None = None
    truth = False
    endpoint = NOWHERE
    reader.begin_object()
    while reader.has_next():
        name = reader.next_name()
        token = reader.peek()
        if token is Token.NULL:
            reader.skip_value()
        elif name == "key":
            key = reader.next_string()
        elif name == "value" and token is Token.STRING:
            text = reader.next_string()
        elif name == "value" and token is Token.BOOLEAN:
            truth = reader.next_boolean()
        elif name == "endpoint":
            endpoint = read_endpoint(reader)
        else:
            reader.skip_value()
    if key is None:
        raise BadSpan(f"No key at {reader.path()}")
    reader.end_object()
    return _binary_annotation(key, text, truth, endpoint)


def _binary_annotation(
    key: str, text: str | None, truth: bool, endpoint: Endpoint
) -> list[V1BinaryAnnotation]:
    """A tag, an address, or nothing for what v2 has no place for."""
    if text is not None:
        return [V1BinaryAnnotation(key, text, endpoint)]
    if truth and key in ADDRESSES and endpoint != NOWHERE:
        return [V1BinaryAnnotation(key, None, endpoint)]
    return []


def _thrift_span(reader: ThriftReader) -> V1Span:
    span = V1Span()
    high = 0
    for field in reader.fields():
        if field == (I64, 1):
            span.trace_id = reader.i64() % 2**64
        elif field == (STRING, 3):
            span.name = reader.text().lower()
        elif field == (I64, 4):
            span.id = reader.i64() % 2**64
        elif field == (I64, 5):
            span.parent_id = reader.i64() % 2**64
        elif field == (LIST, 6):
            for _ in reader.elements():
                span.annotations += _thrift_annotation(reader)
        elif field == (LIST, 8):
            for _ in reader.elements():
                span.binary_annotations += _thrift_binary_annotation(reader)
        elif field == (BOOL, 9):
            span.debug = reader.boolean()
        elif field == (I64, 10):
            span.timestamp = reader.i64()
        elif field == (I64, 11):
            span.duration = reader.i64()
        elif field == (I64, 12):
            high = reader.i64() % 2**64
        else:
            reader.skip(field[0])
    span.trace_id |= high << 64
    return span


def _thrift_annotation(reader: ThriftReader) -> list[V1Annotation]:
    """The annotation, or nothing where it lacks its time or value."""
    timestamp = 0
    value: str | None = None
    endpoint = NOWHERE
    for field in reader.fields():
        if field == (I64, 1):
            timestamp = reader.i64()
        elif field == (STRING, 2):
            value = reader.text()
        elif field == (STRUCT, 3):
            endpoint = _thrift_endpoint(reader)
        else:
            reader.skip(field[0])
    return [V1Annotation(timestamp, value, endpoint)] if timestamp and value is not None else []


def _thrift_binary_annotation(reader: ThriftReader) -> list[V1BinaryAnnotation]:
    key = value = None
    kind = -1
    endpoint = NOWHERE
    for field in reader.fields():
        if field == (STRING, 1):
            key = reader.text()
        elif field == (STRING, 2):
            value = reader.text()
        elif field == (I32, 3):
            kind = reader.i32()
        elif field == (STRUCT, 4):
            endpoint = _thrift_endpoint(reader)
        else:
            reader.skip(field[0])
    if key is None or value is None:
        return []
    text = value if kind == _THRIFT_STRING else None
    return _binary_annotation(key, text, kind == _THRIFT_BOOL and value == "\x01", endpoint)


def _thrift_endpoint(reader: ThriftReader) -> Endpoint:
    endpoint = NOWHERE
    for field in reader.fields():
        if field == (I32, 1):
            packed = (reader.i32() % 2**32).to_bytes(4)
            ipv4 = format_ip(packed)[0] if any(packed) else ""
            endpoint = endpoint._replace(ipv4=ipv4)
        elif field == (I16, 2):
            endpoint = endpoint._replace(port=reader.i16() % 2**16)
        elif field == (STRING, 3):
            endpoint = endpoint._replace(service=reader.text().lower())
        elif field == (STRING, 4):
            ipv4, ipv6 = format_ip(reader.binary())
            endpoint = endpoint._replace(ipv4=ipv4 or endpoint.ipv4, ipv6=ipv6 or endpoint.ipv6)
        else:
            reader.skip(field[0])
    return endpoint
