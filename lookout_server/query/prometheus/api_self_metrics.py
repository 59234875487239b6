"""``/api/v1/status/self_metrics``: the collector's own metrics as JSON.

The JSON of ``io.prometheus.client.MetricFamily`` in protobuf's mapping, which writes 64-bit
integers as text. Source: "Self metrics" in the documentation of Prometheus' HTTP API.
"""

from __future__ import annotations

import math
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .answers import success
from .parameters import invalid
from .regexes import PatternError, compile_pattern
from .render import dumps
from .service import PrometheusService

#: prometheus_client's types that protobuf has a name for; the others are UNTYPED.
_TYPES = {"counter": "COUNTER", "gauge": "GAUGE", "summary": "SUMMARY", "histogram": "HISTOGRAM"}


def self_metrics_routes(service: PrometheusService) -> list[BaseRoute]:
    """The route for this service; without a registry of its own there is nothing to tell."""

    async def self_metrics(request: Request) -> Response:
        metrics = getattr(service.server, "metrics", None)
        registry = CollectorRegistry() if metrics is None else metrics.registry
        pattern = request.query_params.get("metric_name_pattern") or ".*"
        try:
            wanted = compile_pattern(pattern)
        except PatternError as error:
            raise invalid("metric_name_pattern", error) from error
        families = [family_json(family) for family in registry.collect()]
        chosen = [family for family in families if wanted.fullmatch(family["name"])]
        return success(request, dumps(chosen))

    return [Route("/api/v1/status/self_metrics", service.endpoint(self_metrics))]


def family_json(family: Metric) -> dict[str, Any]:
    """A family as the JSON of its protobuf message."""
    kind = _TYPES.get(family.type, "UNTYPED")
    metrics: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in family.samples:
        own = [(name, value) for name, value in sample.labels.items() if name not in _PARTS]
        known = metrics.setdefault(tuple(own), {"label": _labels(own)} if own else {})
        _add(known, kind, sample)
    name = f"{family.name}_total" if kind == "COUNTER" else family.name
    return {
        "name": name,
        "help": family.documentation,
        "type": kind,
        "metric": [*metrics.values()],
    }


#: Labels that stand for a part of a histogram or a summary.
_PARTS = ("le", "quantile")


def _labels(labels: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in labels]


def _add(metric: dict[str, Any], kind: str, sample: Sample) -> None:
    if sample.name.endswith("_created"):
        return
    if kind not in ("HISTOGRAM", "SUMMARY"):
        metric[kind.lower()] = {"value": _number(sample.value)}
        return
    parts = metric.setdefault(kind.lower(), {})
    if sample.name.endswith("_count"):
        parts["sampleCount"] = str(int(sample.value))
    elif sample.name.endswith("_sum"):
        parts["sampleSum"] = _number(sample.value)
    elif "quantile" in sample.labels:
        quantile = _number(float(sample.labels["quantile"]))
        parts.setdefault("quantile", []).append(
            {"quantile": quantile, "value": _number(sample.value)}
        )
    elif sample.labels["le"] != "+Inf":  # which is the count
        bound = _number(float(sample.labels["le"]))
        parts.setdefault("bucket", []).append(
            {"cumulativeCount": str(int(sample.value)), "upperBound": bound}
        )


def _number(value: float) -> float | str:
    """As protobuf's JSON has it: what JSON cannot say is a word."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
