"""Spans as Zipkin's protobuf ``ListOfSpans`` (zipkin.proto of openzipkin/zipkin-api).

The messages are declared here, in the terms of protobuf's own descriptors, rather than in
generated code that would tie the package to one version of protobuf.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from typing import Any

from ._text import clean
from .records import SpanRecord
from .zipkin_json import Endpoint, ZipkinEncoder, ZipkinSpan

CONTENT_TYPE = "application/x-protobuf"

_KINDS = {None: 0, "CLIENT": 1, "SERVER": 2, "PRODUCER": 3, "CONSUMER": 4}

# Type numbers of google.protobuf.FieldDescriptorProto.
_INT32, _UINT64, _FIXED64, _BOOL, _STRING, _MESSAGE, _BYTES = 5, 4, 6, 8, 9, 11, 12

_Fields = list[tuple[str, int, Any]]

_ENDPOINT: _Fields = [
    ("service_name", 1, _STRING),
    ("ipv4", 2, _BYTES),
    ("ipv6", 3, _BYTES),
    ("port", 4, _INT32),
]
_ANNOTATION: _Fields = [("timestamp", 1, _FIXED64), ("value", 2, _STRING)]
_TAG: _Fields = [("key", 1, _STRING), ("value", 2, _STRING)]
_SPAN: _Fields = [
    ("trace_id", 1, _BYTES),
    ("parent_id", 2, _BYTES),
    ("id", 3, _BYTES),
    ("kind", 4, _INT32),  # an enum, whose wire form is this
    ("name", 5, _STRING),
    ("timestamp", 6, _FIXED64),
    ("duration", 7, _UINT64),
    ("local_endpoint", 8, "Endpoint"),
    ("remote_endpoint", 9, "Endpoint"),
    ("annotations", 10, ["Annotation"]),
    ("tags", 11, ["Tag"]),  # a map, whose wire form is this
    ("debug", 12, _BOOL),
    ("shared", 13, _BOOL),
]
_MESSAGES: dict[str, _Fields] = {
    "Endpoint": _ENDPOINT,
    "Annotation": _ANNOTATION,
    "Tag": _TAG,
    "Span": _SPAN,
    "ListOfSpans": [("spans", 1, ["Span"])],
}


@functools.cache
def list_of_spans() -> Any:
    """The message class ``zipkin.proto3.ListOfSpans``. ImportError without protobuf."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="lookout/zipkin.proto", package="zipkin.proto3", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for label, number, kind in fields:
            _declare(message.field.add(name=label, number=number, label=1), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("zipkin.proto3.ListOfSpans"))


def _declare(field: Any, kind: Any) -> None:
    if isinstance(kind, list):
        field.label = 3  # repeated
        kind = kind[0]
    if isinstance(kind, str):
        field.type = _MESSAGE
        field.type_name = f".zipkin.proto3.{kind}"
    else:
        field.type = kind


class ZipkinProtobufEncoder:
    """Turns span records into a serialized ``ListOfSpans``."""

    def __init__(self) -> None:
        self._model = ZipkinEncoder()
        self._make = list_of_spans()

    def encode(self, records: Sequence[SpanRecord]) -> bytes:
        """The message with all records."""
        message = self._make()
        for model in self._model.spans(records):
            self._add(message.spans, model)
        return bytes(message.SerializeToString())

    def _add(self, spans: Any, model: ZipkinSpan) -> None:
        span = spans.add(
            trace_id=bytes.fromhex(model.trace_id),
            id=bytes.fromhex(model.id),
            parent_id=bytes.fromhex(model.parent_id or ""),
            kind=_KINDS[model.kind],
            name=clean(model.name),
            timestamp=_bounded(model.timestamp),
            duration=_bounded(model.duration),
            debug=model.debug,
            shared=model.shared,
        )
        _fill_endpoint(span.local_endpoint, model.local_endpoint)
        if model.remote_endpoint is not None:
            _fill_endpoint(span.remote_endpoint, model.remote_endpoint)
        for annotation in model.annotations or ():
            span.annotations.add(
                timestamp=_bounded(annotation.timestamp), value=clean(annotation.value)
            )
        for key, value in (model.tags or {}).items():
            span.tags.add(key=clean(str(key)), value=clean(value))


def _bounded(number: int) -> int:
    """What fits an unsigned field of 64 bits: the number or the bound nearest to it."""
    return min(max(0, number), 2**64 - 1)


def _fill_endpoint(target: Any, endpoint: Endpoint | None) -> None:
    if endpoint is None:
        return
    target.SetInParent()
    target.service_name = clean(endpoint.service_name or "")
    target.ipv4 = _packed(endpoint.ipv4)
    target.ipv6 = _packed(endpoint.ipv6)
    target.port = endpoint.port


def _packed(address: str | None) -> bytes:
    try:
        return ipaddress.ip_address(address or "").packed
    except ValueError:
        return b""
