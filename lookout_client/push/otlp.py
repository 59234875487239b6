"""Snapshots as OTLP/HTTP JSON: cumulative sums, gauges, histograms, with units and exemplars.

https://github.com/open-telemetry/opentelemetry-proto (metrics.proto), in the JSON mapping of
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: 64-bit integers are texts,
trace and span ids hexadecimal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from ..exemplars import Exemplar
from ..family import Definition
from ..metric import NATIVE, Kind, Tags
from ..snapshot import BucketPoint, ExponentialPoint, NumberPoint, Point, Snapshot

CONTENT_TYPE = "application/json"
PATH = "/v1/metrics"
SCOPE = "lookout"

#: Series per request: some 250 bytes each, well under the body limits of collectors.
MAX_POINTS = 5_000
MAX_REMEMBERED = 100_000
_CUMULATIVE = 2


class OtlpEncoder:
    """Encodes snapshots for one resource. Attribute lists are kept between pushes."""

    def __init__(self, resource: Mapping[str, Any]) -> None:
        self._resource = orjson.Fragment(orjson.dumps({"attributes": attributes(resource)}))
        self._attributes: dict[Tags, orjson.Fragment] = {}
        self._exemplars_since = 0

    def encode(self, snapshots: Sequence[Snapshot], now_ns: int) -> Iterator[bytes]:
        """Request bodies for ``/v1/metrics`` that together hold ``snapshots``."""
        for portion in portions(snapshots, MAX_POINTS):
            metrics = [self._metric(snapshot, str(now_ns)) for snapshot in portion]
            scope = {"scope": {"name": SCOPE}, "metrics": metrics}
            body = {"resourceMetrics": [{"resource": self._resource, "scopeMetrics": [scope]}]}
            yield orjson.dumps(body)
        self._exemplars_since = now_ns  # each exemplar travels once

    def _metric(self, snapshot: Snapshot, now: str) -> dict[str, Any]:
        definition = snapshot.definition
        shape, data = _shape(definition)
        convert = getattr(self, f"_{shape}")
        data["dataPoints"] = [convert(definition, point, now) for point in snapshot.points]
        metric: dict[str, Any] = {
            "name": _name(definition),
            "unit": definition.unit,
            shape: data,
        }
        if definition.description:
            metric["description"] = definition.description
        meta = dict(definition.meta)
        if definition.mtype:
            meta["mtype"] = definition.mtype
        if meta:
            metric["metadata"] = attributes(meta)
        return metric

    def _base(self, point: Point, now: str) -> dict[str, Any]:
        return {
            "attributes": self._attributes.get(point.tags) or self._remember(point.tags),
            "startTimeUnixNano": str(point.created_ns),
            "timeUnixNano": now,
        }

    def _remember(self, tags: Tags) -> orjson.Fragment:
        fragment = orjson.Fragment(orjson.dumps(attributes(dict(tags))))
        if len(self._attributes) >= MAX_REMEMBERED:
            self._attributes.clear()
        self._attributes[tags] = fragment
        return fragment

    def _new(self, exemplars: Iterable[Exemplar]) -> list[dict[str, Any]]:
        since = self._exemplars_since
        return [exemplar(item) for item in exemplars if item.time_ns >= since]

    def _sum(self, definition: Definition, point: NumberPoint, now: str) -> dict[str, Any]:
        result = self._gauge(definition, point, now)
        if point.exemplar:
            result["exemplars"] = self._new([point.exemplar])
        return result

    def _gauge(self, definition: Definition, point: NumberPoint, now: str) -> dict[str, Any]:
        value = point.value
        result = self._base(point, now)
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            result["asInt"] = str(value)
        else:
            result["asDouble"] = double(value)
        return result

    def _summary(self, definition: Definition, point: BucketPoint, now: str) -> dict[str, Any]:
        return {
            **self._base(point, now),
            "count": str(point.recorded),
            "sum": double(point.total),
            "quantileValues": [],
        }

    def _histogram(self, definition: Definition, point: BucketPoint, now: str) -> dict[str, Any]:
        return {
            **self._base(point, now),
            "count": str(point.recorded),
            "sum": double(point.total),
            "bucketCounts": [str(count) for count in point.counts],
            "explicitBounds": definition.bounds,
            "exemplars": self._new((point.exemplars or {}).values()),
        }

    # The name is OTLP's field in camel case, by which _metric finds the method.
    def _exponentialHistogram(  # noqa: N802
        self, definition: Definition, point: ExponentialPoint, now: str
    ) -> dict[str, Any]:
        return {
            **self._base(point, now),
            "count": str(point.recorded),
            "sum": double(point.total),
            "scale": point.scale,
            "zeroCount": str(point.zero_count),
            "zeroThreshold": point.zero_threshold,
            "positive": _buckets(point.offset, point.counts),
            "negative": _buckets(point.negative_offset, point.negative_counts),
            "exemplars": self._new(point.exemplars),
        }


def _buckets(offset: int, counts: Sequence[int]) -> dict[str, Any]:
    return {"offset": offset, "bucketCounts": [str(count) for count in counts]}


def _name(definition: Definition) -> str:
    """OTLP knows no info metrics: they are gauges of value 1 whose name says so."""
    if definition.kind is Kind.INFO and not definition.name.endswith("info"):
        return f"{definition.name}.info"
    return definition.name


def _shape(definition: Definition) -> tuple[str, dict[str, Any]]:
    """The field of Metric that carries ``definition``, and what it holds besides points."""
    kind = definition.kind
    if kind in (Kind.COUNTER, Kind.UP_DOWN_COUNTER):
        monotonic = kind is Kind.COUNTER
        return "sum", {"aggregationTemporality": _CUMULATIVE, "isMonotonic": monotonic}
    if kind in (Kind.GAUGE, Kind.INFO):
        return "gauge", {}
    if kind in NATIVE:
        return "exponentialHistogram", {"aggregationTemporality": _CUMULATIVE}
    if definition.bounds:
        return "histogram", {"aggregationTemporality": _CUMULATIVE}
    return "summary", {}


def portions(snapshots: Sequence[Snapshot], limit: int) -> Iterator[list[Snapshot]]:
    """``snapshots`` in lists of at most ``limit`` points, large metrics split."""
    portion: list[Snapshot] = []
    room = limit
    for definition, points in snapshots:
        start = 0
        while start < len(points):
            taken = points[start : start + room]
            portion.append(Snapshot(definition, taken))
            start += len(taken)
            room -= len(taken)
            if room == 0:
                yield portion
                portion, room = [], limit
    if portion:
        yield portion


def attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """OTLP's list of key and typed value."""
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def any_value(value: Any) -> dict[str, Any]:
    """OTLP's AnyValue; what is none of its types becomes its text."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": double(value)}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    return {"stringValue": str(value)}


def double(value: float) -> float | str:
    """A double in protobuf's JSON: what JSON has no number for is a text."""
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def exemplar(item: Exemplar) -> dict[str, Any]:
    """OTLP's Exemplar."""
    return {
        "timeUnixNano": str(item.time_ns),
        "asDouble": double(item.value),
        "traceId": item.trace_id,
        "spanId": item.span_id,
    }
