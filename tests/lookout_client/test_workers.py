"""Several worker processes are scraped as one, and their sums survive restarts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_client import Registry
from lookout_client.aggregate import Sums
from lookout_client.scrape import Exposition
from lookout_client.snapshot import NumberPoint
from lookout_client.workers import Workers

APP = """
import os, time
import lookout_client as lookout

lookout.init(service_name="app", collector=None, importers="none")
requests = lookout.counter("requests", unit="1")
sizes = lookout.histogram("sizes", buckets=(1, 10))
busy = lookout.gauge("busy", across="sum")


def handle(environ, start_response):
    requests.inc(path=environ["PATH_INFO"])
    sizes.record(5)
    busy.set(1)
    time.sleep(0.02)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]


app = lookout.WsgiMiddleware(lookout.metrics_wsgi(handle))
"""


def filled(amount: int) -> Registry:
    registry = Registry()
    registry.counter("c").inc(amount)
    registry.timer("t", buckets=(1,)).record(amount)
    registry.native_histogram("n").record(amount)
    registry.summary("s").record(amount)
    registry.up_down_counter("u").inc(amount)
    for across in ("all", "sum", "min", "max", "latest"):
        registry.gauge(f"g.{across}", across=across).set(amount)
    return registry


def test_shares_are_added_up_each_in_its_way() -> None:
    """Counts and distributions add; gauges follow their mode; the ended leave only sums."""
    sums = Sums()
    sums.add(1, 10, filled(1).collect())
    sums.add(2, 20, filled(5).collect())
    sums.add(None, 30, filled(100).collect())
    found: dict[str, Any] = {s.definition.name: s.points for s in sums.snapshots()}
    assert found["c"][0].value == 106
    assert (found["t"][0].counts, found["t"][0].total) == ([1, 2], 106.0)
    assert (found["n"][0].recorded, found["s"][0].recorded) == (3, 3)
    assert found["u"][0].value == 6
    assert {point.tags: point.value for point in found["g.all"]} == {
        (("pid", "1"),): 1,
        (("pid", "2"),): 5,
    }
    modes = {mode: found[f"g.{mode}"][0].value for mode in ("sum", "min", "max", "latest")}
    assert modes == {"sum": 6, "min": 1, "max": 5, "latest": 5}
    lasting = {s.definition.name for s in sums.snapshots(living=False)}
    assert lasting == {"c", "t", "n", "s"}


def test_an_ended_process_is_buried_and_its_file_goes(tmp_path: Path) -> None:
    """What a process counted stays in the sum after it ended; its file does not stay."""
    script = """
import sys
from lookout_client import Registry
from lookout_client.workers import Workers
registry = Registry()
registry.counter("c").inc(7)
Workers(registry, sys.argv[1]).write()
"""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=30)
    registry = Registry()
    registry.counter("c").inc(1)
    workers = registry.workers = Workers(registry, tmp_path)
    assert b"c_total 22" in Exposition(registry).answer().body
    workers.write()
    assert b"c_total 22" in Exposition(registry).answer().body
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        "",
        ".claim",
        ".metrics",
        ".metrics",
    ]
    workers.close()


@given(
    st.lists(st.integers(0, 2**63) | st.floats(0, 1e308), min_size=1, max_size=6),
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
)
def test_whatever_is_held_can_be_shared(values: list[Any], trace: int, span: int) -> None:
    """Sums beyond 64 bits, traces of 128: another process adds just what this one has."""
    registry = Registry()
    registry.exemplars.use(lambda: (trace, span))
    for value in values:
        registry.counter("c").inc(value)
        registry.histogram("h", buckets=(1, 1e9)).record(value)
        registry.native_histogram("n").record(value)
        registry.gauge("g", across="max").set(value)
    with tempfile.TemporaryDirectory() as directory:
        Workers(registry, directory).write()
        other = Registry()
        other.counter("mine").inc()
        found = {one.definition.name: one.points for one in Workers(other, directory).collect()}
    expected = {one.definition.name: one.points for one in registry.collect()}
    (number,), (own,) = found["c"], expected["c"]
    assert isinstance(number, NumberPoint) and isinstance(own, NumberPoint)
    assert number.value == pytest.approx(float(own.value))
    assert number.exemplar is not None and own.exemplar is not None
    # An exemplar's value is a float, whatever number was recorded.
    assert number.exemplar == own.exemplar._replace(value=float(own.exemplar.value))
    assert int(number.exemplar.trace_id, 16) == trace
    assert found["h"] == expected["h"]
    assert found["n"] == expected["n"]


def test_a_broken_file_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read is named in the log and the rest is answered."""
    (tmp_path / "1-1.metrics").write_bytes(b"\xff garbage")
    registry = Registry()
    registry.counter("c").inc(1)
    found = Workers(registry, tmp_path).collect()
    assert [snapshot.definition.name for snapshot in found] == ["c"]
    assert "1-1.metrics" in caplog.text


def test_a_process_that_starts_again_is_counted_once(tmp_path: Path) -> None:
    """`init` called twice, or after `shutdown`, goes on in the process's own file."""
    script = """
import sys
import lookout_client as lookout
from lookout_client.scrape import Exposition
counter = lookout.counter("c")
for turn in range(3):
    lookout.init("app", collector="", workers_dir=sys.argv[1], importers="none")
    counter.inc(5)
    lookout.REGISTRY.workers.write()
    assert b"c_total %d" % (5 * (turn + 1)) in Exposition(lookout.REGISTRY).answer().body
    if turn:
        lookout.shutdown(5)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=30)
    registry = Registry()
    registry.workers = Workers(registry, tmp_path)
    assert b"c_total 15" in Exposition(registry).answer().body


def test_a_forked_child_counts_for_itself() -> None:
    """After a fork the child starts from nothing: parent and child together give the sum."""
    registry = filled(5)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        registry.counter("c").inc(2)
        os.write(write, str(registry.counter("c").value).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        assert answer.read() == "2"
    assert registry.counter("c").value == 5


GUNICORN = (sys.executable, "-m", "gunicorn", "-w", "4", "-b", "127.0.0.1:0")


class Gunicorn:
    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "app.py").write_text(APP)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gunicorn",
                    "-w",
                    "4",
                    "-b",
                    "127.0.0.1:0",
                    *options,
                    "app:app",
                ],
                cwd=folder,
                env={**os.environ, "LOOKOUT_WORKERS_DIR": str(folder / "shared")},
                stderr=log,
            )
        self.url = self.wait(lambda: re.search(r"Listening at: (\S+)", self.log.read_text()))[1]

    def wait(self, look: Callable[[], Any], seconds: float = 30) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        pytest.fail(f"waited {seconds} s in vain: {self.log.read_text()}")

    def get(self, path: str, accept: str = "") -> str:
        request = urllib.request.Request(self.url + path, headers={"Accept": accept})
        for _ in range(100):
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return str(answer.read().decode())
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        pytest.fail(self.log.read_text())

    def get_many(self, path: str, count: int) -> list[str]:
        """Eight at a time, so that one worker alone does not serve them all."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.get, [path] * count))

    def wait_for(self, line: str) -> None:
        self.wait(lambda: line in self.get("/metrics").splitlines())

    def restart(self) -> None:
        """Replace all workers and wait until the new ones serve."""
        before = self.log.read_text().count("Booting worker")
        self.process.send_signal(signal.SIGHUP)
        self.wait(lambda: self.log.read_text().count("Booting worker") >= before + 4)
        self.wait(lambda: self.log.read_text().count("Worker exiting") >= before)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(params=[(), ("--preload",)], ids=["plain", "preload"])
def gunicorn(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gunicorn]:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    running = Gunicorn(tmp_path, *request.param)
    yield running
    running.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_gunicorn_with_four_workers_restarted_in_the_middle(
    gunicorn: Gunicorn, tmp_path: Path
) -> None:
    """Whichever worker is scraped tells of all, before and after every worker was replaced."""
    pids = set(gunicorn.get_many("/a", 60))
    gunicorn.wait_for('requests_total{path="/a"} 60')
    assert len(pids) > 1
    gunicorn.restart()
    gunicorn.get_many("/a", 40)
    gunicorn.wait_for('requests_total{path="/a"} 100')
    gunicorn.wait_for('sizes_bucket{le="10.0"} 100')
    gunicorn.wait_for("sizes_sum 500.0")
    exemplar = r'requests_total{path="/a"} 100 # {trace_id="[0-9a-f]{32}",span_id="[0-9a-f]{16}"} '
    assert re.search(exemplar, gunicorn.get("/metrics", "application/openmetrics-text"))
    # The files of the replaced go: four workers', and the master's where it loaded the app.
    gunicorn.wait(lambda: len(list((tmp_path / "shared").glob("*-*.metrics"))) <= 5)
    gunicorn.wait_for('requests_total{path="/a"} 100')
