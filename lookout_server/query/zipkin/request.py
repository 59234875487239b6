"""A search for traces: its parameters, their rules, and the test a trace must pass.

Semantics and error texts: Zipkin's QueryRequest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...spans.model import Span

_TERMS_MAX = 100
#: Traces of one answer at most, whatever limit is asked for; the cursor leads to the rest.
TRACES_MAX = 10_000
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1


class BadQuery(Exception):
    """Parameters that make no query; the text is the answer's body (400)."""


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """What traces to find. Times as in the API: end and lookback ms, durations us."""

    end_ts: int
    lookback: int
    limit: int = 10
    service: str = ""
    remote_service: str = ""
    span_name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)  # "" asks for the key alone
    min_duration: int | None = None
    max_duration: int | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("endTs", self.end_ts),
            ("limit", self.limit),
            ("lookback", self.lookback),
        ):
            if value <= 0:
                raise BadQuery(f"{name} <= 0")
        if self.min_duration is None:
            if self.max_duration is not None:
                raise BadQuery("maxDuration is only valid with minDuration")
            return
        if self.min_duration <= 0:
            raise BadQuery("minDuration <= 0")
        if self.max_duration is not None and self.max_duration < self.min_duration:
            raise BadQuery("maxDuration < minDuration")

    @property
    def begin_us(self) -> int:
        """First microsecond of the window."""
        return (self.end_ts - self.lookback) * 1000

    @property
    def end_us(self) -> int:
        """Last microsecond of the window."""
        return self.end_ts * 1000

    def matches(self, trace: Sequence[Span]) -> bool:
        """Whether a whole trace is asked for.

        Every condition must be met by some span of the service asked for, not all by the same.
        """
        timestamp = trace_timestamp(trace)
        if timestamp == 0 or not self.begin_us <= timestamp <= self.end_us:
            return False
        spans = [s for s in trace if not self.service or s.local.service == self.service]
        return (
            (not self.service or bool(spans))
            and (
                not self.remote_service
                or any(s.remote.service == self.remote_service for s in spans)
            )
            and (not self.span_name or any(s.name == self.span_name for s in spans))
            and all(_has(spans, key, value) for key, value in self.annotations.items())
            and (self.min_duration is None or any(self._lasts(s) for s in spans))
        )

    def _lasts(self, span: Span) -> bool:
        assert self.min_duration is not None
        longest = _LONG_MAX if self.max_duration is None else self.max_duration
        return self.min_duration <= span.duration <= longest


def trace_timestamp(trace: Sequence[Span]) -> int:
    """When a trace began: its first root's timestamp, else its earliest; 0 if none has one."""
    earliest = 0
    for span in trace:
        if span.timestamp == 0:
            continue
        if not span.parent_id:
            return span.timestamp
        earliest = min(earliest or span.timestamp, span.timestamp)
    return earliest


def _has(spans: Sequence[Span], key: str, value: str) -> bool:
    for span in spans:
        if value:
            if span.tags.get(key) == value:
                return True
        elif key in span.tags or any(a.value == key for a in span.annotations):
            return True
    return False


def parse_request(
    parameters: Mapping[str, str], *, now_ms: int, default_lookback: int
) -> QueryRequest:
    """The request in a query string. Raises BadQuery."""
    name = parameters.get("spanName", "").lower()
    return QueryRequest(
        service=parameters.get("serviceName", "").lower(),
        remote_service=parameters.get("remoteServiceName", "").lower(),
        span_name="" if name == "all" else name,
        annotations=parse_annotation_query(parameters.get("annotationQuery", "")),
        min_duration=optional_long(parameters, "minDuration"),
        max_duration=optional_long(parameters, "maxDuration"),
        end_ts=_or_default(optional_long(parameters, "endTs"), now_ms),
        lookback=_or_default(optional_long(parameters, "lookback"), default_lookback),
        limit=min(whole_number(parameters, "limit", bits=32, default="10"), TRACES_MAX),
    )


def parse_annotation_query(text: str) -> dict[str, str]:
    """Terms joined by " and ": ``key=value``, or ``key`` alone for a tag's key or an annotation."""
    terms: dict[str, str] = {}
    for term in text.split(" and ", _TERMS_MAX - 1) if text else ():
        key, equals, value = term.partition("=")
        if equals:
            terms[_trim(key)] = _trim(value)
        else:
            terms.setdefault(_trim(key), "")
    return terms


def optional_long(parameters: Mapping[str, str], name: str) -> int | None:
    """A whole number, or None where it is absent or empty. Raises BadQuery in Java's words."""
    text = parameters.get(name)
    return _long(text, 64) if text else None


def whole_number(
    parameters: Mapping[str, str], name: str, bits: int = 64, default: str = ""
) -> int:
    """A whole number that must not be empty. Raises BadQuery in Zipkin's words."""
    text = parameters.get(name, default)
    if not text:
        raise BadQuery(f"Cannot set null to primitive type parameter: {name}")
    return _long(text, bits)


def _long(text: str, bits: int) -> int:
    limit = 2 ** (bits - 1)
    # As in Java the digits of any script count, and nothing around them; more than 4,300 of them
    # Python refuses to read.
    if not re.fullmatch(r"[+-]?\d{1,4000}", text) or not -limit <= int(text) < limit:
        raise BadQuery(f'For input string: "{text}"')
    return int(text)


def _or_default(value: int | None, default: int) -> int:
    return default if value is None else value


def _trim(text: str) -> str:
    return text.strip("".join(map(chr, range(33))))
