"""What a Prometheus server is given: read back with prometheus_client's own parsers."""

from __future__ import annotations

import gzip
import math
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from lookout_client import Registry
from lookout_client.scrape import Exposition, start_server
from lookout_client.snapshot import BucketPoint

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
NOW_NS = 1_700_000_000_500_000_000


@pytest.fixture
def registry() -> Registry:
    return Registry(clock_ns=lambda: NOW_NS)


def samples(registry: Registry, accept: str = "") -> dict[str, dict[frozenset[str], Sample]]:
    body = Exposition(registry).answer(accept).body.decode()
    parse: Callable[[str], object] = parse_openmetrics if accept else parse_text
    found: dict[str, dict[frozenset[str], Sample]] = {}
    for family in parse(body):  # type: ignore[attr-defined]
        for sample in family.samples:
            key = frozenset(f"{k}={v}" for k, v in sample.labels.items())
            assert key not in found.setdefault(sample.name, {}), "a sample twice"
            found[sample.name][key] = sample
    return found


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_meter_arrives_with_its_value(registry: Registry, accept: str) -> None:
    """Counters, gauges, histograms and summaries read back as they were recorded."""
    registry.counter("orders", kind="book").inc(3)
    registry.up_down_counter("open").dec(2)
    registry.gauge("queue").set(-math.inf)
    registry.summary("size", unit="By").record(10)
    timer = registry.timer("latency", buckets=(0.1, 1), route="/a")
    for seconds in (0.1, 0.5, 3):
        timer.record(seconds)
    found = samples(registry, accept)
    assert found["orders_total"][frozenset({"kind=book"})].value == 3
    assert found["open"][frozenset()].value == -2
    assert found["queue"][frozenset()].value == -math.inf
    assert found["size_bytes_sum"][frozenset()].value == 10
    buckets = {
        dict(kv.split("=") for kv in key)["le"]: sample.value
        for key, sample in found["latency_seconds_bucket"].items()
    }
    assert buckets == {"0.1": 1, "1.0": 2, "+Inf": 3}
    assert found["latency_seconds_count"][frozenset({"route=/a"})].value == 3
    assert found["latency_seconds_sum"][frozenset({"route=/a"})].value == pytest.approx(3.6)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_any_tag_value_survives(registry: Registry, accept: str) -> None:
    """Quotes, backslashes, newlines and non-ASCII are escaped, not mangled."""
    value = 'a"b\\c\nd\\ne é中'
    registry.counter("c", {"k": value}).inc()
    (sample,) = samples(registry, accept)["c_total"].values()
    assert sample.labels == {"k": value}


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize("value", [None, 1e-300, 1.7e308])
def test_a_native_histogram_always_has_its_last_bucket(
    registry: Registry, accept: str, value: float | None
) -> None:
    """Empty, or with values beyond every power of two: +Inf counts them all."""
    histogram = registry.native_histogram("h")
    if value is not None:
        histogram.record(value)
    found = samples(registry, accept)["h_bucket"]
    assert found[frozenset({"le=+Inf"})].value == (value is not None)


def test_defect_15_the_text_is_what_prometheus_reads(registry: Registry) -> None:
    """Types and helps, counters end in _total, seconds and buckets, labels that are none made
    such, values escaped; no `_type_`, no `\\u`, and the content type said."""
    requests = registry.counter("http.requests", help="All.")
    requests.with_tags({"code-x": 'a"\n\\中'}).inc(2)
    registry.timer("t.x", buckets=(0.1,)).record(0.05)
    answer = Exposition(registry).answer("")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.body.decode().splitlines()
    assert "# HELP http_requests_total All." in lines
    assert "# TYPE http_requests_total counter" in lines
    assert 'http_requests_total{code_x="a\\"\\n\\\\中"} 2' in lines
    assert {'t_x_seconds_bucket{le="0.1"} 1', 't_x_seconds_bucket{le="+Inf"} 1'} <= set(lines)
    assert "# TYPE t_x_seconds histogram" in lines


def test_metrics_that_differ_only_in_forbidden_characters_stay_apart(registry: Registry) -> None:
    """`a.b` and `a_b` are one name to Prometheus: the second is escaped, not merged."""
    registry.gauge("a.b").set(1)
    registry.gauge("a_b").set(2)
    found = samples(registry)
    assert found["a_b"][frozenset()].value == 1
    assert found["U__a__b"][frozenset()].value == 2


def test_tags_that_become_one_label_are_joined(registry: Registry) -> None:
    """OpenTelemetry's rule: values joined with a semicolon, in the order of the original keys."""
    registry.counter("c", {"a.b": "1", "a_b": "2"}).inc()
    (sample,) = samples(registry)["c_total"].values()
    assert sample.labels == {"a_b": "1;2"}


def test_openmetrics_tells_unit_and_creation(registry: Registry) -> None:
    """UNIT where the name ends in it, and the moment counting began."""
    registry.counter("sent", unit="By", help="Bytes sent.").inc()
    (family,) = parse_openmetrics(Exposition(registry).answer(OPENMETRICS).body.decode())
    assert (family.name, family.type, family.unit) == ("sent_bytes", "counter", "bytes")
    assert family.documentation == "Bytes sent."
    created = {s.name: s.value for s in family.samples}["sent_bytes_created"]
    assert created == NOW_NS / 1e9


def test_exemplars_name_the_trace(registry: Registry) -> None:
    """Counters and buckets carry the trace that was current, in OpenMetrics."""
    registry.exemplars.use(lambda: (0xABC, 0xDEF))
    registry.counter("c").inc(2)
    registry.histogram("h", buckets=(1, 5)).record(3)
    found = samples(registry, OPENMETRICS)
    labels = {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}
    counter = found["c_total"][frozenset()].exemplar
    assert counter is not None
    assert (counter.labels, counter.value) == (labels, 2)
    assert float(counter.timestamp) == NOW_NS / 1e9
    bucket = found["h_bucket"][frozenset({"le=5.0"})].exemplar
    assert bucket is not None and (bucket.labels, bucket.value) == (labels, 3)
    assert found["h_bucket"][frozenset({"le=1.0"})].exemplar is None


def test_a_reading_does_not_grow_while_it_is_encoded(registry: Registry) -> None:
    """An exemplar that another thread adds meanwhile would end the push of everything."""
    registry.exemplars.use(lambda: (0xABC, 0xDEF))
    histogram = registry.histogram("h", buckets=(1, 5))
    histogram.record(3)
    (snapshot,) = registry.collect()
    (point,) = snapshot.points
    assert isinstance(point, BucketPoint) and point.exemplars is not None
    for _ in point.exemplars:
        histogram.record(0.5)
    assert len(point.exemplars) == 1


def test_a_metric_without_own_recordings_shows_only_its_tagged_series(registry: Registry) -> None:
    """The meter that only served to make tagged ones is no series of its own."""
    registry.counter("c").with_tags(a="b").inc()
    assert set(samples(registry)["c_total"]) == {frozenset({"a=b"})}
    registry.counter("lonely")
    assert samples(registry)["lonely_total"][frozenset()].value == 0


def test_the_small_server_serves_and_closes(registry: Registry) -> None:
    """`GET /metrics` over real HTTP, compressed on request, on loopback; 404 elsewhere."""
    registry.counter("c").inc()
    with start_server(0, registry=registry) as server:
        url = f"http://127.0.0.1:{server.port}"
        request = urllib.request.Request(f"{url}/metrics", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert b"c_total 1" in gzip.decompress(answer.read())
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/other")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/metrics")
