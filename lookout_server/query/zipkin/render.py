"""Spans and links as Zipkin's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ...spans.model import Endpoint, Span


def span_json(span: Span) -> dict[str, Any]:
    """A span as an object, absent fields left out."""
    fields: dict[str, Any] = {
        "traceId": span.trace_id,
        "parentId": span.parent_id,
        "id": span.id,
        "kind": span.kind,
        "name": span.name,
        "timestamp": span.timestamp,
        "duration": span.duration,
        "localEndpoint": _endpoint(span.local),
        "remoteEndpoint": _endpoint(span.remote),
        "annotations": [{"timestamp": t, "value": v} for t, v in span.annotations],
        "tags": span.tags,
        "debug": span.debug,
        "shared": span.shared,
    }
    return {name: value for name, value in fields.items() if value}


def trace_bytes(trace: Iterable[Span]) -> bytes:
    """A trace as a JSON list."""
    return orjson.dumps([span_json(span) for span in trace])


def traces_bytes(traces: Iterable[Iterable[Span]]) -> bytes:
    """Traces as a JSON list of lists."""
    return orjson.dumps([[span_json(span) for span in trace] for trace in traces])


def _endpoint(endpoint: Endpoint) -> Mapping[str, Any] | None:
    fields = {
        "serviceName": endpoint.service,
        "ipv4": endpoint.ipv4,
        "ipv6": endpoint.ipv6,
        "port": endpoint.port,
    }
    return {name: value for name, value in fields.items() if value} or None
