"""What a Kafka message holds: told by its topic's encoding, or from its first bytes.

The rules for spans are those of Zipkin's Kafka transport: a list in JSON (v2 or v1), proto3 or
thrift, or the one thrift struct of old clients.
Source: KafkaCollectorWorker and SpanBytesDecoderDetector of https://github.com/openzipkin/zipkin.
Encodings are named as OpenTelemetry's Kafka exporter and receiver name them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ..signal import Malformed

#: Name of the format for the decoders, and the body for it. Raises Malformed.
Detect = Callable[[bytes], tuple[str, bytes]]

_THRIFT_STRUCT = 0x0C
_THRIFT_MAX_TYPE = 16
_LIST_OF_ONE = b"\x0c\x00\x00\x00\x01"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic to read."""

    name: str
    signal: str  # "spans" or "metrics"
    detect: Detect


def span_format(body: bytes) -> tuple[str, bytes]:
    """The format of a message of spans in one of Zipkin's encodings, or OTLP's JSON."""
    if len(body) < 2:
        raise Malformed(f"expected a list of spans, got a message of {len(body)} bytes")
    first = body[0]
    if first == ord("["):
        return ("zipkin.v1.json" if _is_version_1(body) else "zipkin.v2.json"), body
    if first == ord("{"):
        return _json_object(body)
    if first == 0x0A and body[1] != 0:  # field 1 with a length; thrift has the id's 0 there
        return "zipkin.v2.proto3", body
    if first == _THRIFT_STRUCT:
        return "zipkin.v1.thrift", body
    if first <= _THRIFT_MAX_TYPE:  # one struct, which begins with the type of a field
        return "zipkin.v1.thrift", _LIST_OF_ONE + body
    raise Malformed(f"expected spans in JSON, proto3 or thrift, got a first byte of {first:#04x}")


def _is_version_1(body: bytes) -> bool:
    if b'Endpoint"' in body or b'"tags"' in body:
        return False
    return b'yAnnotations"' in body or b'"endpoint"' in body


def _json_object(body: bytes) -> tuple[str, bytes]:
    if b'"resourceSpans"' in body:
        return "otlp.traces.json", body
    return span_format(b"[" + body + b"]")  # a span that is in no list


def metric_format(body: bytes) -> tuple[str, bytes]:
    """The format of a message of OTLP metrics."""
    if not body:
        raise Malformed("expected OTLP metrics, got an empty message")
    return ("otlp_json" if body.lstrip()[:1] == b"{" else "otlp_protobuf"), body


def _always(fmt: str) -> Detect:
    return lambda body: (fmt, body)


ENCODINGS: Final[Mapping[str, Mapping[str, Detect]]] = {
    "spans": {
        "zipkin": span_format,
        "otlp_proto": _always("otlp.traces.protobuf"),
        "otlp_json": _always("otlp.traces.json"),
        "jaeger_thrift": _always("jaeger.thrift"),
    },
    "metrics": {
        "otlp": metric_format,
        "otlp_proto": _always("otlp_protobuf"),
        "otlp_json": _always("otlp_json"),
        "remote_write": _always("remote_write"),
    },
}


def parse_topic(text: str, signal: str) -> Topic:
    """A topic of ``NAME`` or ``NAME:ENCODING``. Raises ValueError for an unknown encoding."""
    name, _, encoding = text.partition(":")
    known = ENCODINGS[signal]
    encoding = encoding or next(iter(known))
    if not name or encoding not in known:
        raise ValueError(
            f"{text!r} is no topic of {signal}; expected TOPIC or TOPIC:ENCODING "
            f"with an encoding of {', '.join(known)}"
        )
    return Topic(name, signal, known[encoding])
