"""OpenTelemetry's spans as Zipkin's, which is how they are stored.

Source: the OpenTelemetry specification, "Zipkin exporter" (trace/sdk_exporters/zipkin.md), and for
what it leaves out (resource attributes, links, trace state) the collector's Zipkin translator, so
that nothing of a span is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, compress
from typing import Final, NamedTuple

import numpy as np
import orjson

from ..spans.addresses import parse_ip
from ..spans.columns import ERROR, SHAPES, Ids, Ints, SpanColumns, pack_address, pack_remote
from ..spans.model import KIND_CODES, NOWHERE, Endpoint
from ..spans.primitives import unnested

SERVICE_NAME: Final = "service.name"
_UNKNOWN_SERVICE = "unknown_service"
#: OTLP's SpanKind by number, as our code of Zipkin's kind; internal spans have none.
_KINDS = {
    number: KIND_CODES[name]
    for number, name in enumerate(("SERVER", "CLIENT", "PRODUCER", "CONSUMER"), 2)
}
_CALLERS = (KIND_CODES["CLIENT"], KIND_CODES["PRODUCER"])
_STATUS_OK, _STATUS_ERROR = 1, 2
_ZEROS = bytes(16)
_US = np.uint64(1000)  # nanoseconds
#: Attributes that name the other side of a call, the best first, with the one that has its port.
_PEERS: Final = (
    ("peer.service", ""),
    ("server.address", "server.port"),
    ("net.peer.name", "net.peer.port"),
    ("network.peer.address", "network.peer.port"),
    ("server.socket.domain", "server.socket.port"),
    ("server.socket.address", "server.socket.port"),
    ("net.sock.peer.name", "net.sock.peer.port"),
    ("net.sock.peer.addr", "net.sock.peer.port"),
    ("net.peer.ip", "net.peer.port"),
    ("peer.hostname", ""),
    ("peer.address", ""),
    ("db.namespace", ""),
    ("db.name", ""),
    ("messaging.system", ""),
)
_PEER_KEYS = frozenset(name for name, _ in _PEERS)

Tags = Mapping[str, str]


class Event(NamedTuple):
    """An event of a span; Unix epoch, nanoseconds."""

    time_ns: int
    name: str
    attributes: Tags


class Link(NamedTuple):
    """A link of a span."""

    trace_id: bytes
    span_id: bytes
    trace_state: str
    attributes: Tags


class OtlpSpans(NamedTuple):
    """Spans of one scope, by their fields; equally long lists."""

    trace_ids: list[bytes]
    span_ids: list[bytes]
    parent_ids: list[bytes]
    names: list[str]
    kinds: list[int]
    starts: list[int]  # Unix epoch, nanoseconds
    ends: list[int]
    attributes: list[dict[str, str]]
    events: list[list[Event]]
    links: list[list[Link]]
    statuses: list[tuple[int, str]]
    trace_states: list[str]


class OtlpColumns:
    """Columns that grow by OpenTelemetry's spans.

    One comprehension a column: half of what one loop over the spans takes.
    """

    def __init__(self) -> None:
        self._columns = SpanColumns()
        self._ids: list[bytes] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._service = ""
        self._address = ""
        self._inherited: Tags = {}

    def begin(self, resource: Tags, scope_name: str, scope_version: str, scope: Tags) -> None:
        """The spans that follow are of this resource and instrumentation scope."""
        inherited = {k: v for k, v in resource.items() if k != SERVICE_NAME}
        if scope_name:
            inherited["otel.scope.name"] = scope_name
        if scope_version:
            inherited["otel.scope.version"] = scope_version
        self._inherited = inherited | dict(scope)
        self._service = (resource.get(SERVICE_NAME) or _UNKNOWN_SERVICE).lower()
        self._address = pack_address(Endpoint().with_ip(resource.get("host.ip", "")))

    def add(self, given: OtlpSpans) -> None:
        """Spans of one scope; those with ids that are none are counted as refused."""
        spans = given if _all_ids(given) else self._with_ids(given)
        columns, count = self._columns, len(spans.names)
        self._ids += chain.from_iterable(
            zip(spans.trace_ids, _parents(spans), spans.span_ids, strict=True)
        )
        self._starts += spans.starts
        self._ends += spans.ends
        codes = [_KINDS.get(kind, 0) for kind in spans.kinds]
        tags = self._tags(spans)
        columns.flags += [
            code | ERROR if "error" in of_span else code
            for code, of_span in zip(codes, tags, strict=True)
        ]
        columns.names += [name.lower() for name in spans.names]
        columns.services += [self._service] * count
        columns.local_address += [self._address] * count
        keys, all_keys, values = unnested(tags)
        columns.shapes += map(SHAPES.__getitem__, keys)
        columns.tag_counts += map(len, keys)
        columns.tag_keys += all_keys
        columns.tag_values += values
        self._add_remotes(codes, spans.attributes)
        self._add_annotations(spans.events)

    def finish(self) -> SpanColumns:
        """The columns."""
        columns = self._columns
        columns.set_packed_ids(b"".join(self._ids))
        starts, ends = np.array(self._starts, np.uint64), np.array(self._ends, np.uint64)
        columns.timestamps = (starts // _US).astype(np.int64)
        columns.durations = _durations(starts, ends)
        return columns

    def _tags(self, spans: OtlpSpans) -> list[dict[str, str]]:
        inherited = self._inherited
        tags = [{**inherited, **own} for own in spans.attributes]
        if any(spans.links) or any(spans.trace_states) or any(code for code, _ in spans.statuses):
            rare = zip(tags, spans.links, spans.trace_states, spans.statuses, strict=True)
            for of_span, links, trace_state, (status, text) in rare:
                _add_rare(of_span, links, trace_state, status, text)
        return tags

    def _add_remotes(self, codes: list[int], attributes: list[dict[str, str]]) -> None:
        remotes = [
            _peer(own) if code in _CALLERS else NOWHERE
            for code, own in zip(codes, attributes, strict=True)
        ]
        self._columns.remote_services += [remote.service for remote in remotes]
        self._columns.remote += [
            "" if remote is NOWHERE else pack_remote(remote) for remote in remotes
        ]

    def _add_annotations(self, events: list[list[Event]]) -> None:
        columns = self._columns
        columns.annotation_counts += map(len, events)
        for of_span in filter(None, events):
            for time_us, text in sorted((e.time_ns // 1000, _annotation(e)) for e in of_span):
                columns.annotation_times.append(time_us)
                columns.annotation_values.append(text)

    def _with_ids(self, spans: OtlpSpans) -> OtlpSpans:
        """Those that have valid ids; the others are counted as refused."""
        valid = []
        for trace_id, span_id in zip(spans.trace_ids, spans.span_ids, strict=True):
            valid.append(_is_id(trace_id, 16) and _is_id(span_id, 8))
            if not valid[-1]:
                self._refuse(trace_id, span_id)
        return OtlpSpans(*(list(compress(field, valid)) for field in spans))  # type: ignore[arg-type]

    def _refuse(self, trace_id: bytes, span_id: bytes) -> None:
        self._columns.refused += 1
        if not self._columns.refusal:
            self._columns.refusal = (
                f"trace id {trace_id.hex()!r} or span id {span_id.hex()!r} is not valid; "
                "expected 16 and 8 bytes that are not all zero"
            )


def _all_ids(spans: OtlpSpans) -> bool:
    lengths = set(map(len, spans.trace_ids)) <= {16} and set(map(len, spans.span_ids)) <= {8}
    return lengths and _ZEROS not in spans.trace_ids and _ZEROS[:8] not in spans.span_ids


def _parents(spans: OtlpSpans) -> list[bytes]:
    return [
        parent if len(parent) == 8 and parent != own else _ZEROS[:8]
        for parent, own in zip(spans.parent_ids, spans.span_ids, strict=True)
    ]


def _is_id(id: bytes, length: int) -> bool:
    return len(id) == length and id != _ZEROS[:length]


def _durations(starts: Ids, ends: Ids) -> Ints:
    """Microseconds, at least one for a span that took any time."""
    took = (ends > starts) & (starts > 0)
    durations = np.maximum((ends - starts) // _US, np.uint64(1))  # wraps where it is not taken
    return np.where(took, durations, np.uint64(0)).astype(np.int64)


def _add_rare(
    tags: dict[str, str], links: Sequence[Link], trace_state: str, status: int, text: str
) -> None:
    for number, link in enumerate(links):
        attributes = orjson.dumps(link.attributes).decode() if link.attributes else "{}"
        tags[f"otlp.link.{number}"] = "|".join(
            (link.trace_id.hex(), link.span_id.hex(), link.trace_state, attributes)
        )
    if trace_state:
        tags["w3c.tracestate"] = trace_state
    if status == _STATUS_OK:
        tags["otel.status_code"] = "OK"
    elif status == _STATUS_ERROR:
        tags["otel.status_code"] = "ERROR"
        tags["error"] = text or tags.get("error", "")


def _peer(attributes: Tags) -> Endpoint:
    """The other side of a call, by the attribute that names it best."""
    if _PEER_KEYS.isdisjoint(attributes):
        return NOWHERE
    for name, port_name in _PEERS:
        value = attributes.get(name)
        if value:
            return _peer_endpoint(value, attributes.get(port_name, "") if port_name else "")
    return NOWHERE


@lru_cache(maxsize=8192)
def _peer_endpoint(value: str, port: str) -> Endpoint:
    number = int(port) if port.isdecimal() and int(port) <= 0xFFFF else 0
    ipv4, ipv6 = parse_ip(value)
    if ipv4 or ipv6:
        return Endpoint("", ipv4, ipv6, number)
    return Endpoint(value.lower(), port=number)


def _annotation(event: Event) -> str:
    if not event.attributes:
        return event.name
    name, attributes = orjson.dumps(event.name).decode(), orjson.dumps(event.attributes).decode()
    return f"{name}:{attributes}"
