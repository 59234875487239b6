"""W3C Trace Context (level 2) and W3C Baggage.

https://www.w3.org/TR/trace-context-2/ and https://www.w3.org/TR/baggage/
"""

# ruff: noqa: UP031  ("%016x" takes 60 % of the time of an f-string here)

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from exporters.records import SAMPLED

from ..baggage import MAX_BYTES, MAX_MEMBERS, Baggage
from ..span_context import RANDOM, SpanContext
from . import carriers
from .source import Source

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"

_MAX_STATE_MEMBERS = 32
_OWS = " \t"

# A version above 00 may have more after another hyphen; ff is invalid.
_LATER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.DOTALL)
# Level 2 allows "@" anywhere after the first character and 256 characters in all.
_STATE_MEMBER = re.compile(
    r"[a-z0-9][_0-9a-z\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
# RFC 7230 token; section 3.2.1 of W3C Baggage.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def parse_traceparent(value: str) -> tuple[int, int, int] | None:
    """(trace id, parent id, flags) of a traceparent, None when it is not valid."""
    value = value.strip(_OWS)
    if len(value) == 55 and value[:3] == "00-" and value[35] == "-" and value[52] == "-":
        # bytes.fromhex refuses everything but hex digits and spaces; a space makes it too short.
        try:
            raw = bytes.fromhex(value[3:35] + value[36:52] + value[53:])
        except ValueError:
            return None
        if len(raw) != 25 or value != value.lower():
            return None
        trace_id = int.from_bytes(raw[:16], "big")
        span_id = int.from_bytes(raw[16:24], "big")
        return (trace_id, span_id, raw[24]) if trace_id and span_id else None
    found = _LATER.fullmatch(value)
    if found is None or found[1] in ("ff", "00"):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    return (trace_id, span_id, int(found[4], 16)) if trace_id and span_id else None


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
    header = carriers.first(carrier, TRACEPARENT)
    if header is None or (type(carrier) is not dict and _is_repeated(carrier, TRACEPARENT)):
        return None
    parsed = parse_traceparent(header)
    if parsed is None:
        return None
    trace_id, span_id, flags = parsed
    states = carriers.values(carrier, TRACESTATE)
    return SpanContext(
        trace_id,
        span_id,
        sampled=flags & 1 == 1,
        random=flags & 2 == 2,
        tracestate=parse_tracestate(states) if states else "",
        is_remote=True,
    )


def _is_repeated(carrier: Any, name: str) -> bool:
    return len(carriers.values(carrier, name)) > 1


def inject(carrier: Any, source: Source, put: Callable[[Any, str, str], None]) -> None:
    """Write ``traceparent``, and ``tracestate`` where there is one."""
    flags = source.flags
    put(
        carrier,
        TRACEPARENT,
        "00-%032x-%016x-0%d"
        % (source.trace_id, source.span_id, flags & SAMPLED | (flags & RANDOM and 2)),
    )
    state = source.tracestate
    if state:
        put(carrier, TRACESTATE, state)


class TraceContext:
    """The propagator ``tracecontext``."""

    fields = (TRACEPARENT, TRACESTATE)

    def extract(self, carrier: Any) -> SpanContext | None:
        return extract(carrier)

    def inject(self, carrier: Any, source: Source, put: Callable[[Any, str, str], None]) -> None:
        inject(carrier, source, put)


class W3CBaggage:
    """The propagator ``baggage``: items only, no identity."""

    fields = (BAGGAGE,)

    def extract(self, carrier: Any) -> SpanContext | None:
        headers = carriers.values(carrier, BAGGAGE)
        baggage = parse_baggage(headers) if headers else None
        return SpanContext(0, 0, sampled=None, baggage=baggage, is_remote=True) if baggage else None

    def inject(self, carrier: Any, source: Source, put: Callable[[Any, str, str], None]) -> None:
        baggage = source.baggage
        if baggage and (header := format_baggage(baggage)):
            put(carrier, BAGGAGE, header)
