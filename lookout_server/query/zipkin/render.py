"""Spans and links as Zipkin's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from ...spans.model import Endpoint, Span


def span_json(span: Span) -> dict[str, Any]:
    """A span as an object, absent fields left out."""
    fields: dict[str, Any] = {"traceId": span.trace_id}
    if span.parent_id:
        fields["parentId"] = span.parent_id
    fields["id"] = span.id
    if span.kind:
        fields["kind"] = span.kind
    if span.name:
        fields["name"] = span.name
    if span.timestamp:
        fields["timestamp"] = span.timestamp
    if span.duration:
        fields["duration"] = span.duration
    if local := _endpoint(span.local):
        fields["localEndpoint"] = local
    if remote := _endpoint(span.remote):
        fields["remoteEndpoint"] = remote
    if span.annotations:
        fields["annotations"] = [{"timestamp": t, "value": v} for t, v in span.annotations]
    if span.tags:
        fields["tags"] = span.tags
    if span.debug:
        fields["debug"] = True
    if span.shared:
        fields["shared"] = True
    return fields


def trace_bytes(trace: Iterable[Span]) -> bytes:
    """A trace as a JSON list."""
    return orjson.dumps([span_json(span) for span in trace])


def traces_bytes(traces: Iterable[Iterable[Span]]) -> bytes:
    """Traces as a JSON list of lists."""
    return orjson.dumps([[span_json(span) for span in trace] for trace in traces])


@lru_cache(1024)
def _endpoint(endpoint: Endpoint) -> Mapping[str, Any]:
    fields = {
        "serviceName": endpoint.service,
        "ipv4": endpoint.ipv4,
        "ipv6": endpoint.ipv6,
        "port": endpoint.port,
    }
    return {name: value for name, value in fields.items() if value}
