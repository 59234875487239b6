"""Zipkin's JSON v2 list of spans: a typed fast decoder, and the exact rules where it gives up."""

from __future__ import annotations

import re

import msgspec

from ..signal import Malformed
from ..spans.columns import SpanColumns
from ..spans.fast import FastSpan, Irregular, LooseSpan, columns_of
from ..spans.model import (
    KIND_CODES,
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
from .json_reader import JsonError, JsonReader, Token

#: Of an error text, which may hold what the sender wrote.
_TEXT_MOST = 1000

_fast = msgspec.json.Decoder(list[FastSpan])
_loose = msgspec.json.Decoder(list[LooseSpan])
#: What the typed decoders raise; ill-formed UTF-8 in some strings is no DecodeError to them.
_NOT_FAST = (msgspec.DecodeError, UnicodeDecodeError, Irregular, RecursionError)
_MINUS_ZERO = re.compile(rb":\s*-0\s*[,}]")


def decode(body: bytes) -> SpanColumns:
    """Columns of a JSON v2 list. Raises Malformed with Zipkin's own words."""
    try:
        return columns_of(_fast.decode(body))
    except _NOT_FAST:
        pass
    try:
        return columns_of(_loosely(body))
    except _NOT_FAST:
        return SpanColumns.of(read_spans(body))


def _loosely(body: bytes) -> list[LooseSpan]:
    if _MINUS_ZERO.search(body):  # the one number whose text is not that of its value
        raise Irregular
    spans = _loose.decode(body)
    for span in spans:
        span.tighten()
    return spans


def read_spans(body: bytes) -> list[Span]:
    """Spans of a JSON v2 list, by Zipkin's rules to the letter."""
    reader = JsonReader(body)
    spans: list[Span] = []
    try:
        reader.begin_array()
        while reader.has_next():
            spans.append(_SpanReader(reader).read())
        reader.end_array()
    except (JsonError, BadSpan) as error:
        raise malformed(error) from error
    return spans


def malformed(error: Exception) -> Malformed:
    """The error as Zipkin words it."""
    text = str(error)
    if "Expected BEGIN_" in text or "malformed" in text:
        text = "Malformed"
    return Malformed(f"{text[:_TEXT_MOST]} reading List<Span> from json")


def read_endpoint(reader: JsonReader) -> Endpoint:
    """An endpoint object; unreadable addresses are left out."""
    endpoint = NOWHERE
    reader.begin_object()
    while reader.has_next():
        name = reader.next_name()
        if reader.peek() is Token.NULL:
            reader.skip_value()
        elif name == "serviceName":
            endpoint = endpoint._replace(service=reader.next_string().lower())
        elif name in ("ipv4", "ipv6"):
            endpoint = endpoint.with_ip(reader.next_string())
        elif name == "port":
            endpoint = endpoint._replace(port=make_port(reader.next_int()))
        else:
            reader.skip_value()
    reader.end_object()
    return endpoint


class _SpanReader:
    """One span object. Fields are read in the order they come, as errors are reported in it."""

    def __init__(self, reader: JsonReader) -> None:
        self._reader = reader
        self._trace_id = ""
        self._id = ""
        self._parent_id = ""
        self._kind = ""
        self._name = ""
        self._timestamp = 0
        self._duration = 0
        self._local = NOWHERE
        self._remote = NOWHERE
        self._annotations: list[tuple[int, str]] = []
        self._tags: dict[str, str] = {}
        self._debug = False
        self._shared = False

    def read(self) -> Span:
        reader = self._reader
        reader.begin_object()
        while reader.has_next():
            name = reader.next_name()
            if name == "traceId":
                self._trace_id = normalize_trace_id(reader.next_string())
            elif name == "id":
                self._id = normalize_id(reader.next_string())
            elif reader.peek() is Token.NULL:
                reader.skip_value()
            else:
                self._field(name)
        reader.end_object()
        return self._build()

    def _build(self) -> Span:
        missing = [n for n, v in (("traceId", self._trace_id), ("id", self._id)) if not v]
        if missing:
            raise BadSpan(f"Missing : {' '.join(missing)}")
        return make_span(
            self._trace_id,
            self._id,
            parent_id=self._parent_id,
            kind=self._kind,
            name=self._name,
            timestamp=self._timestamp,
            duration=self._duration,
            local=self._local,
            remote=self._remote,
            annotations=self._annotations,
            tags=self._tags,
            debug=self._debug,
            shared=self._shared,
        )

    def _field(self, name: str) -> None:
        reader = self._reader
        if name == "parentId":
            self._parent_id = normalize_parent_id(reader.next_string())
        elif name == "kind":
            self._kind = _kind(reader.next_string())
        elif name == "name":
            self._name = reader.next_string()
        elif name == "timestamp":
            self._timestamp = reader.next_long()
        elif name == "duration":
            self._duration = reader.next_long()
        elif name == "localEndpoint":
            self._local = read_endpoint(reader)
        elif name == "remoteEndpoint":
            self._remote = read_endpoint(reader)
        elif name == "annotations":
            self._read_annotations()
        elif name == "tags":
            self._read_tags()
        elif name == "debug":
            self._debug |= reader.next_boolean()
        elif name == "shared":
            self._shared |= reader.next_boolean()
        else:
            reader.skip_value()

    def _read_annotations(self) -> None:
        self._reader.begin_array()
        while self._reader.has_next():
            self._annotations.append(self._annotation())
        self._reader.end_array()

    def _annotation(self) -> tuple[int, str]:
        reader = self._reader
        timestamp: int | None = None
        value: str | None = None
        reader.begin_object()
        while reader.has_next():
            name = reader.next_name()
            if name == "timestamp":
                timestamp = reader.next_long()
            elif name == "value":
                value = reader.next_string()
            else:
                reader.skip_value()
        if timestamp is None or value is None:
            raise BadSpan(f"Incomplete annotation at {reader.path()}")
        reader.end_object()
        return timestamp, value

    def _read_tags(self) -> None:
        reader = self._reader
        reader.begin_object()
        while reader.has_next():
            key = reader.next_name()
            if reader.peek() is Token.NULL:
                raise BadSpan(f"No value at {reader.path()}")
            self._tags[key] = reader.next_string()
        reader.end_object()


def _kind(name: str) -> str:
    if name not in KIND_CODES:
        raise BadSpan(f"No enum constant zipkin2.Span.Kind.{name}")
    return name
