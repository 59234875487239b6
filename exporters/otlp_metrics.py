"""Metrics of the OpenTelemetry SDK as OTLP in JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ._text import clean
from .otlp_encoding import json_attributes

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

PATH = "/v1/metrics"
CONTENT_TYPE = "application/json"


def encode_metrics(data: MetricsData) -> bytes:
    """An ``ExportMetricsServiceRequest``."""
    request = {
        "resourceMetrics": [
            {
                "resource": {"attributes": json_attributes(resource.resource.attributes)},
                "scopeMetrics": [
                    {
                        "scope": {
                            "name": scope.scope.name,
                            "version": scope.scope.version or "",
                        },
                        "metrics": [_metric(metric) for metric in scope.metrics],
                    }
                    for scope in resource.scope_metrics
                ],
            }
            for resource in data.resource_metrics
        ]
    }
    try:
        return msgspec.json.encode(request)
    except (UnicodeEncodeError, TypeError, OverflowError):
        return msgspec.json.encode(clean(request))


def _metric(metric: Any) -> dict[str, Any]:
    named = {
        "name": metric.name,
        "description": metric.description or "",
        "unit": metric.unit or "",
    }
    data = metric.data
    kind = type(data).__name__
    label, point = _KINDS[kind]
    body: dict[str, Any] = {"dataPoints": [point(each) for each in data.data_points]}
    if kind != "Gauge":
        body["aggregationTemporality"] = int(data.aggregation_temporality)
    if kind == "Sum":
        body["isMonotonic"] = data.is_monotonic
    return {**named, label: body}


def _point(point: Any) -> dict[str, Any]:
    fields = {
        "attributes": json_attributes(point.attributes),
        "startTimeUnixNano": str(point.start_time_unix_nano or 0),
        "timeUnixNano": str(point.time_unix_nano),
    }
    exemplars = getattr(point, "exemplars", None)
    return fields | {"exemplars": _exemplars(exemplars)} if exemplars else fields


def _number(point: Any) -> dict[str, Any]:
    return _point(point) | _value(point.value)


def _histogram(point: Any) -> dict[str, Any]:
    return (
        _point(point)
        | {
            "count": str(point.count),
            "sum": _float(point.sum),
            "bucketCounts": [str(count) for count in point.bucket_counts],
            "explicitBounds": list(point.explicit_bounds),
        }
        | _extremes(point)
    )


def _exponential(point: Any) -> dict[str, Any]:
    return (
        _point(point)
        | {
            "count": str(point.count),
            "sum": _float(point.sum),
            "scale": point.scale,
            "zeroCount": str(point.zero_count),
            "positive": _buckets(point.positive),
            "negative": _buckets(point.negative),
            "flags": point.flags,
        }
        | _extremes(point)
    )


_KINDS = {
    "Sum": ("sum", _number),
    "Gauge": ("gauge", _number),
    "Histogram": ("histogram", _histogram),
    "ExponentialHistogram": ("exponentialHistogram", _exponential),
}


def _buckets(buckets: Any) -> dict[str, Any]:
    return {
        "offset": buckets.offset,
        "bucketCounts": [str(count) for count in buckets.bucket_counts],
    }


def _extremes(point: Any) -> dict[str, Any]:
    # An empty histogram has infinities here, which mean "none".
    return {
        name: value
        for name, value in (("min", point.min), ("max", point.max))
        if value is not None and math.isfinite(value)
    }


def _exemplars(exemplars: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "timeUnixNano": str(exemplar.time_unix_nano),
            "filteredAttributes": json_attributes(exemplar.filtered_attributes),
            **({"traceId": f"{exemplar.trace_id:032x}"} if exemplar.trace_id else {}),
            **({"spanId": f"{exemplar.span_id:016x}"} if exemplar.span_id else {}),
            **_value(exemplar.value),
        }
        for exemplar in exemplars
    ]


def _value(value: float) -> dict[str, Any]:
    if isinstance(value, int):
        return {"asInt": str(value)}
    return {"asDouble": _float(value)}


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
