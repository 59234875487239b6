"""From Zipkin's v1 span, where every annotation names its own endpoint, to v2 spans.

A v1 span may hold what client and server said; it becomes one v2 span for each. The core
annotations (cs, sr, ss, cr, ms, mr, ws, wr) become kinds and times, addresses (ca, sa, ma) become
remote endpoints. Source of the rules: Zipkin's V1SpanConverter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..spans.model import NOWHERE, BadSpan, Endpoint, Span, make_span

_KINDS = {
    "cs": "CLIENT",
    "cr": "CLIENT",
    "sr": "SERVER",
    "ss": "SERVER",
    "ms": "PRODUCER",
    "mr": "CONSUMER",
}
_CORE = frozenset((*_KINDS, "ws", "wr"))
#: Binary annotations whose endpoint is an address: of client, server and message broker.
ADDRESSES = ("ca", "sa", "ma")


class V1Annotation(NamedTuple):
    """A moment (Unix epoch, microseconds) at an endpoint."""

    timestamp: int
    value: str
    endpoint: Endpoint


class V1BinaryAnnotation(NamedTuple):
    """A tag, or with value None the address of the other side."""

    key: str
    value: str | None
    endpoint: Endpoint


@dataclass(slots=True)
class V1Span:
    """A v1 span as read. Absent is 0 or ""."""

    trace_id: int = 0
    id: int = 0
    parent_id: int = 0
    name: str = ""
    timestamp: int = 0
    duration: int = 0
    annotations: list[V1Annotation] = field(default_factory=list)
    binary_annotations: list[V1BinaryAnnotation] = field(default_factory=list)
    debug: bool = False


def convert(source: V1Span) -> list[Span]:
    """The v2 spans in a v1 span. Raises BadSpan for one without ids."""
    if source.trace_id % 2**64 == 0:
        raise BadSpan("traceId == 0")
    if source.id == 0:
        raise BadSpan("id == 0")
    return _Conversion(source).spans()


@dataclass(slots=True)
class _Side:
    """One endpoint's view: a v2 span that grows."""

    local: Endpoint = NOWHERE
    remote: Endpoint = NOWHERE
    kind: str = ""
    timestamp: int = 0
    duration: int = 0
    shared: bool = False
    annotations: list[tuple[int, str]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


class _Conversion:
    def __init__(self, source: V1Span) -> None:
        self._source = source
        self._first = _Side()
        self._sides = [self._first]
        self._core: dict[str, V1Annotation] = {}

    def spans(self) -> list[Span]:
        self._read_annotations()
        self._guess_starts()
        self._time_calls()
        self._time_messages()
        self._read_binary_annotations()
        return [self._span(side) for side in self._sides]

    def _span(self, side: _Side) -> Span:
        source = self._source
        wide = source.trace_id >> 64
        return make_span(
            f"{source.trace_id:032x}" if wide else f"{source.trace_id:016x}",
            f"{source.id:016x}",
            parent_id=f"{source.parent_id:016x}" if source.parent_id else "",
            name=source.name,
            debug=source.debug,
            kind=side.kind,
            timestamp=side.timestamp,
            duration=side.duration,
            local=side.local,
            remote=side.remote,
            annotations=side.annotations,
            tags=side.tags,
            shared=side.shared,
        )

    def _at(self, endpoint: Endpoint) -> _Side:
        """The side an endpoint belongs to: that of its service, or a side nobody claimed yet."""
        if endpoint == NOWHERE:
            return self._first
        for side in self._sides:
            if side.local == NOWHERE:
                side.local = endpoint
            if side.local.service == endpoint.service:
                return side
        return self._new(endpoint)

    def _new(self, endpoint: Endpoint) -> _Side:
        side = _Side(endpoint)
        self._sides.append(side)
        return side

    def _read_annotations(self) -> None:
        for annotation in sorted(self._source.annotations, key=lambda a: (a.timestamp, a.value)):
            side = self._at(annotation.endpoint)
            if annotation.value not in _CORE or annotation.endpoint == NOWHERE:
                side.annotations.append(annotation[:2])
                continue
            side.kind = _KINDS.get(annotation.value, side.kind)
            self._core[annotation.value] = annotation

    def _guess_starts(self) -> None:
        """A missing cs or sr, where the span's duration ends with the cr or ss that is there."""
        source = self._source
        for begin, end in (("cs", "cr"), ("sr", "ss")):
            ending = self._core.get(end)
            if begin in self._core or ending is None or not (source.timestamp and source.duration):
                continue
            if source.timestamp + source.duration == ending.timestamp:
                self._core[begin] = V1Annotation(source.timestamp, begin, ending.endpoint)

    def _time_calls(self) -> None:
        cs, sr, ss, cr = map(self._core.get, ("cs", "sr", "ss", "cr"))
        if cs and sr:
            self._time_both_sides(cs, sr, ss, cr)
        elif cs and cr:
            self._time(cs, cr)
        elif sr and ss:
            self._time(sr, ss)
        else:
            self._time_incomplete()
        # v1 had no shared flag: a server that does not own the span's time shares it.
        source = self._source
        if cs is None and sr and (not source.timestamp or (ss and not source.duration)):
            self._at(sr.endpoint).shared = True

    def _time_both_sides(
        self, cs: V1Annotation, sr: V1Annotation, ss: V1Annotation | None, cr: V1Annotation | None
    ) -> None:
        self._time(cs, cr)  # the client owns the span's duration
        client = self._at(cs.endpoint)
        if cs.endpoint.service == sr.endpoint.service:  # a process that calls itself
            client.kind = "CLIENT"
            server = self._new(sr.endpoint)
            server.kind = "SERVER"
        else:
            server = self._at(sr.endpoint)
        server.shared = True
        server.timestamp = sr.timestamp
        if ss:
            server.duration = ss.timestamp - sr.timestamp
        if cr is None and not self._source.duration:
            client.duration = 0

    def _time_incomplete(self) -> None:
        for side in self._sides:
            begin, end = {"CLIENT": ("cs", "cr"), "SERVER": ("sr", "ss")}.get(side.kind, ("", ""))
            if begin in self._core:
                side.timestamp = self._core[begin].timestamp
            if end in self._core:
                side.annotations.append(self._core[end][:2])
        if self._source.timestamp:
            self._first.timestamp = self._source.timestamp
            self._first.duration = self._source.duration

    def _time(self, begin: V1Annotation, end: V1Annotation | None) -> None:
        """Times of one side: the span's own where it has both, else those of its annotations."""
        source, side = self._source, self._at(begin.endpoint)
        if source.timestamp and source.duration:
            side.timestamp, side.duration = source.timestamp, source.duration
            return
        side.timestamp = begin.timestamp
        if end:
            side.duration = end.timestamp - begin.timestamp

    def _time_messages(self) -> None:
        ms, mr, ws, wr = map(self._core.get, ("ms", "mr", "ws", "wr"))
        if ms and mr:
            self._time_both_ends(ms, mr, ws, wr)
        elif ms:
            self._time(ms, ws)
        elif mr:
            self._time(*((wr, mr) if wr else (mr, None)))
        else:
            for annotation in (ws, wr):
                if annotation:
                    self._at(annotation.endpoint).annotations.append(annotation[:2])

    def _time_both_ends(
        self, ms: V1Annotation, mr: V1Annotation, ws: V1Annotation | None, wr: V1Annotation | None
    ) -> None:
        producer = self._at(ms.endpoint)
        if ms.endpoint.service == mr.endpoint.service:
            producer.kind = "PRODUCER"
            consumer = self._new(mr.endpoint)
            consumer.kind = "CONSUMER"
        else:
            consumer = self._at(mr.endpoint)
        consumer.shared = True
        consumer.timestamp = wr.timestamp if wr else mr.timestamp
        if wr:
            consumer.duration = mr.timestamp - wr.timestamp
        producer.timestamp = ms.timestamp
        producer.duration = ws.timestamp - ms.timestamp if ws else 0

    def _read_binary_annotations(self) -> None:
        addresses: dict[str, Endpoint | None] = {}
        for key, value, endpoint in sorted(self._source.binary_annotations, key=lambda b: b.key):
            if key in ADDRESSES:  # whatever its value: old senders say "1" for true
                addresses[key] = None if endpoint == NOWHERE else endpoint
                continue
            assert value is not None
            side = self._at(endpoint)
            if (key, value) != ("lc", ""):  # only says where the span was
                side.tags[key] = value
        self._place_addresses(addresses.get("ca"), addresses.get("sa"), addresses.get("ma"))

    def _place_addresses(
        self, ca: Endpoint | None, sa: Endpoint | None, ma: Endpoint | None
    ) -> None:
        cs, sr, ss, cr, ms, mr = map(self._core.get, ("cs", "sr", "ss", "cr", "ms", "mr"))
        if not (cs or cr or ss or sr) and (ca or sa):
            self._place_without_core(ca, sa)
            return
        server, client = sr or ss, cs or cr
        if ca and server and ca != server.endpoint:
            # Finagle names the server in the client's address too: no link to itself.
            if ca.service == server.endpoint.service:
                ca = ca._replace(service="")
            self._at(server.endpoint).remote = ca
        if sa and client:
            self._at(client.endpoint).remote = sa
        if ma:  # both sides of a message know the broker
            for message in (ms, mr):
                if message:
                    self._at(message.endpoint).remote = ma

    def _place_without_core(self, ca: Endpoint | None, sa: Endpoint | None) -> None:
        if ca and sa:
            self._at(ca).remote = sa
        elif sa:  # a remote address alone makes no client of it
            self._first.remote = sa
        elif ca:
            self._first.kind = "SERVER"
            self._first.remote = ca
