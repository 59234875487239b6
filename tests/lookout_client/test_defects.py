"""SOFALookout's defects that are about no single meter, each shown to be absent here.

The others have their tests where the thing itself is tested; a name with ``defect_N`` tells.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import lookout_client as lookout
from lookout_client import Registry, default
from lookout_client.composite import CompositeRegistry
from lookout_client.config import MetricsConfig, load
from lookout_client.importers import start_importers
from lookout_client.push.lookout import BATCH_SIZE, COMPRESS_FROM
from lookout_client.scrape import Exposition
from lookout_client.snapshot import BucketPoint, NumberPoint
from lookout_client.steps import Priority

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()


@pytest.fixture(autouse=True)
def fresh_registry() -> Iterator[None]:
    """The process-wide registry, empty before and after."""
    default.REGISTRY.families.clear()
    yield
    lookout.shutdown(1)
    default.REGISTRY.families.clear()


@pytest.mark.parametrize("settings", [{}, {"metrics_push": False}, {"enabled": False}])
def test_defect_12_the_process_wide_registry_is_there_however_one_starts(
    settings: dict[str, Any],
) -> None:
    """With every way out turned off, the functions still record into the registry all read."""
    lookout.init("shop", collector="", **settings)
    lookout.counter("orders").inc(2)
    found = default.REGISTRY.get("orders")
    assert found is not None and found.mark == 2
    assert b"orders_total 2" in Exposition(default.REGISTRY).answer().body


def test_defect_12_every_registry_of_a_composite_is_used() -> None:
    """None of them is left out, whatever the first one is."""
    registries = [Registry(), Registry(), Registry()]
    CompositeRegistry(*registries).counter("orders").inc(3)
    assert [registry.get("orders").mark for registry in registries] == [3, 3, 3]  # type: ignore[union-attr]


def test_defect_13_what_was_made_too_early_is_no_dummy() -> None:
    """Meters made, bound and recorded into before `init` are those reported after it."""
    early = lookout.counter("early", keys=("k",))
    bound, timer = early.tagged("v"), lookout.timer("early.timer")
    bound.inc()
    lookout.init("shop", collector="")
    lookout.init("shop again", collector="")
    bound.inc()
    early.inc(k="v")
    timer.record(0.5)
    assert lookout.counter("early").with_tags(k="v") is bound
    points = {
        (snapshot.definition.name, point.tags): point
        for snapshot in default.REGISTRY.collect()
        for point in snapshot.points
    }
    point = points["early", (("k", "v"),)]
    assert isinstance(point, NumberPoint) and point.value == 3
    assert isinstance(timed := points["early.timer", ()], BucketPoint) and timed.recorded == 1


def stats(generations: int) -> Callable[[], list[dict[str, int]]]:
    counts = {"collections": 1, "collected": 2, "uncollectable": 0}
    return lambda: [dict(counts) for _ in range(generations)]


@pytest.mark.parametrize("naming", ["opentelemetry", "sofalookout"])
@pytest.mark.parametrize("generations", [0, 1, 2, 4])
def test_defect_17_an_unknown_garbage_collector_spoils_nothing(
    monkeypatch: pytest.MonkeyPatch, naming: str, generations: int
) -> None:
    """Fewer or more generations than CPython has today: what is known is told, the rest goes on."""
    monkeypatch.setattr(gc, "get_stats", stats(generations))
    registry = Registry()
    stop = start_importers(registry, ["python"], naming)
    gc.callbacks[-1]("start", {"generation": 7})
    gc.callbacks[-1]("stop", {"generation": 7})
    names = {snapshot.definition.name for snapshot in registry.collect() if snapshot.points}
    threads = "jvm.threads.active" if naming == "sofalookout" else "cpython.thread.count"
    assert {threads, "cpython.gc.duration"} <= names
    failures = registry.get("lookout.importer.failures", {"importer": "python"})
    assert failures is None
    stop()


def test_defect_17_an_interpreter_without_such_a_collector_spoils_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As PyPy, which has neither the counts nor the callbacks: left out, counted, named."""
    monkeypatch.delattr(gc, "get_stats")
    monkeypatch.delattr(gc, "callbacks")
    registry = Registry()
    stop = start_importers(registry, ["python", "process"])
    names = {snapshot.definition.name for snapshot in registry.collect()}
    assert {"cpython.thread.count", "process.memory.usage"} <= names
    stop()


def test_every_case_and_every_defect_has_a_test_of_its_name() -> None:
    """Cases A1 to E1 and the 28 defects of the inventory of SOFALookout, wherever tested."""
    tests = Path(__file__).resolve().parents[1].rglob("test_*.py")
    names = {name for file in tests for name in re.findall(r"def test_(\w+)", file.read_text())}
    counts = {"a": 15, "b": 7, "c": 12, "d": 10, "e": 1}
    cases = {f"{kind}{number}" for kind, last in counts.items() for number in range(1, last + 1)}
    named = {
        word for name in names for word in re.findall(r"(?<![a-z0-9])[a-e]\d+(?![a-z0-9])", name)
    }
    spans = [re.match(r"d(\d+)_to_d(\d+)_", name) for name in names]
    named |= {f"d{n}" for span in spans if span for n in range(int(span[1]), int(span[2]) + 1)}
    assert cases - named == set()
    listed = [name.partition("defect")[2] for name in names if "defect" in name]
    defects = {int(n) for text in listed for n in re.findall(r"(?<=_)\d+(?=_|$)", text)}
    assert set(range(1, 29)) - defects == set()


def shown(value: Any) -> str:
    """A default as the page writes it."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_defect_28_every_setting_is_documented_as_it_is() -> None:
    """docs/metrics.md names each setting, its variables, its default and its meaning."""
    for row in fields(MetricsConfig):
        line = next((one for one in PAGE.splitlines() if one.startswith(f"| `{row.name}` |")), "")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        variables = [one if isinstance(one, str) else one[0] for one in row.metadata["env"]]
        assert cells[1:] == [
            ", ".join(f"`{variable}`" for variable in variables),
            shown(row.default),
            row.metadata["doc"],
        ], row.name


def test_defect_28_every_variable_that_is_documented_exists() -> None:
    """No page promises a variable that nobody reads, or whose value is not taken."""
    known = {
        one if isinstance(one, str) else one[0]
        for row in fields(MetricsConfig)
        for one in row.metadata["env"]
    }
    named = set(re.findall(r"`((?:LOOKOUT|OTEL|PROMETHEUS)_[A-Z_]+)[`=]", PAGE))
    others = {  # not of this table, tested where they are read
        "OTEL_PYTHON_METER_PROVIDER",
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    }
    assert named - others == known


def test_defect_28_the_limits_and_ports_are_those_of_the_page() -> None:
    """2,000 series a metric, 20,000 in all, port 19399; the protocol's numbers are as known."""
    registry = Registry()
    assert f"{registry.max_series_per_metric:,} series per metric" in PAGE
    assert f"{registry.max_series:,} in all" in PAGE
    assert (load(environment={}).max_series, load(environment={}).max_series_per_metric) == (
        registry.max_series,
        registry.max_series_per_metric,
    )
    assert (BATCH_SIZE, COMPRESS_FROM) == (1_700, 100)
    assert [priority.value for priority in Priority] == [2_000, 30_000, 60_000]


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "60000", "metrics_interval_s", 60.0),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "metrics_interval_s", 15.0),
        ("OTEL_METRICS_EXPORTER", "none", "metrics_push", False),
        ("OTEL_METRICS_EXPORTER", "otlp", "metrics_push", True),
        ("OTEL_METRICS_EXPORTER", "prometheus", "metrics_push", False),
        ("OTEL_METRICS_EXPORTER", "prometheus", "metrics_port", 9464),
        ("OTEL_METRICS_EXPORTER", "otlp, prometheus", "metrics_push", True),
        ("OTEL_METRICS_EXPORTER", "otlp, prometheus", "metrics_port", 9464),
        ("OTEL_METRICS_EXPORTER", "otlp", "metrics_port", None),
        ("OTEL_METRICS_EXPORTER", "pigeon", "metrics_push", True),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "2500", "metrics_timeout_s", 2.5),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "never", "metrics_timeout_s", None),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off", "exemplars", "none"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_on", "exemplars", "all"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", "exemplars", "sampled"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes", "exemplars", "sampled"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "9464", "metrics_port", 9464),
        ("OTEL_EXPORTER_PROMETHEUS_HOST", "::1", "metrics_host", "::1"),
    ],
)
def test_opentelemetrys_variables_are_honoured(
    variable: str, value: str, field: str, expected: object
) -> None:
    """Each as its specification says; a value that cannot be read leaves the default."""
    assert getattr(load(environment={variable: value}), field) == expected
    ours = next(row.metadata["env"][0] for row in fields(MetricsConfig) if row.name == field)
    mine = {"LOOKOUT_METRICS_INTERVAL": "3", "LOOKOUT_METRICS_PUSH": "yes",
            "LOOKOUT_EXEMPLARS": "yes", "LOOKOUT_METRICS_TIMEOUT": "9", "LOOKOUT_METRICS_PORT": "1",
            "LOOKOUT_METRICS_HOST": "h"}[ours]  # fmt: skip
    first = getattr(load(environment={ours: mine}), field)
    assert getattr(load(environment={variable: value, ours: mine}), field) == first


def test_the_port_given_is_that_of_opentelemetrys_prometheus_exporter() -> None:
    """OTEL_METRICS_EXPORTER=prometheus listens where OTEL_EXPORTER_PROMETHEUS_PORT says."""
    given = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "9999"}
    assert load(environment=given).metrics_port == 9999


@pytest.mark.parametrize(("value", "told"), [("delta", 1), ("lowmemory", 1), ("Cumulative", 0)])
def test_a_temporality_that_the_collector_refuses_is_told(
    value: str, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Values stay cumulative, and one line says that the wish has no effect."""
    load(environment={"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": value})
    assert sum("has no effect" in line.getMessage() for line in caplog.records) == told
