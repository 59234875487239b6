"""Jaeger's thrift batches (jaeger.thrift of jaeger-idl), as its HTTP senders post them."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from ..signal import Malformed
from ..spans.addresses import parse_ip
from ..spans.columns import SpanColumns
from ..spans.model import KIND_CODES, NOWHERE, Endpoint, Span, make_span
from .otlp_traces import as_text
from .thrift import BOOL, DOUBLE, I32, I64, LIST, STRING, STRUCT, ThriftError, ThriftReader

_DEBUG = 2
_CHILD_OF = 0
_PEER_TAGS = ("peer.service", "peer.ipv4", "peer.ipv6", "peer.address", "peer.port")


def decode(body: bytes) -> SpanColumns:
    """Columns of a Batch. Raises Malformed."""
    try:
        return SpanColumns.of(read_batch(body))
    except ThriftError as error:
        raise Malformed(
            f"the body is no Jaeger batch in thrift's binary protocol: {error}"
        ) from error


def read_batch(body: bytes) -> list[Span]:
    """The spans of a Batch. Raises ThriftError, and Malformed for spans without ids."""
    reader = ThriftReader(body)
    service = ""
    process_tags: dict[str, Any] = {}
    raw: list[dict[str, Any]] = []
    for field in reader.fields():
        if field == (STRUCT, 1):
            service, process_tags = _process(reader)
        elif field == (LIST, 2):
            raw += (_span(reader) for _ in reader.elements())
        else:
            reader.skip(field[0])
    return [_convert(span, service, process_tags) for span in raw]


def _process(reader: ThriftReader) -> tuple[str, dict[str, Any]]:
    service = ""
    tags: dict[str, Any] = {}
    for field in reader.fields():
        if field == (STRING, 1):
            service = reader.text()
        elif field == (LIST, 2):
            tags = _tags(reader)
        else:
            reader.skip(field[0])
    return service, tags


_SPAN_NUMBERS = {
    (I64, 1): "low",
    (I64, 2): "high",
    (I64, 3): "id",
    (I64, 4): "parent",
    (I64, 8): "start",
    (I64, 9): "duration",
}


def _span(reader: ThriftReader) -> dict[str, Any]:
    span: dict[str, Any] = {"tags": {}, "logs": [], "references": []}
    for field in reader.fields():
        if field in _SPAN_NUMBERS:
            span[_SPAN_NUMBERS[field]] = reader.i64()
        elif field == (STRING, 5):
            span["name"] = reader.text()
        elif field == (LIST, 6):
            span["references"] = [_reference(reader) for _ in reader.elements()]
        elif field == (I32, 7):
            span["flags"] = reader.i32()
        elif field == (LIST, 10):
            span["tags"] = _tags(reader)
        elif field == (LIST, 11):
            span["logs"] = [_log(reader) for _ in reader.elements()]
        else:
            reader.skip(field[0])
    return span


def _reference(reader: ThriftReader) -> tuple[int, int, int, int]:
    """(type, trace id low, trace id high, span id)."""
    values = [0, 0, 0, 0]
    for kind, id in reader.fields():
        if (kind, id) == (I32, 1):
            values[0] = reader.i32()
        elif kind == I64 and id in (2, 3, 4):
            values[id - 1] = reader.i64()
        else:
            reader.skip(kind)
    return values[0], values[1], values[2], values[3]


def _log(reader: ThriftReader) -> tuple[int, dict[str, Any]]:
    timestamp = 0
    fields: dict[str, Any] = {}
    for field in reader.fields():
        if field == (I64, 1):
            timestamp = reader.i64()
        elif field == (LIST, 2):
            fields = _tags(reader)
        else:
            reader.skip(field[0])
    return timestamp, fields


def _tags(reader: ThriftReader) -> dict[str, Any]:
    return dict(_tag(reader) for _ in reader.elements())


def _tag(reader: ThriftReader) -> tuple[str, Any]:
    key = ""
    value: Any = ""
    for field in reader.fields():
        if field == (STRING, 1):
            key = reader.text()
        elif field == (STRING, 3):
            value = reader.text()
        elif field == (DOUBLE, 4):
            value = reader.double()
        elif field == (BOOL, 5):
            value = reader.boolean()
        elif field == (I64, 6):
            value = reader.i64()
        elif field == (STRING, 7):
            value = base64.b64encode(reader.binary()).decode()
        else:
            reader.skip(field[0])
    return key, value


def _convert(raw: dict[str, Any], service: str, process_tags: dict[str, Any]) -> Span:
    low, high, id = (_unsigned(raw.get(name, 0)) for name in ("low", "high", "id"))
    if not (low or high) or not id:
        raise Malformed("a span of the batch has no trace id or no span id")
    tags = {**process_tags, **raw["tags"]}
    kind = str(tags.get("span.kind", "")).upper()
    if kind in KIND_CODES:
        del tags["span.kind"]
    if tags.get("error") is False:
        del tags["error"]  # in Zipkin the key alone says error
    remote = _remote(tags)
    tags |= {f"jaeger.link.{n}": link for n, link in enumerate(_links(raw, low, high))}
    return make_span(
        f"{high:016x}{low:016x}" if high else f"{low:016x}",
        f"{id:016x}",
        parent_id=_parent(raw, low, high),
        kind=kind if kind in KIND_CODES else "",
        name=raw.get("name", ""),
        timestamp=raw.get("start", 0),
        duration=raw.get("duration", 0),
        local=_local(service, process_tags),
        remote=remote,
        annotations=[(timestamp, _log_text(fields)) for timestamp, fields in raw["logs"]],
        tags={key: as_text(value) for key, value in tags.items()},
        debug=bool(raw.get("flags", 0) & _DEBUG),
    )


def _unsigned(value: int) -> int:
    return value % 2**64


def _parent(raw: dict[str, Any], low: int, high: int) -> str:
    """The parent given, else the first span of this trace that it is said to be a child of."""
    parent = _unsigned(raw.get("parent", 0))
    if not parent:
        for kind, ref_low, ref_high, ref_id in raw["references"]:
            if kind == _CHILD_OF and (_unsigned(ref_low), _unsigned(ref_high)) == (low, high):
                parent = _unsigned(ref_id)
                break
    return f"{parent:016x}" if parent else ""


def _links(raw: dict[str, Any], low: int, high: int) -> list[str]:
    """References that are not the parent, as text."""
    return [
        f"{'child_of' if kind == _CHILD_OF else 'follows_from'}|"
        f"{_unsigned(ref_high):016x}{_unsigned(ref_low):016x}|{_unsigned(ref_id):016x}"
        for kind, ref_low, ref_high, ref_id in raw["references"]
        if kind != _CHILD_OF or (_unsigned(ref_low), _unsigned(ref_high)) != (low, high)
    ]


def _local(service: str, process_tags: dict[str, Any]) -> Endpoint:
    return Endpoint(service.lower()).with_ip(str(process_tags.get("ip", "")))


def _remote(tags: dict[str, Any]) -> Endpoint:
    """The peer that the tags name; they stay tags where they say more than an endpoint can."""
    endpoint = NOWHERE
    for key in _PEER_TAGS:
        if key not in tags:
            continue
        text = as_text(tags[key])
        if key == "peer.service":
            endpoint = endpoint._replace(service=text.lower())
        elif key == "peer.port":
            port = int(text) if text.isdecimal() else 0
            endpoint = endpoint._replace(port=port if port <= 0xFFFF else 0)
        elif isinstance(tags[key], int):  # older clients pack an IPv4 address into a number
            packed = _unsigned(tags[key]) & 0xFFFFFFFF
            endpoint = endpoint.with_ip(".".join(map(str, packed.to_bytes(4))))
        elif any(parse_ip(text)):
            endpoint = endpoint.with_ip(text)
    return endpoint


def _log_text(fields: dict[str, Any]) -> str:
    """A log's event or message if that is all it has, else all its fields as JSON."""
    if len(fields) == 1:
        ((name, value),) = fields.items()
        if name in ("event", "message"):
            return as_text(value)
    return orjson.dumps({key: as_text(value) for key, value in fields.items()}).decode()
