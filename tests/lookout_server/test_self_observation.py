"""The collector about itself: metrics that add up, traces of its own requests."""

from __future__ import annotations

import json
import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from .serving import Serve, Serving
from .test_serve import JSON, span


def test_metrics_add_up(serve: Serve) -> None:
    """Valid exposition; accepted, stored, refused and missing rows are counted."""
    serving = serve()
    ledger = {"process": "p1", "service": "shop", "seq": 1, "created": 4, "sampled_out": 1}
    headers = {**JSON, "X-Lookout-Ledger": json.dumps(ledger)}
    assert serving.request("/api/v2/spans", span(), headers)[0] == 202
    assert serving.request("/api/v2/spans", b"[{}]", JSON)[0] == 400
    serving.request("/api/v2/services")
    _, answered, text = serving.request("/metrics")
    assert answered["content-type"].startswith("text/plain; version=")
    assert len(list(text_string_to_metric_families(text))) > 30
    prefix = "lookout_collector_"
    assert serving.metric(prefix + 'rows_total{format="zipkin.v2.json",signal="spans"}') == 1
    assert serving.metric(prefix + 'stored_rows_total{signal="spans"}') == 1
    assert serving.metric(prefix + 'refused_total{reason="malformed"}') == 1
    assert serving.metric(prefix + 'client_spans_missing{service="shop"}') == 2
    assert serving.metric(prefix + 'retention_seconds{signal="spans"}') == 604800
    accounts = json.loads(serving.request("/api/v1/lookout/ledger")[2])
    assert accounts == {
        "processes": [
            {
                "process": "p1",
                "service": "shop",
                "created": 4,
                "sampled_out": 1,
                "dropped": {},
                "dropped_by_collector": {},
                "sent": 0,
                "accepted": 1,
                "stored": 1,
            }
        ]
    }


def test_own_traces(serve: Serve) -> None:
    """With a rate the collector's requests are traces of the service lookout, steps below."""
    serving = serve(env={"LOOKOUT_SELF_TRACING_RATE": "1"})
    assert serving.request("/api/v2/spans", span(), JSON)[0] == 202

    def found() -> list[list[dict[str, object]]]:
        text = serving.request("/api/v2/traces?serviceName=lookout&spanName=post+/api/v2/spans")[2]
        traces: list[list[dict[str, object]]] = json.loads(text)
        return traces

    serving.eventually(lambda: bool(found()))
    names = {one["name"]: one.get("kind") for one in found()[0]}
    assert names == {"post /api/v2/spans": "SERVER", "decode": None, "journal": None}


def test_no_own_traces_by_default(serve: Serve) -> None:
    """Nobody's service list gets an entry he did not send."""
    serving = serve()
    serving.request("/api/v2/traces")
    assert json.loads(serving.request("/api/v2/services")[2]) == []


def test_times_out_of_bounds_are_told_from_losses(serve: Serve) -> None:
    """A span outside of retention is answered 202, not stored, and in its sender's account."""
    serving = serve()
    now = int(time.time() * 1e6)
    spans = [json.loads(span(number, start))[0] for number, start in enumerate((now, 10**15), 1)]
    ledger = {"process": "p1", "service": "shop", "seq": 1, "created": 2, "sent": 2}
    headers = {**JSON, "X-Lookout-Ledger": json.dumps(ledger)}
    assert serving.request("/api/v2/spans", json.dumps(spans).encode(), headers)[0] == 202
    serving.eventually(lambda: _account(serving)["stored"] == 1)
    assert _account(serving)["dropped"] == {"time_out_of_bounds": 1}
    assert _account(serving)["accepted"] == 2
    assert serving.metric('lookout_collector_client_spans_missing{service="shop"}') == 0


def test_what_the_sample_rate_leaves_out_is_told(serve: Serve) -> None:
    """By name in ``/metrics`` and in the sender's account, of bodies with and without a rest."""
    serving = serve(env={"COLLECTOR_SAMPLE_RATE": "0"})
    debugged = json.loads(span(1))[0] | {"debug": True}  # kept at any rate
    both = json.dumps([debugged, *json.loads(span(2))]).encode()
    ledger = {"process": "p1", "service": "shop", "seq": 1, "created": 3, "sent": 3}
    headers = {**JSON, "X-Lookout-Ledger": json.dumps(ledger)}
    for body in (both, span(3)):
        assert serving.request("/api/v2/spans", body, headers)[0] == 202
    serving.eventually(lambda: _account(serving)["stored"] == 1)
    assert _account(serving)["dropped_by_collector"] == {"collector_sample_rate": 2}
    reason = 'dropped_rows_total{reason="collector_sample_rate",signal="spans"}'
    assert serving.metric(f"lookout_collector_{reason}") == 2
    assert serving.metric('lookout_collector_client_spans_missing{service="shop"}') == 0


def _account(serving: Serving) -> dict[str, Any]:
    (account,) = json.loads(serving.request("/api/v1/lookout/ledger")[2])["processes"]
    return dict(account)


def test_metrics_name_no_services_of_tenants(serve: Serve) -> None:
    """With tenants, ``/metrics`` tells what is missing in one sum."""
    serving = serve("--multitenancy")
    ledger = json.dumps({"process": "p", "service": "secret", "created": 3, "sent": 1})
    headers = JSON | {"X-Scope-OrgID": "a", "X-Lookout-Ledger": ledger}
    assert serving.request("/api/v2/spans", span(), headers)[0] == 202
    serving.eventually(lambda: serving.metric("lookout_collector_client_spans_missing") == 2)
    assert "secret" not in serving.request("/metrics")[2]
