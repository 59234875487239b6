"""What the client sends is what the collector reads: OTLP and SOFALookout's lines."""

from __future__ import annotations

from typing import Any

import pytest

from lookout_client import Registry
from lookout_client.mixin import Mixin
from lookout_client.push.lookout import LookoutReporter
from lookout_client.push.otlp import OtlpEncoder
from lookout_client.scrape.text import family_name
from lookout_client.steps import Priority

signal = pytest.importorskip("lookout_server.signal", reason="the collector is not installed")
lookout_lines = pytest.importorskip("lookout_server.ingest.lookout_lines")
otlp_metrics = pytest.importorskip("lookout_server.ingest.otlp_metrics")

NOW_MS = 1_700_000_000_000


def receipt() -> Any:
    return signal.Receipt("default", NOW_MS, {"app": "demo"})


def names(rows: Any) -> set[str]:
    return {dict(series.labels)["__name__"] for series in rows.series}


def test_the_collector_reads_every_line_of_a_report() -> None:
    """Counters, timers, summaries, gauges, mixins and buckets: no line is malformed."""
    registry = Registry()
    now = [NOW_MS - 30_000]
    sent: list[bytes] = []
    reporter = LookoutReporter(
        registry, lambda body, headers: sent.append(body), clock_ms=lambda: now[0]
    )
    registry.counter("hits").inc(6, code="200")
    registry.timer("rpc", buckets=(0.1,)).record(0.05)
    registry.summary("size").record(1024)
    registry.gauge("pool").set(7)
    Mixin(registry, "jvm").gauge("heap", lambda: 5.0)
    now[0] = NOW_MS
    reporter.report(Priority.NORMAL)
    rows = lookout_lines.decode(sent[0], receipt())
    assert rows.problems == []
    found = {name.replace("_", ".") for name in names(rows)}
    assert {"hits.count", "hits.rate", "rpc.elapPerExec", "rpc.max", "rpc.buckets",
            "size.totalAmount", "pool.value", "jvm.heap"} <= found  # fmt: skip
    assert 6.0 in rows.values


def test_pushed_and_scraped_metrics_have_the_same_names() -> None:
    """The collector's OTLP ingest and the client's scrape name every metric alike."""
    registry = Registry()
    registry.counter("shop.orders", unit="1").inc()
    registry.gauge("cpu", unit="1").set(0.5)
    registry.up_down_counter("open", unit="{connection}").inc()
    registry.timer("latency").record(1)
    registry.native_timer("native.latency").record(1)
    registry.summary("payload", unit="By").record(1)
    snapshots = registry.collect()
    (body,) = OtlpEncoder({"service.name": "s"}).encode(snapshots, NOW_MS * 1_000_000)
    rows = otlp_metrics.decode_json(body, receipt(), None)
    assert rows.problems == []
    expected = {family_name(snapshot.definition) for snapshot in snapshots}
    bare = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
            for name in names(rows)}  # fmt: skip
    assert expected <= bare
