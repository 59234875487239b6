"""OTLP metrics become the series Prometheus' own receiver would make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from lookout_server.ingest.otlp_metrics import decode_json, decode_protobuf
from lookout_server.metrics.rows import MetricRows
from lookout_server.query.prometheus.source import STALE_BITS
from lookout_server.signal import Malformed, Receipt

NOW = 1_700_000_000_000
TIME = str(NOW * 1_000_000)
START = str((NOW - 60_000) * 1_000_000)
RECEIPT = Receipt("default", NOW, {})
POINT = {"timeUnixNano": TIME, "startTimeUnixNano": START}


def text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def request_of(*metrics: dict[str, Any]) -> dict[str, Any]:
    resource = {
        "attributes": [
            text("service.name", "shop"),
            text("service.namespace", "eu"),
            text("service.instance.id", "i-1"),
            text("host.name", "h"),
        ]
    }
    return {
        "resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": list(metrics)}]}]
    }


def values(rows: MetricRows) -> dict[str, float]:
    """Value by name, with the labels that are the metric's own."""
    found = {}
    for index, value in zip(rows.sample_series.tolist(), rows.values.tolist(), strict=True):
        labels = dict(rows.series[index].labels)
        assert (labels.pop("job"), labels.pop("instance")) == ("eu/shop", "i-1")
        name = labels.pop("__name__")
        found[name + "".join(f" {k}={v}" for k, v in labels.items())] = value
    return found


def decode(*metrics: dict[str, Any]) -> MetricRows:
    return decode_json(orjson.dumps(request_of(*metrics)), RECEIPT, None)


COUNTER = {
    "name": "http.requests",
    "unit": "{request}",
    "description": "Requests.",
    "sum": {
        "isMonotonic": True,
        "aggregationTemporality": 2,
        "dataPoints": [{**POINT, "asInt": "7", "attributes": [text("http.route", "/")]}],
    },
}


def test_counter_and_target_info() -> None:
    """Units and types end names, attributes are labels, the rest of the resource is a series."""
    rows = decode(COUNTER)
    assert values(rows) == {
        "http_requests_total http_route=/": 7.0,
        "target_info host_name=h": 1.0,
    }
    assert rows.starts is not None and rows.starts[0] == NOW - 60_000
    assert rows.metadata[0].type == "counter"
    assert rows.metadata[0].help == "Requests."


def test_protobuf_is_the_same() -> None:
    """The binary form gives the same rows as JSON."""
    message = json_format.ParseDict(request_of(COUNTER), ExportMetricsServiceRequest())
    rows = decode_protobuf(message.SerializeToString(), RECEIPT, None)
    assert values(rows) == values(decode(COUNTER))


def test_classic_histogram() -> None:
    """Buckets are cumulative, with the exemplar in its bucket."""
    exemplar = {"timeUnixNano": TIME, "asDouble": 0.3, "traceId": "ab" * 16, "spanId": "cd" * 8}
    point = {
        **POINT,
        "count": "6",
        "sum": 2.5,
        "bucketCounts": ["1", "2", "3"],
        "explicitBounds": [0.1, 1],
        "exemplars": [exemplar],
    }
    rows = decode(
        {
            "name": "took",
            "unit": "s",
            "histogram": {"aggregationTemporality": 2, "dataPoints": [point]},
        }
    )
    found = values(rows)
    del found["target_info host_name=h"]
    assert found == {
        "took_seconds_sum": 2.5,
        "took_seconds_count": 6.0,
        "took_seconds_bucket le=0.1": 1.0,
        "took_seconds_bucket le=1": 3.0,
        "took_seconds_bucket le=+Inf": 6.0,
    }
    (kept,) = rows.exemplars
    assert dict(rows.series[kept.series].labels)["le"] == "1"
    assert dict(kept.labels) == {"trace_id": "ab" * 16, "span_id": "cd" * 8}


def test_exponential_histogram() -> None:
    """An exponential histogram becomes a native one, its resolution reduced to what exists."""
    point = {
        **POINT,
        "count": "7",
        "sum": 3.0,
        "scale": 9,
        "zeroCount": "1",
        "positive": {"offset": -1, "bucketCounts": ["1", "2", "3"]},
    }
    rows = decode(
        {
            "name": "took",
            "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [point]},
        }
    )
    (sample,) = rows.histograms
    histogram = sample.histogram
    assert (histogram.schema, histogram.count, histogram.zero_count) == (8, 7.0, 1.0)
    assert histogram.positive.indices.tolist() == [0, 1]
    assert histogram.positive.counts.tolist() == [1.0, 5.0]


def test_summary_and_missing_value() -> None:
    """Quantiles are series; a point without a value is a staleness marker."""
    summary = {
        "name": "s",
        "summary": {
            "dataPoints": [
                {
                    **POINT,
                    "count": "2",
                    "sum": 3.0,
                    "quantileValues": [{"quantile": 0.5, "value": 1.0}],
                }
            ]
        },
    }
    gauge = {"name": "g", "gauge": {"dataPoints": [{**POINT, "flags": 1}]}}
    found = values(decode(summary, gauge))
    assert found["s quantile=0.5"] == 1.0
    assert np.float64(found["g"]).view(np.uint64) == STALE_BITS


def test_delta_is_refused() -> None:
    """Delta temporality is told, not stored as if it were cumulative."""
    delta = {**COUNTER, "sum": {**COUNTER["sum"], "aggregationTemporality": 1}}  # type: ignore[dict-item]
    rows = decode(delta)
    assert not rows.samples
    (problem,) = rows.problems
    assert (problem.reason, problem.samples) == ("temporality", 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"resourceMetrics":5}', b'"x"', b"\xff"])
def test_malformed_json(body: bytes) -> None:
    """What is no request is Malformed."""
    with pytest.raises(Malformed):
        decode_json(body, RECEIPT, None)
