"""Importers: a process measures itself, under either set of names; one that fails is left out."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import sqlalchemy

from lookout_client import Registry
from lookout_client.importers import BUILT_IN, start_importers
from lookout_client.importers.http import watch_http
from lookout_client.importers.log_records import count_records
from lookout_client.importers.pools import watch_connection_pool, watch_executor
from lookout_client.importers.python import watch_event_loop
from lookout_client.importers.system import cpu_percent, disk_times
from lookout_client.snapshot import BucketPoint, NumberPoint
from lookout_client.steps import Priority
from lookout_client.windows import StepReader
from tracer.instrumentation.http import metric_tags, observed


def values(registry: Registry) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for snapshot in registry.collect():
        for point in snapshot.points:
            key = ",".join(f"{k}={v}" for k, v in point.tags)
            amount = point.value if isinstance(point, NumberPoint) else point.recorded
            found.setdefault(snapshot.definition.name, {})[key] = amount
    return found


@pytest.fixture
def registry() -> Iterator[Registry]:
    yield Registry()


def test_the_runtime_and_the_process_are_measured(registry: Registry) -> None:
    """Collections, threads, CPU, memory and descriptors of this very process."""
    stop = start_importers(registry, ["python", "process"])
    gc.collect()
    before = threading.active_count()
    found = values(registry)
    assert found["cpython.gc.collections"]["cpython.gc.generation=2"] >= 1
    assert found["cpython.gc.duration"]["cpython.gc.generation=2"] >= 1
    # Threads of earlier tests may end meanwhile.
    assert before >= found["cpython.thread.count"][""] >= threading.active_count()
    assert found["cpython.memory.allocated_blocks"][""] > 10_000
    assert found["process.memory.usage"][""] > 1e6
    assert found["process.cpu.time"]["cpu.mode=user"] > 0
    assert found["process.unix.file_descriptor.count"][""] > 0
    stop()
    assert "process.memory.usage" not in values(registry)


def test_the_machine_is_measured(registry: Registry) -> None:
    """CPU, load, memory and network under OpenTelemetry's names."""
    start_importers(registry, ["system"])
    found = values(registry)
    assert found["system.cpu.time"]["cpu.mode=idle"] > 0
    assert (
        found["system.memory.limit"][""] > found["system.memory.usage"]["system.memory.state=used"]
    )
    assert "system.linux.load.1m" in found
    assert any("network.io.direction=receive" in key for key in found["system.network.io"])


def test_the_machines_counters_began_when_it_was_started(registry: Registry) -> None:
    """What it counted before this process was there is no increase of this process's first step."""
    start_importers(registry, ["system"])
    (cpu,) = [one for one in registry.collect() if one.definition.name == "system.cpu.time"]
    assert {point.created_ns for point in cpu.points} == {int(psutil.boot_time() * 1e9)}


@pytest.mark.parametrize("naming", ["opentelemetry", "sofalookout"])
def test_every_metric_says_what_it_is(registry: Registry, naming: str) -> None:
    """`promtool check metrics` asks for a help text, which dashboards show."""
    stop = start_importers(registry, BUILT_IN, naming)
    with ThreadPoolExecutor(1) as pool:
        watch_executor(registry, pool, "p")
        pool.submit(logging.getLogger("said").info, "x").result()
        watch_http(registry)
        silent = [
            one.definition.name for one in registry.collect() if not one.definition.description
        ]
    stop()
    assert silent == []


def test_sofalookouts_names_are_an_option(registry: Registry) -> None:
    """The same under `os.*`, `jvm.*` and `instance`, each a mixin on one line of a step."""
    start_importers(registry, ["system", "process", "python"], "sofalookout")
    gauges = values(registry)
    for name in ("os.cpu.user", "os.systemload.average.1min", "os.memory.stats.total.bytes",
                 "instance.processors", "jvm.gc.old.count", "jvm.threads.active"):  # fmt: skip
        assert name in gauges, name
    steps = StepReader(registry, 30_000, 0, (Priority.NORMAL,))
    lines = {indicator.name: indicator for indicator in steps.read(30_000)}
    assert lines["os.memory.stats"].type == "m"
    assert set(lines["os.memory.stats"].values) == {
        "total.bytes", "free.bytes", "buffers.bytes", "cached.bytes"
    }  # fmt: skip
    gc.collect()
    assert set(lines["jvm.gc"].values) == {"young.count", "young.time", "old.count", "old.time"}
    assert values(registry)["jvm.gc.old.time"][""] > 0
    seldom = StepReader(registry, 60_000, 0, (Priority.LOW,)).read(60_000)
    (root,) = [line for line in seldom if line.name == "instance.file.system"]
    assert set(root.values) == {"total.space", "free.space", "usabe.space"}
    assert root.tags == (("root", "/"),)


class Io(NamedTuple):
    read_count: int
    write_count: int
    read_time: int
    write_time: int
    busy_time: int


def test_e1_disk_figures_are_exact_and_percent_is_percent() -> None:
    """Doubles, not floats of 32 bits: 249 ms busy in 10 s are 2.49 percent."""
    found = disk_times(Io(100, 10, 50, 5, 0), Io(200, 60, 83, 30, 249), 10_000)
    assert found == {
        "svctm": 1.66, "r_await": 0.33, "w_await": 0.5, "await": 58 / 150, "util": 2.49
    }  # fmt: skip


def test_e1_cpu_percent() -> None:
    """Shares of the time passed since the last reading, guest time not counted twice."""
    before = {"user": 10.0, "system": 5.0, "idle": 85.0, "guest": 3.0}
    now = {"user": 12.0, "system": 6.0, "idle": 92.0, "guest": 5.0}
    assert cpu_percent(before, now, ("user", "system", "idle", "iowait")) == {
        "user": 20.0, "system": 10.0, "idle": 70.0, "iowait": 0.0
    }  # fmt: skip
    assert cpu_percent(now, now, ("idle",)) == {"idle": pytest.approx(83.64)}


def test_an_importer_that_fails_is_counted_and_left_out(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """The others go on; the log says which one is missing and what there is."""
    start_importers(registry, ["nonsense", "python"])
    found = values(registry)
    assert found["lookout.importer.failures"]["importer=nonsense"] == 1
    assert "cpython.gc.collections" in found
    assert "importer nonsense is left out" in caplog.text


@pytest.mark.parametrize("name", ["process", "system"])
def test_a_missing_psutil_is_named_with_its_extra(
    name: str, registry: Registry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks for the process's figures finds what to install; none of it counts as a failure."""
    caplog.set_level("INFO", "lookout")
    monkeypatch.setitem(sys.modules, "psutil", None)
    start_importers(registry, [name])
    assert f"importer {name} is left out" in caplog.text
    assert caplog.text.rstrip().endswith("pip install 'lookout-telemetry[metrics]'")
    assert "lookout.importer.failures" not in values(registry)


def test_importers_of_others_are_found_by_their_entry_point(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distribution names its importers in the group lookout_importers."""
    (tmp_path / "their_importers.py").write_text(
        "def start(context):\n"
        "    context.gauges('queue', {'length': lambda: 7.0})\n"
        "def broken(context):\n"
        "    raise OSError('no such device')\n"
    )
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[lookout_importers]\nqueue = their_importers:start\nbroken = their_importers:broken\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    stop = start_importers(registry, ["broken", "queue"])
    found = values(registry)
    assert found["queue.length"] == {"": 7.0}
    assert found["lookout.importer.failures"]["importer=broken"] == 1
    stop()
    assert "queue.length" not in values(registry)


def test_log_records_are_counted_by_level_and_logger(registry: Registry) -> None:
    """Every record made counts, and no longer once that is ended."""
    stop = count_records(registry)
    log = logging.getLogger("shop.orders")
    log.warning("one")
    log.warning("two")
    log.error("three")
    stop()
    log.error("four")
    assert values(registry)["log.records"] == {
        "log.level=WARNING,log.logger=shop.orders": 2,
        "log.level=ERROR,log.logger=shop.orders": 1,
    }


def test_uncaught_exceptions_of_threads_are_counted(registry: Registry) -> None:
    """The former hook still sees them."""
    seen: list[Any] = []
    former, threading.excepthook = threading.excepthook, seen.append
    try:
        stop = start_importers(registry, ["python"])
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        stop()
        assert threading.excepthook == seen.append
    finally:
        threading.excepthook = former
    assert len(seen) == 1
    found = values(registry)["python.exceptions.uncaught"]
    assert found == {"exception.type=ZeroDivisionError": 1}


def test_an_executor_is_measured(registry: Registry) -> None:
    """Outcomes, waiting and running times, workers."""
    with ThreadPoolExecutor(2) as executor:
        stop = watch_executor(registry, executor, "jobs")
        good, bad = executor.submit(lambda: 1), executor.submit(lambda: 1 / 0)
        assert good.result() == 1
        with pytest.raises(ZeroDivisionError):
            bad.result()
    found = values(registry)
    assert found["executor.tasks"] == {
        "executor.name=jobs,outcome=ok": 1,
        "executor.name=jobs,outcome=error": 1,
    }
    assert found["executor.run.duration"]["executor.name=jobs"] == 2
    assert found["executor.queue.duration"]["executor.name=jobs"] == 2
    assert found["executor.threads.max"]["executor.name=jobs"] == 2
    stop()
    assert "executor.threads.max" not in values(registry)


def test_a_connection_pool_is_measured(registry: Registry) -> None:
    """Connections in use and idle, and how many there may be."""
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=sqlalchemy.pool.QueuePool, pool_size=3, max_overflow=2
    )
    stop = watch_connection_pool(registry, engine, "db")
    pool = "db.client.connection.pool.name=db"
    with engine.connect():
        used = values(registry)["db.client.connection.count"]
    assert used[f"{pool},db.client.connection.state=used"] == 1
    found = values(registry)
    assert found["db.client.connection.count"][f"{pool},db.client.connection.state=idle"] == 1
    assert found["db.client.connection.max"][pool] == 5
    stop()
    assert "db.client.connection.max" not in values(registry)
    engine.dispose()


async def test_a_blocked_event_loop_shows_as_lag(registry: Registry) -> None:
    """A callback that holds the loop up makes the next timer late; the lag tells by how much."""
    import time

    stop = watch_event_loop(registry, interval_s=0.01)
    await asyncio.sleep(0.015)
    time.sleep(0.1)
    await asyncio.sleep(0.02)
    assert values(registry)["asyncio.tasks"][""] >= 1
    stop()
    lag = registry.get("asyncio.loop.lag")
    assert lag is not None
    point = lag.point()
    assert isinstance(point, BucketPoint) and point.total >= 0.05


def test_http_requests_are_timed_with_bounded_tags(registry: Registry) -> None:
    """The middleware's every request becomes http.server.request.duration, sampled or not."""
    stop = watch_http(registry)
    for status in (200, 200, 500):
        observed("server", 0.2, metric_tags("GET", "http", "/a/{id}", status, None))
    stop()
    observed("server", 0.2, metric_tags("GET", "http", "/a/{id}", 200, None))
    found = values(registry)
    tags = (
        "http.request.method=GET,http.response.status_code=200,http.route=/a/{id},url.scheme=http"
    )
    assert found["http.server.request.duration"][tags] == 2
    assert "http.client.request.duration" not in found
