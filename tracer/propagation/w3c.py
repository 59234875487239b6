"""W3C Trace Context (level 2) and W3C Baggage.

https://www.w3.org/TR/trace-context-2/ and https://www.w3.org/TR/baggage/
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from exporters.records import SAMPLED

from ..baggage import MAX_BYTES, MAX_MEMBERS, Baggage
from ..span_context import RANDOM, SpanContext, remote
from . import carriers
from .carriers import Headers
from .source import Source

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"

_MAX_STATE_MEMBERS = 32
_OWS = " \t"
_from_bytes = int.from_bytes
_READ_FLAGS = {f"{flags:02x}": flags for flags in range(256)}

_VERSION_00 = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
# A version above 00 may have more after another hyphen; ff is invalid.
_LATER = re.compile(
    r"(?!00|ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.DOTALL
).fullmatch
# Level 2 allows "@" anywhere after the first character and 256 characters in all.
_STATE_MEMBER = re.compile(
    r"[a-z0-9][_0-9a-z\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_STATE = re.compile(rf"{_STATE_MEMBER.pattern}(?:,{_STATE_MEMBER.pattern}){{0,31}}")
# RFC 7230 token; section 3.2.1 of W3C Baggage.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def parse_traceparent(value: str) -> tuple[int, int, int] | None:
    """(trace id, parent id, flags) of a traceparent, None when it is not valid."""
    try:
        version, trace, span, flags = value.split("-")
        if version != "00" or len(trace) != 32 or len(span) != 16 or len(flags) != 2:
            raise ValueError(version)
    except ValueError:  # surrounded by spaces, of a later version, or malformed
        value = value.strip(_OWS)
        if not _VERSION_00(value) and not _LATER(value):
            return None
        version, trace, span, flags, *_ = value.split("-", 4)
    try:  # unhexlify refuses all but hex digits, of which upper-case ones are left to refuse
        trace_id = _from_bytes(unhexlify(trace), "big")
        span_id = _from_bytes(unhexlify(span), "big")
        read_flags = _READ_FLAGS[flags]
    except (ValueError, KeyError):
        return None
    if not trace_id or not span_id or trace != trace.lower() or span != span.lower():
        return None
    return trace_id, span_id, read_flags


def parse_tracestate(headers: list[str]) -> str:
    """The headers joined into one, without spaces around members; empty when one is malformed."""
    members = [
        member for header in headers for part in header.split(",") if (member := part.strip(_OWS))
    ]
    if len(members) > _MAX_STATE_MEMBERS:
        return ""
    # A leading space belongs to a value, so members are stripped only outside ``key=value``.
    return ",".join(members) if all(map(_STATE_MEMBER.fullmatch, members)) else ""


def parse_baggage(headers: list[str]) -> Baggage | None:
    """The items of baggage headers. Malformed members are left out; the limits cut the rest."""
    items: dict[str, str] = {}
    properties: dict[str, str] = {}
    room = MAX_BYTES
    for header in headers:
        for member in header.split(","):
            room -= len(member) + 1
            if room < -1 or len(items) >= MAX_MEMBERS:
                break
            pair, _, metadata = member.partition(";")
            key, equals, value = pair.partition("=")
            key = key.strip(_OWS)
            if not equals or not _TOKEN.fullmatch(key):
                continue
            items[key] = unquote(value.strip(_OWS), errors="replace")
            properties.pop(key, None)
            if metadata := metadata.strip(_OWS):
                properties[key] = metadata
    return Baggage(items, properties=properties) if items else None


def format_baggage(baggage: Baggage) -> str:
    """The header of a Baggage's application items, within the limits."""
    members: list[str] = []
    size = 0
    for key, value in baggage.biz.items():
        if not _TOKEN.fullmatch(key):
            continue  # a key that no header can hold
        member = f"{key}={quote(value, safe=_BAGGAGE_SAFE, errors='replace')}"
        if key in baggage.properties:
            member += f";{baggage.properties[key]}"
        size += len(member) + 1
        if size - 1 > MAX_BYTES or len(members) >= MAX_MEMBERS:
            break
        members.append(member)
    return ",".join(members)


# baggage-octet: printable ASCII without space, quote, comma, semicolon, backslash; "%" escapes.
_BAGGAGE_SAFE = "!#$&'()*+-./:<=>?@[]^_`{|}~"


def extract(carrier: Any) -> SpanContext | None:
    """The context of ``traceparent`` and ``tracestate``; None when absent or invalid.

    Exactly one traceparent counts: with two nothing is trusted.
    """
    return read(carriers.headers(carrier))


def read(headers: Headers) -> SpanContext | None:
    """:func:`extract` of headers that were sorted out already."""
    header = headers.get(TRACEPARENT)
    if header is None:
        return None
    if type(header) is not str:
        found = carriers.values(headers, TRACEPARENT)
        if len(found) != 1:
            return None
        header = found[0]
    parsed = parse_traceparent(header)
    if parsed is None:
        return None
    trace_id, span_id, flags = parsed
    context = remote(trace_id, span_id, flags & 1 == 1, False, 0, flags & 2 == 2)
    state = headers.get(TRACESTATE)
    if state is not None:
        # Usually one header in canonical form: one match tells.
        if type(state) is str and _STATE.fullmatch(state):
            context.tracestate = state
        else:
            context.tracestate = parse_tracestate(carriers.values(headers, TRACESTATE))
    return context


def write_identity(source: Source) -> Mapping[str, str]:
    """``traceparent``."""
    # bytes.hex takes two thirds of the time of any number formatting.
    trace = source.trace_id.to_bytes(16, "big").hex()
    span = source.span_id.to_bytes(8, "big").hex()
    return {TRACEPARENT: f"00-{trace}-{span}-{_FLAGS[source.flags & _WRITTEN]}"}


def write(source: Source) -> Mapping[str, str]:
    """``traceparent``, and ``tracestate`` where there is one."""
    state = source.tracestate
    if state:
        return {**write_identity(source), TRACESTATE: state}
    return write_identity(source)


_WRITTEN = SAMPLED | RANDOM
_FLAGS = {0: "00", SAMPLED: "01", RANDOM: "02", SAMPLED | RANDOM: "03"}


class TraceContext:
    """The propagator ``tracecontext``."""

    fields = (TRACEPARENT, TRACESTATE)
    read = staticmethod(read)
    write = staticmethod(write)
    write_identity = staticmethod(write_identity)


class W3CBaggage:
    """The propagator ``baggage``: items only, no identity."""

    fields = (BAGGAGE,)

    def read(self, headers: Headers) -> SpanContext | None:
        found = carriers.values(headers, BAGGAGE)
        baggage = parse_baggage(found) if found else None
        return SpanContext(0, 0, sampled=None, baggage=baggage, is_remote=True) if baggage else None

    def write(self, source: Source) -> Mapping[str, str]:
        baggage = source.baggage
        if not baggage or not (header := format_baggage(baggage)):
            return {}
        return {BAGGAGE: header}

    def write_identity(self, source: Source) -> Mapping[str, str]:
        return {}
