"""What the client sends is what the collector reads: OTLP and SOFALookout's lines."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import orjson
import pytest

from lookout_client import Registry
from lookout_client.mixin import Mixin
from lookout_client.push.lines import line
from lookout_client.push.lookout import LookoutReporter
from lookout_client.push.otlp import OtlpEncoder
from lookout_client.scrape.text import family_name
from lookout_client.steps import Priority
from lookout_client.windows import Indicator

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
        registry, lambda body, headers, lines: sent.append(body), clock_ms=lambda: now[0]
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


AT = 1_528_188_090_000
#: One line of each kind as SOFALookout's client was seen to write it, and what is in it. Of tags
#: and values the order is arbitrary there.
RECORDED = [
    (
        b'{"time":"2018-06-05T16:41:30+08:00","tags":{"app":"demo","_type_":"c","code":"200",'
        b'"method":"get","ip":"10.0.0.1"},"http_requests_total":{"count":6,"rate":0.2}}',
        Indicator(AT, "http_requests_total", (("code", "200"), ("method", "get")), "c",
                  {"count": 6, "rate": 0.2}),
    ),
    (
        b'{"time":"2018-06-05T16:41:30+08:00","tags":{"app":"demo","_type_":"g","ip":"10.0.0.1"},'
        b'"pool.size":{"value":7.0}}',
        Indicator(AT, "pool.size", (), "g", {"value": 7.0}),
    ),
    (
        b'{"time":"2018-06-05T16:41:30+08:00","tags":{"app":"demo","_type_":"t","ip":"10.0.0.1"},'
        b'"rpc.latency":{"elapPerExec":0.2925,"totalTime":1.17,"max":0.9}}',
        Indicator(AT, "rpc.latency", (), "t",
                  {"elapPerExec": 0.2925, "totalTime": 1.17, "max": 0.9}),
    ),
    (
        b'{"time":"2018-06-05T16:41:30+08:00","tags":{"app":"demo","_bucket":"0-100",'
        b'"ip":"10.0.0.1"},"rpc.latency":{"buckets":2}}',
        Indicator(AT, "rpc.latency", (("_bucket", "0-100"),), "", {"buckets": 2}),
    ),
    (
        b'{"time":"2018-06-05T16:41:30+08:00","tags":{"app":"demo","_type_":"d","ip":"10.0.0.1"},'
        b'"size":{"totalAmount":51.2,"max":1024,"rate":0.0667}}',
        Indicator(AT, "size", (), "d", {"totalAmount": 51.2, "max": 1024, "rate": 0.0667}),
    ),
    (
        b'{"time":"2018-06-05T16:41:30+08:00","tags":{"app":"demo","_type_":"m","ip":"10.0.0.1"},'
        b'"rpc":{"total_count.count":3,"total_count.rate":0.1,"g":5.0}}',
        Indicator(AT, "rpc", (), "m", {"total_count.count": 3, "total_count.rate": 0.1, "g": 5.0}),
    ),
]  # fmt: skip


def sorted_keys(text: bytes) -> bytes:
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)


@pytest.mark.parametrize(("recorded", "indicator"), RECORDED, ids=lambda one: str(one)[2:9])
def test_recorded_lines_are_written_and_read(recorded: bytes, indicator: Indicator) -> None:
    """Byte for byte, but for the order of keys; and the collector finds in them what was told."""
    common = (("app", "demo"), ("ip", "10.0.0.1"))
    written = line(indicator, common, timezone(timedelta(hours=8)))
    assert written is not None
    assert sorted_keys(written) == sorted_keys(recorded)
    for body in (recorded, written):
        rows = lookout_lines.decode(body, signal.Receipt("default", AT, {"app": "demo"}))
        assert rows.problems == []
        found = [dict(rows.series[index].labels) for index in rows.sample_series.tolist()]
        assert [labels.pop("__name__") for labels in found] == [
            f"{indicator.name}.{part}" for part in indicator.values
        ]
        assert rows.values.tolist() == list(indicator.values.values())
        assert rows.timestamps.tolist() == [AT] * len(found)
        assert all(labels == {**dict(common), **dict(indicator.tags)} for labels in found)


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
