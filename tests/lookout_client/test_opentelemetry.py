"""OpenTelemetry's metrics API over our meters, used as instrumentations use it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import pytest
from opentelemetry.metrics import CallbackOptions, Observation

from lookout_client import Registry
from lookout_client.opentelemetry import Meter, MeterProvider
from lookout_client.snapshot import BucketPoint, ExponentialPoint, NumberPoint, Point
from lookout_client.views import View


@pytest.fixture
def registry() -> Registry:
    return Registry()


def meter_of(registry: Registry, *views: View) -> Meter:
    return MeterProvider(registry, views).get_meter("test")


def points(registry: Registry, name: str) -> dict[tuple[tuple[str, str], ...], Point]:
    return {
        point.tags: point
        for snapshot in registry.collect()
        if snapshot.definition.name == name
        for point in snapshot.points
    }


def value(registry: Registry, name: str, **tags: str) -> float:
    point = points(registry, name)[tuple(sorted(tags.items()))]
    assert isinstance(point, NumberPoint)
    return point.value


def test_synchronous_instruments_record(registry: Registry) -> None:
    """Counters add, up-down counters move, gauges are set, histograms count."""
    meter = meter_of(registry)
    counter = meter.create_counter("c", unit="By", description="d")
    counter.add(2, {"a": "x"})
    counter.add(3, {"a": "x"})
    counter.add(1)
    meter.create_up_down_counter("u").add(-4, {"a": "x"})
    meter.create_gauge("g").set(2.5, {"a": "x"})
    histogram = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2])
    histogram.record(1.5, {"a": "x"})
    histogram.record(9)
    assert value(registry, "c", a="x") == 5
    assert value(registry, "c") == 1
    assert value(registry, "u", a="x") == -4
    assert value(registry, "g", a="x") == 2.5
    found = points(registry, "h")
    assert [p.counts for p in found.values() if isinstance(p, BucketPoint)] == [
        [0, 0, 1],
        [0, 1, 0],
    ]
    assert registry.families["c"].definition.unit == "By"
    assert registry.families["h"].definition.bounds == (1.0, 2.0)


def test_attribute_types_are_told_apart(registry: Registry) -> None:
    """1, True, 1.0 and "1" are four values, whichever comes first; lists are JSON."""
    counter = meter_of(registry).create_counter("c")
    for _ in range(2):
        for attribute in (1, True, 1.0, "1", ["a", 1]):
            counter.add(1, {"k": attribute})
    assert value(registry, "c", k="1") == 4  # the int and the text read the same
    assert value(registry, "c", k="true") == 2
    assert value(registry, "c", k="1.0") == 2
    assert value(registry, "c", k='["a", 1]') == 2


@pytest.mark.parametrize("attributes", [7, "text", {"k": object()}, {None: None}, {"k": {"n": 1}}])
def test_bad_attributes_and_amounts_never_raise(registry: Registry, attributes: object) -> None:
    """Whatever instrumentation passes, the recording is taken or refused, never raised."""
    counter = meter_of(registry).create_counter("c")
    counter.add(1, attributes)  # type: ignore[arg-type]
    counter.add("x", attributes)  # type: ignore[arg-type]
    counter.add(-1, attributes)  # type: ignore[arg-type]
    total = sum(p.value for p in points(registry, "c").values() if isinstance(p, NumberPoint))
    assert total == 1
    assert registry.refused == {"not_a_number": 1, "negative": 1}


def test_callbacks_are_asked_at_every_reading(registry: Registry) -> None:
    """Functions and generators observe; what is not observed again is not reported again."""
    seen = iter(
        [[Observation(5, {"q": "a"}), Observation(7, {"q": "b"})], [Observation(6, {"q": "a"})]]
    )

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        return next(seen)

    def generate() -> Generator[Iterable[Observation], CallbackOptions, None]:
        yield [Observation(1)]
        yield [Observation(2)]

    meter = meter_of(registry)
    meter.create_observable_gauge("g", [observe])
    meter.create_observable_counter("c", [generate()])
    first = {s.definition.name: s for s in registry.collect()}
    second = {s.definition.name: s for s in registry.collect()}
    assert [p.value for p in first["g"].points if isinstance(p, NumberPoint)] == [5, 7]
    assert [p.tags for p in second["g"].points] == [(("q", "a"),)]
    assert [
        p.value for s in (first, second) for p in s["c"].points if isinstance(p, NumberPoint)
    ] == [1, 2]


def test_two_readings_at_once_of_a_generator(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """While one is inside, the other has what was observed before, and nothing fails."""
    inside, go_on = threading.Event(), threading.Event()

    def observe() -> Generator[Iterable[Observation], CallbackOptions, None]:
        yield [Observation(1)]
        inside.set()
        go_on.wait(30)
        yield [Observation(2)]

    meter_of(registry).create_observable_gauge("g", callbacks=[observe()])
    assert value(registry, "g") == 1
    slow = threading.Thread(target=registry.collect)
    slow.start()
    assert inside.wait(30)
    assert value(registry, "g") == 1
    go_on.set()
    slow.join(30)
    assert caplog.records == []


def test_a_failing_callback_costs_only_itself(registry: Registry) -> None:
    """One bad callback does not spoil the reading of another of the same instrument."""

    def bad(options: CallbackOptions) -> Iterable[Observation]:
        raise RuntimeError("no")

    meter_of(registry).create_observable_gauge("g", [bad, lambda options: [Observation(1)]])
    assert value(registry, "g") == 1
    assert value(registry, "g") == 1


def test_the_cardinality_limit_keeps_the_total(registry: Registry) -> None:
    """2000 attribute sets by default, then otel.metric.overflow=true takes the rest."""
    counter = meter_of(registry).create_counter("c")
    for number in range(2_500):
        counter.add(1, {"user": str(number)})
    found = points(registry, "c")
    assert len(found) == 2_000
    overflow = found[(("otel.metric.overflow", "true"),)]
    assert isinstance(overflow, NumberPoint)
    assert sum(p.value for p in found.values() if isinstance(p, NumberPoint)) == 2_500
    assert overflow.value == 2_500 - 1_999


def test_observable_instruments_are_limited_too(registry: Registry) -> None:
    """A callback that observes more series than allowed is folded into the overflow series."""
    registry.max_series_per_metric = 3
    meter_of(registry).create_observable_up_down_counter(
        "o", [lambda _: [Observation(1, {"i": i}) for i in range(10)]]
    )
    assert value(registry, "o", **{"otel.metric.overflow": "true"}) == 7


def test_views_shape_by_name(registry: Registry) -> None:
    """Rename, keep attributes, change buckets, go native, drop, limit."""
    meter = meter_of(
        registry,
        View("renamed", name="other", description="new"),
        View("http.*", attribute_keys=frozenset({"route"})),
        View("size", boundaries=(10, 20)),
        View("native", native=True),
        View("noise.*", drop=True),
    )
    meter.create_counter("renamed").add(1)
    meter.create_counter("http.requests").add(1, {"route": "/a", "user": "u"})
    meter.create_histogram("size").record(15)
    meter.create_histogram("native").record(15)
    meter.create_counter("noise.level").add(1)
    assert value(registry, "other") == 1
    assert value(registry, "http.requests", route="/a") == 1
    assert registry.families["size"].definition.bounds == (10.0, 20.0)
    assert isinstance(points(registry, "native")[()], ExponentialPoint)
    assert "noise.level" not in registry.families


@pytest.mark.parametrize(
    ("word", "native", "warned"),
    [
        ("base2_exponential_bucket_histogram", True, False),
        ("explicit_bucket_histogram", False, False),
        ("", False, False),
        ("base2", False, True),
    ],
)
def test_the_environment_chooses_the_default_buckets(
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    word: str,
    native: bool,
    warned: bool,
) -> None:
    """OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION, and a line for what it is not."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", word)
    MeterProvider(registry).get_meter("m").create_histogram("h").record(3)
    (snapshot,) = registry.collect()
    assert isinstance(snapshot.points[0], ExponentialPoint) is native
    assert bool(caplog.records) is warned


def test_the_same_instrument_is_made_once(registry: Registry) -> None:
    """Two libraries that create the same instrument share the metric; another type is reported."""
    provider = MeterProvider(registry)
    one, other = provider.get_meter("one"), provider.get_meter("other")
    assert provider.get_meter("one") is one
    assert one.create_counter("c") is one.create_counter("c")
    one.create_counter("c").add(1)
    other.create_counter("c").add(1)
    other.create_histogram("c").record(1)
    assert value(registry, "c") == 2


def test_instruments_carry_exemplars(registry: Registry) -> None:
    """The current trace rides on what is recorded through OpenTelemetry too."""
    registry.exemplars.use(lambda: (1, 2))
    meter_of(registry).create_counter("c").add(1, {"a": "b"})
    (point,) = (p for p in points(registry, "c").values() if isinstance(p, NumberPoint))
    assert point.exemplar is not None and int(point.exemplar.trace_id, 16) == 1


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], str]:
    """Runs a script in a folder of its own, with our provider chosen by environment."""

    def script(code: str) -> str:
        (tmp_path / "app.py").write_text(code)
        found = subprocess.run(
            [sys.executable, "app.py"],
            cwd=tmp_path,
            env={
                "OTEL_PYTHON_METER_PROVIDER": "lookout",
                "LOOKOUT_COLLECTOR": "http://127.0.0.1:9",
                "LOOKOUT_EXIT_TIMEOUT": "0.1",
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout + found.stderr

    return script


APP = """
import logging
logging.basicConfig()  # we print nothing where the application has not set up logging
from opentelemetry import metrics
metrics.get_meter("m").create_counter("c").add(3)
from lookout_client import REGISTRY
print("counted", REGISTRY.get("c").value)
"""


def test_the_environment_chooses_our_provider(run: Callable[[str], str]) -> None:
    """OTEL_PYTHON_METER_PROVIDER=lookout is all an application needs."""
    assert "counted 3" in run(APP)


@pytest.mark.parametrize("intruder", ["tracer", "exporters"])
def test_a_module_of_the_users_in_our_way_is_named(
    run: Callable[[str], str], tmp_path: Path, intruder: str
) -> None:
    """An application's own tracer.py hides our package: meters work, the log names the file."""
    (tmp_path / f"{intruder}.py").write_text("")
    output = run(APP)
    assert "counted 3" in output
    assert f"{intruder}.py hides" in output
