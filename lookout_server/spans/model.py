"""A span as Zipkin's v2 model has it, and the rules that make one well-formed.

Every protocol but the fast paths goes through :func:`make_span`; queries give Spans back.
Rules and error texts: Zipkin's Span and Endpoint builders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .addresses import parse_ip

KINDS = ("", "CLIENT", "SERVER", "PRODUCER", "CONSUMER")
KIND_CODES = {name: code for code, name in enumerate(KINDS) if name}

_HEX = frozenset("0123456789abcdef")


class BadSpan(Exception):
    """A span that breaks a rule of the model; the text says which."""


class Endpoint(NamedTuple):
    """One side of a span. Absent text is empty, an absent port 0."""

    service: str = ""
    ipv4: str = ""
    ipv6: str = ""
    port: int = 0

    def with_ip(self, text: str) -> Endpoint:
        """This endpoint and an address, in the family it really is; unreadable ones stay out."""
        ipv4, ipv6 = parse_ip(text)
        return self._replace(ipv4=ipv4 or self.ipv4, ipv6=ipv6 or self.ipv6)

    def merged(self, other: Endpoint) -> Endpoint:
        """This endpoint, with what it lacks taken from the other."""
        return Endpoint(
            self.service or other.service,
            self.ipv4 or other.ipv4,
            self.ipv6 or other.ipv6,
            self.port or other.port,
        )


NOWHERE = Endpoint()


class Annotation(NamedTuple):
    """What happened at one moment (Unix epoch, microseconds)."""

    timestamp: int
    value: str


class Span(NamedTuple):
    """One operation of a trace, as one process reported it. Times in microseconds, 0 is absent."""

    trace_id: str  # 16 or 32 lower-hex digits
    id: str  # 16 lower-hex digits
    parent_id: str = ""
    kind: str = ""
    name: str = ""
    timestamp: int = 0
    duration: int = 0
    local: Endpoint = NOWHERE
    remote: Endpoint = NOWHERE
    annotations: tuple[Annotation, ...] = ()
    tags: Mapping[str, str] = {}
    debug: bool = False
    shared: bool = False

    @property
    def low_trace_id(self) -> str:
        """The 16 digits by which a trace is known where only 64 bits count."""
        return self.trace_id[-16:]


def make_span(
    trace_id: str,
    id: str,
    *,
    parent_id: str = "",
    kind: str = "",
    name: str = "",
    timestamp: int = 0,
    duration: int = 0,
    local: Endpoint = NOWHERE,
    remote: Endpoint = NOWHERE,
    annotations: Iterable[tuple[int, str]] = (),
    tags: Mapping[str, str] | None = None,
    debug: bool = False,
    shared: bool = False,
) -> Span:
    """A span from normalized ids and raw values: names lowered, annotations sorted and distinct."""
    return Span(
        trace_id,
        id,
        "" if parent_id == id else parent_id,
        kind,
        name.lower(),
        max(timestamp, 0),
        max(duration, 0),
        local,
        remote,
        tuple(sorted({Annotation(*a) for a in annotations})),
        tags or {},
        debug,
        shared and kind != "CLIENT",
    )


def make_port(port: int) -> int:
    """A usable port or 0. Raises BadSpan beyond 65535."""
    if port > 0xFFFF:
        raise BadSpan(f"invalid port {port}")
    return max(port, 0)


def normalize_trace_id(trace_id: str) -> str:
    """16 or 32 lower-hex digits. Raises BadSpan for what is no trace id."""
    if not trace_id:
        raise BadSpan("traceId is empty")
    if len(trace_id) > 32:
        raise BadSpan("traceId.length > 32")
    _check_hex(trace_id)
    significant = trace_id.lstrip("0")
    if not significant:
        raise BadSpan("traceId is all zeros")
    return significant.zfill(32 if len(significant) > 16 else 16)


def normalize_id(id: str) -> str:
    """16 lower-hex digits. Raises BadSpan for what is no span id."""
    _check_length("id", id)
    _check_hex(id)
    if id == "0000000000000000":  # a shorter zero passes, as it does in Zipkin
        raise BadSpan("id is all zeros")
    return id.zfill(16)


def normalize_parent_id(parent_id: str) -> str:
    """16 lower-hex digits, or "" for zero. Raises BadSpan for what is no span id."""
    _check_length("parentId", parent_id)
    _check_hex(parent_id)
    return parent_id.zfill(16) if parent_id.strip("0") else ""


def _check_length(field: str, id: str) -> None:
    if not id:
        raise BadSpan(f"{field} is empty")
    if len(id) > 16:
        raise BadSpan(f"{field}.length > 16")


def _check_hex(text: str) -> None:
    if not _HEX.issuperset(text):
        raise BadSpan(f"{text} should be lower-hex encoded with no prefix")
