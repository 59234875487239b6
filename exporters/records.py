"""The shapes of what leaves a process: a finished span and what hangs on it.

This package knows neither the tracer nor the meters. Whatever has these attributes can be
logged, shipped and exported; :class:`tracer.span.Span` is the one that usually does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from ._text import portable

TagValue = (
    str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
)

#: Span kinds, numbered as opentelemetry.trace.SpanKind numbers them.
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(5)
KIND_NAMES = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")

#: Status codes, numbered as opentelemetry.trace.StatusCode numbers them.
STATUS_UNSET, STATUS_OK, STATUS_ERROR = range(3)

#: Bits of :attr:`SpanRecord.flags`. SAMPLED is bit 0, as in W3C trace-flags.
SAMPLED = 1  # the span is kept
DEBUG = 2  # B3 debug: kept, and collectors must not sample it away
SHARED = 4  # a server span that joined the client's span id (Zipkin's "shared")
REMOTE_PARENT = 8  # the parent lives in another process


class EventRecord(NamedTuple):
    """Something that happened at one moment inside a span."""

    time_ns: int  # Unix epoch, nanoseconds
    name: str
    attributes: Mapping[str, TagValue] | None


class LinkRecord(NamedTuple):
    """A reference to a span elsewhere that is no parent."""

    trace_id: int
    span_id: int
    tracestate: str
    attributes: Mapping[str, TagValue] | None


@dataclass(frozen=True, slots=True)
class Resource:
    """Who produced a record: one per process and provider, shared by reference."""

    service_name: str
    attributes: Mapping[str, TagValue] = field(default_factory=dict)


class SpanRecord(Protocol):
    """A finished span, read-only. Destinations may read nothing else of it.

    ``tags`` are typed values; ``status_text`` is empty unless ``status`` is STATUS_ERROR.
    """

    @property
    def trace_id(self) -> int: ...  # 128 bits, never 0
    @property
    def span_id(self) -> int: ...  # 64 bits, never 0
    @property
    def parent_id(self) -> int: ...  # 64 bits, 0 for a root
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> int: ...
    @property
    def start_ns(self) -> int: ...  # Unix epoch, nanoseconds
    @property
    def duration_ns(self) -> int: ...
    @property
    def tags(self) -> Mapping[str, TagValue] | None: ...
    @property
    def events(self) -> Sequence[EventRecord] | None: ...
    @property
    def links(self) -> Sequence[LinkRecord] | None: ...
    @property
    def status(self) -> int: ...
    @property
    def status_text(self) -> str: ...
    @property
    def flags(self) -> int: ...
    @property
    def tracestate(self) -> str: ...
    @property
    def resource(self) -> Resource: ...
    @property
    def scope(self) -> str: ...  # instrumentation scope (library) name, may be empty
    @property
    def rpc_id(self) -> str: ...  # SOFA's dotted id ("0.1.2"), computed when asked for


#: What a span lost to its limits, told in ``losses`` under these names: those of OpenTelemetry's
#: specification for formats without fields for them, and one of ours for shortened values.
DROPPED_TAGS = "otel.dropped_attributes_count"
DROPPED_EVENTS = "otel.dropped_events_count"
DROPPED_LINKS = "otel.dropped_links_count"
CUT_VALUES = "lookout.cut_values_count"


def losses_of(tags: int, events: int, links: int, cut: int = 0) -> Mapping[str, int] | None:
    """The counts that are not 0 by their names; None when all are."""
    counts = {DROPPED_TAGS: tags, DROPPED_EVENTS: events, DROPPED_LINKS: links, CUT_VALUES: cut}
    return {name: count for name, count in counts.items() if count} or None


#: In place of the baggage of a record that cannot carry any; false, as no baggage is.
CARRIES_NONE: Any = ()


class FinishedSpan(msgspec.Struct, gc=False):
    """All of a record's fields, read at once: by its method ``finished()``, or of many of its
    type by ``all_finished(records)``.

    A span that is cheap to make computes most attributes when asked; who asks for many of them,
    or for some more than once, asks for this. What is not a field here is the span's own.
    """

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    kind: int
    start_ns: int
    duration_ns: int
    tags: Mapping[str, TagValue] | None
    events: Sequence[EventRecord] | None
    links: Sequence[LinkRecord] | None
    status: int
    status_text: str
    flags: int
    tracestate: str
    resource: Resource
    scope: str
    rpc_id: str
    baggage: Any
    span: Any
    losses: Mapping[str, int] | None = None

    @property
    def sofa_trace_id(self) -> str:
        """The trace id as SOFA spells it; empty where the span does not know."""
        return getattr(self.span, "sofa_trace_id", "")


def read(records: Sequence[SpanRecord]) -> Sequence[FinishedSpan]:
    """The records with their fields read; those read already are left alone."""
    kinds = set(map(type, records))
    if kinds == _ALL_READ:
        return records  # type: ignore[return-value]
    if len(kinds) == 1:
        read_all: Any = getattr(kinds.pop(), "all_finished", None)
        if read_all is not None:
            together: list[FinishedSpan] = read_all(records)
            return together
    return [_read_one(record) for record in records]


_ALL_READ = {FinishedSpan}


def _read_one(record: Any) -> FinishedSpan:
    if isinstance(record, FinishedSpan):
        return record
    if hasattr(record, "finished"):
        finished: FinishedSpan = record.finished()
        return finished
    tags = record.tags
    return FinishedSpan(
        record.trace_id,
        record.span_id,
        record.parent_id,
        record.name,
        record.kind,
        record.start_ns,
        record.duration_ns,
        portable(tags) if tags else tags,  # nobody has looked at its integers
        record.events,
        record.links,
        record.status,
        record.status_text,
        record.flags,
        record.tracestate,
        record.resource,
        record.scope,
        record.rpc_id,
        getattr(record, "baggage", CARRIES_NONE),
        record,
        getattr(record, "losses", None),
    )
