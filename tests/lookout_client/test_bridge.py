"""Together with prometheus_client: their metrics through us, ours through them."""

from __future__ import annotations

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families as parse

from lookout_client import Registry
from lookout_client.scrape import Exposition
from lookout_client.scrape.bridge import include, register


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.fixture
def theirs() -> CollectorRegistry:
    registry = CollectorRegistry()
    prometheus_client.Counter("jobs", "Jobs.", ["q__x"], registry=registry).labels("a").inc(3)
    prometheus_client.Gauge("temp__now", "T.", registry=registry).set(-1)
    prometheus_client.Histogram("lat", "L.", buckets=(1, 2), registry=registry).observe(1.5)
    prometheus_client.Summary("size", "S.", registry=registry).observe(4)
    prometheus_client.Info("build", "B.", registry=registry).info({"version": "1"})
    prometheus_client.Enum("state", "E.", states=["up", "down"], registry=registry).state("down")
    return registry


@pytest.fixture
def ours() -> Registry:
    registry = Registry()
    registry.counter("orders").inc(2, kind="book")
    registry.timer("latency", buckets=(0.1, 1)).record(0.5)
    registry.summary("payload", unit="By").record(9)
    registry.native_histogram("n").record(3)
    registry.gauge("queue").set(7)
    return registry


def test_their_metrics_are_scraped_through_us(theirs: CollectorRegistry, ours: Registry) -> None:
    """Everything prometheus_client would show is in our exposition, under the same names."""
    include(theirs, ours)
    found = samples(Exposition(ours).answer().body)
    expected = samples(prometheus_client.generate_latest(theirs))
    assert expected.items() <= found.items()
    assert found["orders_total", frozenset({("kind", "book")})] == 2


def test_our_metrics_are_scraped_through_them(theirs: CollectorRegistry, ours: Registry) -> None:
    """An application that already serves a prometheus_client registry serves ours with it."""
    undo = register(theirs, ours)
    found = samples(prometheus_client.generate_latest(theirs))
    assert samples(Exposition(ours).answer().body).items() <= found.items()
    undo()
    assert not any(
        name == "orders_total" for name, _ in samples(prometheus_client.generate_latest(theirs))
    )


def test_including_can_be_undone(theirs: CollectorRegistry, ours: Registry) -> None:
    """What `include` answers takes their metrics out again."""
    include(theirs, ours)()
    assert b"jobs_total" not in Exposition(ours).answer().body


def test_both_directions_at_once_show_everything_once(
    theirs: CollectorRegistry, ours: Registry
) -> None:
    """Each side reads the other without going round in circles."""
    expected = samples(prometheus_client.generate_latest(theirs)) | samples(
        Exposition(ours).answer().body
    )
    register(theirs, ours)
    include(theirs, ours)
    assert samples(Exposition(ours).answer().body) == expected
    assert samples(prometheus_client.generate_latest(theirs)) == expected
