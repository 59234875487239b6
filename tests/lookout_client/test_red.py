"""RED metrics of spans: every one counted, whatever the sampler keeps."""

from __future__ import annotations

from typing import Any

import pytest

import lookout_client as lookout
from lookout_client import Registry
from lookout_client.red import SpanMetrics
from lookout_client.snapshot import BucketPoint, NumberPoint


class Span:
    """What SpanMetrics reads of a record."""

    def __init__(self, name: str, seconds: float, status: int = 0, sampled: bool = True) -> None:
        self.name, self.kind, self.status = name, 1, status
        self.start_ns, self.duration_ns = 10**18, int(seconds * 1e9)
        self.flags, self.trace_id, self.span_id = int(sampled), 5, 6


def snapshot(registry: Registry, name: str) -> dict[str, Any]:
    return {
        dict(point.tags)["span.name"]: point
        for snapshot in registry.collect()
        if snapshot.definition.name == name
        for point in snapshot.points
        if dict(point.tags).get("status.code") != "STATUS_CODE_ERROR"
    }


def test_spans_are_counted_and_timed_by_name_kind_and_status() -> None:
    """Sampled or not; errors apart; an exemplar from those whose trace is kept."""
    registry = Registry()
    registry.exemplars.use(lambda: None)
    metrics = SpanMetrics(registry)
    spans: list[Any] = [Span("a", 0.2), Span("a", 0.3, sampled=False), Span("a", 1, status=2)]
    metrics.accept(spans)
    calls = registry.get(
        "traces.span.metrics.calls",
        {"span.name": "a", "span.kind": "SPAN_KIND_SERVER", "status.code": "STATUS_CODE_ERROR"},
    )
    assert calls is not None and calls.mark == 1
    point = snapshot(registry, "traces.span.metrics.duration")["a"]
    assert isinstance(point, BucketPoint)
    assert (point.recorded, point.total) == (2, pytest.approx(0.5))
    assert point.exemplars is not None
    (exemplar,) = point.exemplars.values()
    assert (exemplar.trace_id, exemplar.span_id) == (f"{5:032x}", f"{6:016x}")
    assert exemplar.value == 0.2


def test_span_names_without_end_stay_bounded() -> None:
    """A name with an id in it fills the limit, then the overflow series: the total is right."""
    registry = Registry(max_series_per_metric=10)
    metrics = SpanMetrics(registry)
    metrics.accept([Span(f"GET /{number}", 0.1) for number in range(1_000)])  # type: ignore[misc]
    points = [
        point
        for snapshot in registry.collect()
        if snapshot.definition.name == "traces.span.metrics.calls"
        for point in snapshot.points
    ]
    assert len(points) <= 10
    assert sum(p.value for p in points if isinstance(p, NumberPoint)) == 1_000
    assert len(metrics._meters) <= 10


def test_unsampled_spans_count_in_a_running_process() -> None:
    """With `span_metrics` the sampler drops the trace and the metric still has it."""
    lookout.REGISTRY.families.clear()
    lookout.init(
        service_name="s", collector=None, sampler="never", span_metrics=True, metrics_push=False
    )
    try:
        for _ in range(3):
            with lookout.start_span("job"):
                pass
        assert lookout.flush(5)
        point = snapshot(lookout.REGISTRY, "traces.span.metrics.calls")["job"]
        assert point.value == 3
    finally:
        lookout.shutdown(2)
        lookout.REGISTRY.families.clear()
