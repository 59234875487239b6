"""The collector's own metrics in Prometheus' JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from lookout_server.query.prometheus.api_self_metrics import family_json

from ..serving import Serve


def _families(registry: CollectorRegistry) -> dict[str, Any]:
    return {family["name"]: family for family in map(family_json, registry.collect())}


def test_families_are_as_protobuf_writes_them() -> None:
    """Counters by their full name, counts as text, and no number that JSON cannot say."""
    registry = CollectorRegistry()
    Counter("rows", "Rows.", ["signal"], registry=registry).labels("spans").inc(3)
    Gauge("age", "Age.", registry=registry).set(float("inf"))
    Histogram("took", "Took.", buckets=(0.5, 1.0), registry=registry).observe(0.7)
    found = _families(registry)
    assert found["rows_total"] == {
        "name": "rows_total",
        "help": "Rows.",
        "type": "COUNTER",
        "metric": [{"label": [{"name": "signal", "value": "spans"}], "counter": {"value": 3.0}}],
    }
    assert found["age"]["metric"] == [{"gauge": {"value": "Infinity"}}]
    assert found["took"]["metric"][0]["histogram"] == {
        "bucket": [
            {"cumulativeCount": "0", "upperBound": 0.5},
            {"cumulativeCount": "1", "upperBound": 1.0},
        ],
        "sampleCount": "1",
        "sampleSum": 0.7,
    }


@pytest.mark.slow
def test_a_running_collector_tells_them(serve: Serve) -> None:
    """Those whose names match are told, and a pattern that is none is refused."""
    serving = serve()
    path = "/api/v1/status/self_metrics?metric_name_pattern="
    status, _, text = serving.request(path + "lookout_collector_waiting_.%2A")
    families = json.loads(text)["data"]
    assert status == 200
    assert [family["name"] for family in families] == ["lookout_collector_waiting_rows"]
    assert len(families[0]["metric"]) == 2
    status, _, text = serving.request(path + "%28")
    assert status == 400
    assert json.loads(text)["error"].startswith('invalid parameter "metric_name_pattern": error')
