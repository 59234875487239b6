"""Spans as Zipkin v2 JSON (https://zipkin.io/zipkin-api/#/default/post_spans).

Zipkin's tags are strings: other values become their JSON text. Status, links, tracestate and
instrumentation scope have no field of their own and travel as the tags OpenTelemetry's
specification names for Zipkin (``error``, ``otel.status_code``, ``otel.scope.name``), and as
``w3c.tracestate`` and ``otel.links`` (a JSON array).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ._host import local_ipv4
from ._text import clean, json_text
from .records import (
    DEBUG,
    KIND_NAMES,
    SHARED,
    EventRecord,
    FinishedSpan,
    LinkRecord,
    Resource,
    SpanRecord,
    read,
)
from .work import has_failed

CONTENT_TYPE = "application/json"
PATH = "/api/v2/spans"

_KINDS = (None, *KIND_NAMES[1:])  # Zipkin has no INTERNAL

#: Resource attributes that say nothing of the service, or have a field of their own.
_NOT_TAGS = re.compile(r"service\.name$|telemetry\.sdk\.|host\.ip$")

_TOO_LARGE = 2**63  # for a time in any field of 64 bits; such a one is left out

_IPV4 = re.compile(r"(\d{1,3}\.){3}\d{1,3}\Z")


class _Remote(NamedTuple):
    """Which tags tell of the other side, the most telling first."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    ports: tuple[str, ...]


_CALLED = _Remote(
    ("peer.service", "server.address", "net.peer.name", "peer.hostname", "peer.address"),
    ("network.peer.address", "net.peer.ip", "net.sock.peer.addr", "peer.ipv4", "peer.ipv6"),
    ("server.port", "network.peer.port", "net.peer.port", "peer.port"),
)
_CALLER = _Remote(
    ("peer.service",),
    ("client.address", *_CALLED.addresses),
    ("client.port", "network.peer.port", "net.peer.port", "peer.port"),
)
_REMOTES = (None, _CALLER, _CALLED, _CALLED, _CALLED)
_REMOTE_KEYS = frozenset(key for remote in (_CALLED, _CALLER) for keys in remote for key in keys)


class Endpoint(msgspec.Struct, omit_defaults=True, rename="camel", gc=False):
    """Who is at one end of a call."""

    service_name: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    port: int = 0


class Annotation(msgspec.Struct, gc=False):
    """An event; ``timestamp`` in microseconds since the epoch."""

    timestamp: int
    value: str


class ZipkinSpan(msgspec.Struct, omit_defaults=True, rename="camel", gc=False):
    """One span of the v2 model; times in microseconds."""

    trace_id: str
    id: str
    name: str | None = None
    parent_id: str | None = None
    kind: str | None = None
    timestamp: int = 0
    duration: int = 0
    local_endpoint: Endpoint | None = None
    remote_endpoint: Endpoint | None = None
    annotations: list[Annotation] | None = None
    tags: dict[str, str] | None = None
    debug: bool = False
    shared: bool = False


# What all spans of a resource share.
_Known = tuple[Resource, Endpoint, dict[str, str]]
_NOBODY = Resource("")
_NO_TAGS: dict[str, str] = {}

_SLICE = 256  # spans


class ZipkinEncoder:
    """Turns span records into Zipkin v2 JSON arrays. Keeps one small cache; one per thread."""

    def __init__(self) -> None:
        self._json = msgspec.json.Encoder()
        self._resources: dict[int, _Known] = {}

    def encode(self, records: Sequence[SpanRecord]) -> bytes:
        """A JSON array of all records. Never fails: hostile text is cleaned, see clean()."""
        # In slices that stay in the processor's cache from the first look to the last.
        parts = [
            self._encode_slice(records[start : start + _SLICE])[1:-1]
            for start in range(0, len(records), _SLICE)
        ]
        return b"[" + b",".join(parts) + b"]"

    def _encode_slice(self, records: Sequence[SpanRecord]) -> bytes:
        spans = self.spans(records)
        try:
            return self._json.encode(spans)
        except (UnicodeEncodeError, OverflowError, TypeError):
            return self._json.encode(clean(msgspec.to_builtins(spans)))

    def spans(self, records: Sequence[SpanRecord]) -> list[ZipkinSpan]:
        """The v2 models of the records. One loop with local names: it is run for each span."""
        resource, endpoint, shared = _NOBODY, Endpoint(), _NO_TAGS
        trace_id, trace = 0, ""
        made = []
        for span in read(records):
            if span.resource is not resource:
                resource, endpoint, shared = self._resource(span.resource)
            if span.trace_id != trace_id:  # the spans of a request come one after the other
                trace_id = span.trace_id
                trace = trace_id.to_bytes(16, "big").hex()
            parent, events, kind, flags = span.parent_id, span.events, span.kind, span.flags
            start_ns, duration_ns = span.start_ns, span.duration_ns
            tags: dict[str, Any] = {**shared}
            if own := span.tags:
                tags.update(own)
                for key, value in own.items():
                    if type(value) is not str:
                        tags[key] = f"{value}" if type(value) is int else json_text(value)
            if span.status or span.scope or span.tracestate or span.links or span.losses:
                _add_the_rest(span, tags)
            made.append(
                ZipkinSpan(
                    trace,
                    span.span_id.to_bytes(8, "big").hex(),
                    span.name,
                    parent.to_bytes(8, "big").hex() if parent else None,
                    _KINDS[kind],
                    start_ns // 1000 if start_ns < _TOO_LARGE else 0,
                    duration_ns // 1000 or 1 if duration_ns < _TOO_LARGE else 0,
                    endpoint,
                    _remote(kind, own) if kind else None,
                    _annotations(events) if events else None,
                    tags or None,
                    flags & DEBUG != 0,
                    flags & SHARED != 0,
                )
            )
        return made

    def _resource(self, resource: Resource) -> _Known:
        known = self._resources.get(id(resource))
        if known is None or known[0] is not resource:
            if len(self._resources) >= 64:
                self._resources.clear()
            known = (resource, _local(resource), _resource_tags(resource))
            self._resources[id(resource)] = known
        return known


def _local(resource: Resource) -> Endpoint:
    address = resource.attributes.get("host.ip")
    ipv4 = address if isinstance(address, str) and _IPV4.match(address) else local_ipv4()
    return Endpoint(resource.service_name or None, ipv4)


def _resource_tags(resource: Resource) -> dict[str, str]:
    return {
        key: json_text(value)
        for key, value in resource.attributes.items()
        if not _NOT_TAGS.match(key)
    }


def _add_the_rest(span: FinishedSpan, tags: dict[str, str]) -> None:
    if has_failed(span):
        tags["otel.status_code"] = "ERROR"
        if span.status_text or tags.get("error", "false") == "false":
            tags["error"] = span.status_text or "true"
    elif span.status:
        tags["otel.status_code"] = "OK"
    if span.scope:
        tags["otel.scope.name"] = span.scope
    if span.tracestate:
        tags["w3c.tracestate"] = span.tracestate
    if span.links:
        tags["otel.links"] = json_text([_link(link) for link in span.links])
    if span.losses:
        tags.update((name, str(count)) for name, count in span.losses.items())


def _link(link: LinkRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "traceId": f"{link.trace_id:032x}",
        "spanId": f"{link.span_id:016x}",
    }
    if link.tracestate:
        fields["tracestate"] = link.tracestate
    if link.attributes:
        fields["attributes"] = dict(link.attributes)
    return fields


def _annotations(events: Sequence[EventRecord]) -> list[Annotation] | None:
    return [_annotation(event) for event in events if event.time_ns < _TOO_LARGE] or None


def _annotation(event: EventRecord) -> Annotation:
    value = json_text({event.name: event.attributes}) if event.attributes else event.name
    return Annotation(event.time_ns // 1000, value)


def _remote(kind: int, tags: Mapping[str, Any] | None) -> Endpoint | None:
    sources = _REMOTES[kind]
    if sources is None or not tags or _REMOTE_KEYS.isdisjoint(tags):
        return None
    name = json_text(_first(tags, sources.names) or "")
    address = json_text(_first(tags, sources.addresses) or "")
    if not address and (_IPV4.match(name) or ":" in name):
        name, address = "", name
    return Endpoint(
        name.lower() or None,
        address if _IPV4.match(address) else None,
        address if ":" in address else None,
        _port(_first(tags, sources.ports)),
    )


def _first(tags: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((tags[key] for key in keys if tags.get(key)), None)


def _port(value: Any) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError):
        return 0
    return port if 0 < port < 65536 else 0
