"""OpenTelemetry's spans as Zipkin's, which is how they are stored.

Source: the OpenTelemetry specification, "Zipkin exporter" (trace/sdk_exporters/zipkin.md), and for
what it leaves out (resource attributes, links, trace state) the collector's Zipkin translator, so
that nothing of a span is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import orjson

from ..spans.addresses import parse_ip
from ..spans.columns import ERROR, SHAPE_SEPARATOR, SpanColumns, pack_address, pack_remote
from ..spans.model import KIND_CODES, NOWHERE, Endpoint

SERVICE_NAME: Final = "service.name"
_UNKNOWN_SERVICE = "unknown_service"
#: OTLP's SpanKind by number, as our code of Zipkin's kind; internal spans have none.
_KINDS = (0, 0, *(KIND_CODES[name] for name in ("SERVER", "CLIENT", "PRODUCER", "CONSUMER")))
_CALLERS = (KIND_CODES["CLIENT"], KIND_CODES["PRODUCER"])
_STATUS_OK, _STATUS_ERROR = 1, 2
_ZEROS = bytes(16)
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


class OtlpColumns:
    """Columns that grow by OpenTelemetry's spans."""

    def __init__(self) -> None:
        self._columns = SpanColumns()
        self._ids: list[bytes] = []
        self._timestamps: list[int] = []
        self._durations: list[int] = []
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

    def add(
        self,
        trace_id: bytes,
        span_id: bytes,
        parent_id: bytes,
        name: str,
        kind: int,
        start_ns: int,
        end_ns: int,
        attributes: Tags,
        events: Sequence[Event],
        links: Sequence[Link],
        status: int,
        status_text: str,
        trace_state: str,
    ) -> None:
        """One span; one with ids that are none is counted as refused."""
        if not _is_id(trace_id, 16) or not _is_id(span_id, 8):
            self._refuse(trace_id, span_id)
            return
        parent = parent_id if len(parent_id) == 8 and parent_id != span_id else bytes(8)
        self._ids += (trace_id, parent, span_id)
        start = start_ns // 1000
        self._timestamps.append(start)
        self._durations.append(_duration(start_ns, end_ns))
        code = _KINDS[kind] if 0 <= kind < len(_KINDS) else 0
        tags = {**self._inherited, **attributes} if self._inherited else dict(attributes)
        if links or trace_state or status:
            _add_rare(tags, links, trace_state, status, status_text)
        columns = self._columns
        columns.flags.append(code | ERROR if "error" in tags else code)
        columns.names.append(name.lower())
        columns.services.append(self._service)
        columns.local_address.append(self._address)
        remote = _peer(attributes) if code in _CALLERS else NOWHERE
        columns.remote_services.append(remote.service)
        columns.remote.append(pack_remote(remote) if remote is not NOWHERE else "")
        columns.shapes.append(SHAPE_SEPARATOR.join(tags))
        columns.tag_counts.append(len(tags))
        columns.tag_keys.extend(tags)
        columns.tag_values.extend(tags.values())
        columns.annotation_counts.append(len(events))
        if events:
            for time_ns, text in sorted((e.time_ns // 1000, _annotation(e)) for e in events):
                columns.annotation_times.append(time_ns)
                columns.annotation_values.append(text)

    def finish(self) -> SpanColumns:
        """The columns."""
        columns = self._columns
        columns.set_packed_ids(b"".join(self._ids))
        columns.timestamps = np.array(self._timestamps, np.int64)
        columns.durations = np.array(self._durations, np.int64)
        return columns

    def _refuse(self, trace_id: bytes, span_id: bytes) -> None:
        self._columns.refused += 1
        if not self._columns.refusal:
            self._columns.refusal = (
                f"trace id {trace_id.hex()!r} or span id {span_id.hex()!r} is not valid; "
                "expected 16 and 8 bytes that are not all zero"
            )


def _is_id(id: bytes, length: int) -> bool:
    return len(id) == length and id != _ZEROS[:length]


def _duration(start_ns: int, end_ns: int) -> int:
    """Microseconds, at least one for a span that took any time."""
    if end_ns <= start_ns or start_ns == 0:
        return 0
    return max((end_ns - start_ns) // 1000, 1)


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
