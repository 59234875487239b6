"""Metrics of spans count what was stored, and lead to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.metrics.service_graph import Edge, ServiceGraph
from lookout_server.metrics.span_histograms import (
    SCHEMA,
    ZERO_THRESHOLD,
    Durations,
)
from lookout_server.metrics.span_metrics import OTHER, SpanKey, SpanMetrics
from lookout_server.spans.columns import SpanColumns
from lookout_server.spans.model import Endpoint, Span
from lookout_server.spans.packed import PackedSpans, Words

from ..serving import Serve, Serving

NOW = 1_700_000_000_000


def span(  # one span as a decoder gives it
    id_: str,
    parent: str = "",
    kind: str = "SERVER",
    service: str = "shop",
    name: str = "get /",
    duration: int = 1_500,
    remote: str = "",
    error: bool = False,
) -> Span:
    return Span(
        trace_id="0" * 15 + "1",
        id=id_.zfill(16),
        parent_id=parent.zfill(16) if parent else "",
        kind=kind,
        name=name,
        timestamp=NOW * 1000,
        duration=duration,
        local=Endpoint(service),
        remote=Endpoint(remote),
        tags={"error": "boom"} if error else {},
    )


def columns(*spans: Span) -> PackedSpans:
    made = SpanColumns.of(spans)
    made.tenant = "default"
    return PackedSpans(made, Words())


def test_counts_by_key() -> None:
    """Spans are counted by service, name, kind and status, over batches."""
    metrics = SpanMetrics(most_keys=100)
    metrics.observe([columns(span("1"), span("2", error=True))], NOW)
    metrics.observe([columns(span("3", duration=3_000), span("4", kind="CLIENT"))], NOW)
    keys, durations = metrics.read()["default"]
    good = keys.index(SpanKey("shop", "get /", "server", "ok"))
    assert durations.sums[good] == pytest.approx(0.0045)
    assert durations.classic[good][:3].tolist() == [1, 1, 0]
    assert dict(zip(keys, durations.counts.tolist(), strict=True)) == {
        SpanKey("shop", "get /", "server", "ok"): 2,
        SpanKey("shop", "get /", "server", "error"): 1,
        SpanKey("shop", "get /", "client", "ok"): 1,
    }


def test_keys_are_bounded() -> None:
    """Beyond the most keys, names are one, and nothing is lost from the counts."""
    metrics = SpanMetrics(most_keys=3)
    metrics.observe([columns(*(span("1", name=f"n{n}") for n in range(10)))], NOW)
    keys, durations = metrics.read()["default"]
    assert len(keys) == 4
    assert durations.counts[keys.index(SpanKey("shop", OTHER, "server", "ok"))] == 7
    assert durations.counts.sum() == 10


def test_exemplar_is_the_slowest() -> None:
    """Of each key the slowest span since the last report is the exemplar."""
    metrics = SpanMetrics(most_keys=10)
    metrics.observe([columns(span("1", duration=10), span("2", duration=30))], NOW)
    metrics.observe([columns(span("3", duration=20))], NOW)
    (exemplar,) = metrics.take_exemplars()["default"].values()
    assert (exemplar.span_id, exemplar.trace_id) == ("0" * 15 + "2", "0" * 15 + "1")
    assert not metrics.take_exemplars()["default"]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_native_buckets_hold_their_values(seconds: list[float]) -> None:
    """Each duration is in the native bucket whose bounds enclose it, and all are counted."""
    for value in seconds:
        durations = Durations()
        durations.add(np.array([durations.begin(NOW)]), np.array([value]))
        found = durations.columns(np.array([0]))
        if value <= ZERO_THRESHOLD:
            assert (found.zeros.tolist(), found.native_sizes.tolist()) == ([1], [0])
            continue
        (index,), (count,) = found.native_indices.tolist(), found.native_counts.tolist()
        width = 2.0 ** (2.0**-SCHEMA)
        upper = 2.0 ** (index * 2.0**-SCHEMA)
        assert count == 1
        assert upper / width * (1 - 1e-9) <= value <= upper * (1 + 1e-9)


def edges(graph: ServiceGraph) -> dict[Edge, tuple[int, int]]:
    return {
        edge: (total, failed)
        for found in graph.read().values()
        for edge, total, failed in zip(
            found.edges, found.client_seconds.counts.tolist(), found.failed.tolist(), strict=True
        )
    }


def test_pairs_of_client_and_server() -> None:
    """A client span and the server span below it are a call, in whichever order they come."""
    client = span("a", kind="CLIENT", service="web")
    server = span("b", parent="a", service="shop", error=True)
    for batch in ([client, server], [server, client]):
        graph = ServiceGraph()
        for one in batch:
            graph.observe([columns(one)], NOW)
        assert edges(graph) == {Edge("web", "shop", ""): (1, 1)}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 2)), max_size=30))
def test_pairing_is_that_of_one_by_one(halves: list[tuple[str, bool, int]]) -> None:
    """However spans are cut into batches, each pairs with the other side that came last."""
    graph = ServiceGraph()
    waiting: dict[str, tuple[bool, str]] = {}
    expected: dict[Edge, tuple[int, int]] = {}
    for batch in range(3):
        found = []
        for id_, is_client, where in halves:
            if where != batch:
                continue
            service = f"{'client' if is_client else 'server'}-{len(found)}-{batch}"
            kind, parent = ("CLIENT", "") if is_client else ("SERVER", id_)
            own = id_ if is_client else "f"
            found.append(span(own, parent=parent, kind=kind, service=service))
            other = waiting.pop(id_, None)
            if other is None or other[0] == is_client:
                waiting[id_] = (is_client, service)
            else:
                edge = Edge(*((service, other[1]) if is_client else (other[1], service)), "")
                count = expected.get(edge, (0, 0))[0]
                expected[edge] = (count + 1, 0)
        graph.observe([columns(*found)] if found else [], NOW)
    assert edges(graph) == expected


def test_waiting_spans_and_edges_are_bounded() -> None:
    """The oldest give up where too many wait, and edges beyond the most are not counted."""
    graph = ServiceGraph(most_edges=2, most_waiting=3)
    calls = [span(f"{n + 1:x}", kind="CLIENT", service="web", remote=f"db-{n}") for n in range(6)]
    graph.observe([columns(*calls)], NOW)
    assert set(edges(graph)) == {Edge("web", f"db-{n}", "virtual_node") for n in range(2)}


def test_tenants_do_not_meet() -> None:
    """The same ids of two tenants are no call."""
    graph = ServiceGraph()
    client, server = columns(span("a", kind="CLIENT")), columns(span("b", parent="a"))
    server.tenant = "other"
    graph.observe([client, server], NOW)
    assert edges(graph) == {}


def test_virtual_node() -> None:
    """A client whose server never reports is counted by the name it calls it, after a wait."""
    graph = ServiceGraph(wait_ms=1000)
    graph.observe([columns(span("a", kind="CLIENT", service="web", remote="db"))], NOW)
    assert edges(graph) == {}
    graph.observe([], NOW + 1000)
    assert edges(graph) == {Edge("web", "db", "virtual_node"): (1, 0)}


@pytest.fixture
def reporting(serve: Serve) -> Iterator[Serving]:
    yield serve("--retention", "0", env={"LOOKOUT_SPAN_METRICS_INTERVAL": "0.2"})


def test_from_span_to_promql(reporting: Serving) -> None:
    """Spans posted to the collector show up in PromQL, with an exemplar of a stored trace."""
    now = int(time.time() * 1e6)
    spans = [
        {
            "traceId": "abc".zfill(16),
            "id": f"{n + 1:016x}",
            "kind": "SERVER",
            "name": "get /",
            "timestamp": now,
            "duration": 2_000 * (n + 1),
            "localEndpoint": {"serviceName": "shop"},
        }
        for n in range(3)
    ]
    headers = {"Content-Type": "application/json"}
    assert reporting.request("/api/v2/spans", orjson.dumps(spans), headers)[0] == 202

    def count() -> float:
        query = "lookout_span_duration_seconds_count%7Bservice=%22shop%22%7D"
        answer = orjson.loads(reporting.request(f"/api/v1/query?query={query}")[2])
        return float(answer["data"]["result"][0]["value"][1]) if answer["data"]["result"] else 0

    reporting.eventually(lambda: count() == 3)
    query = "lookout_span_duration_seconds_bucket"
    answer = orjson.loads(reporting.request(f"/api/v1/query_exemplars?query={query}")[2])
    trace = answer["data"][0]["exemplars"][0]["labels"]["trace_id"]
    assert reporting.request(f"/api/v2/trace/{trace}")[0] == 200
