"""PromQL over HTTP against Prometheus on the same samples: seconds and the ratio of both.

usage: scripts/bench prometheus_queries [--rounds 5] [--hours 24] [--only TEXT] [--data DIR]

Starts ``lookout serve`` and Prometheus (``/usr/bin/prometheus`` or PROMETHEUS) as processes of
their own, writes the same samples to both by remote write, and asks both the same queries in turn.
Times are wall clock from the request to the last byte of the uncompressed answer; "first" is the
first time a query is asked, when Lookout reads what it then holds in memory. Answers are compared:
every number of a matrix must agree within 1e-9. At the end a small query is asked again and again
beside heavy ones. The most memory each process had is that since the samples were loaded. With
``--data`` the samples are kept there, for other runs (of the next few hours: theirs grow old).
"""

from __future__ import annotations

import argparse
import heapq
import http.client
import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cramjam
import numpy as np

from lookout_server.ingest.remote_write_messages import WriteRequest

STEP_MS = 15_000


@dataclass(frozen=True)
class Case:
    """A query and over how much time at what step it is asked."""

    name: str
    query: str
    hours: float = 1.0
    step: int = 15
    path: str = "query_range"
    must: float = 1.0
    #: Of equal values any may be answered: only the values of each step are compared.
    ties: bool = False


RATE = "sum by (x) (rate({}[5m]))"
CASES = (
    Case("sum rate, 100 series, 1 h / 15 s", RATE.format("few"), must=2.0),
    Case("sum rate, 1,000 series, 1 h / 15 s", RATE.format("many"), must=1.3),
    Case("sum rate, 1,000 series, 24 h / 60 s", RATE.format("many"), 24, 60, must=1.3),
    Case("sum rate, 1,000 series, 24 h / 15 s", RATE.format("many"), 24, 15, must=1.0),
    Case("raw, 1,000 series x 1,440 points", "many", 24, 60, must=1.0),
    Case("quantile_over_time", "quantile_over_time(0.9, many[5m])", must=1.5),
    Case("topk", "topk(10, many)", must=1.5, ties=True),
    Case(
        "histogram_quantile",
        "histogram_quantile(0.9, sum by (le, x) (rate(h_bucket[5m])))",
        must=1.5,
    ),
    Case("label values, 100k series", "pod", path="label", must=1.5),
    Case("series by regex", '{__name__="wide",pod=~"pod-0001.*"}', path="series", must=1.5),
)


class Server:
    """One of the two, asked over a keep-alive connection."""

    def __init__(self, port: int, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def again(self) -> Server:
        """The same server over a connection of its own."""
        return Server(self._port, int(self._process.name))

    def get(self, path: str) -> tuple[float, bytes]:
        """Seconds and body. Raises RuntimeError for another status than 200."""
        try:
            began = time.perf_counter()
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
        except http.client.RemoteDisconnected:  # it was idle for too long
            self._connection.close()
            return self.get(path)
        body = answer.read()
        seconds = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} for {path}: {body[:300]!r}")
        return seconds, body

    def cpu_seconds(self) -> float:
        """CPU time the process has taken until now, all threads."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_memory(self) -> None:
        """Count the most memory anew from here. See ``clear_refs`` in ``man 5 proc``."""
        (self._process / "clear_refs").write_text("5")

    def most_memory(self) -> float:
        """The most it had resident, in MB."""
        status = (self._process / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def write(self, body: bytes) -> None:
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        while True:
            self._connection.request("POST", "/api/v1/write", body, headers)
            answer = self._connection.getresponse()
            text = answer.read()
            if answer.status < 300:
                return
            if answer.status not in (429, 503):
                raise RuntimeError(f"{answer.status}: {text[:300]!r}")
            time.sleep(0.2)


def body_of(name: str, labels: list[dict[str, str]], times: range, values: np.ndarray) -> bytes:
    """A request with a sample of each series at each time; values by (series, time)."""
    request = WriteRequest()
    for row, one in enumerate(labels):
        series = request.timeseries.add()
        for key, text in sorted({"__name__": name, **one}.items()):
            series.labels.add(name=key, value=text)
        for at, moment in enumerate(times):
            series.samples.add(value=float(values[row, at]), timestamp=moment)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def counters(name: str, series: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Whole-number counters of ``series`` instances in ten groups, a request each 10 steps."""
    chance = np.random.default_rng(7)
    labels = [
        {"instance": f"10.0.{n // 250}.{n % 250}:9090", "job": "api", "x": f"group-{n % 10}"}
        for n in range(series)
    ]
    total = np.zeros((series, 1))
    for first in range(start, end, 10 * STEP_MS):
        times = range(first, min(first + 10 * STEP_MS, end), STEP_MS)
        grown = total + chance.integers(0, 200, (series, len(times))).cumsum(axis=1)
        total = grown[:, -1:]
        yield first, body_of(name, labels, times, grown)


def buckets(start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """A classic histogram of 100 instances with ten buckets."""
    chance = np.random.default_rng(8)
    bounds = ["0.005", "0.01", "0.05", "0.1", "0.5", "1", "2.5", "5", "10", "+Inf"]
    labels = [
        {"instance": f"i-{n}", "x": f"group-{n % 10}", "le": le}
        for n in range(100)
        for le in bounds
    ]
    total = np.zeros((100, 1, 10))
    for first in range(start, end, 10 * STEP_MS):
        times = range(first, min(first + 10 * STEP_MS, end), STEP_MS)
        grown = total + chance.integers(0, 20, (100, len(times), 10)).cumsum(axis=1)
        total = grown[:, -1:, :]
        cumulative = grown.cumsum(axis=2).transpose(0, 2, 1).reshape(1000, len(times))
        yield first, body_of("h_bucket", labels, times, cumulative)


def wide(end: int) -> Iterator[tuple[int, bytes]]:
    """100,000 series with one sample each."""
    for first in range(0, 100_000, 5_000):
        labels = [
            {"pod": f"pod-{n:06d}", "namespace": f"ns-{n % 50}", "node": f"node-{n % 400}"}
            for n in range(first, first + 5_000)
        ]
        yield end, body_of("wide", labels, range(end, end + 1), np.ones((5_000, 1)))


def path_of(case: Case, end: int) -> str:
    """The request of a case. Its steps lie between the samples: Prometheus 2 counts a sample on
    the left edge of a window, Prometheus 3 and Lookout do not.
    """
    seconds = end / 1000 - 5
    if case.path == "label":
        return f"/api/v1/label/{case.query}/values"
    if case.path == "series":
        return "/api/v1/series?" + urllib.parse.urlencode({"match[]": case.query})
    asked = {
        "query": case.query,
        "start": seconds - case.hours * 3600 + case.step,
        "end": seconds,
        "step": case.step,
    }
    return "/api/v1/query_range?" + urllib.parse.urlencode(asked)


def same(one: bytes, other: bytes) -> bool:
    """Whether two answers agree."""
    left, right = json.loads(one)["data"], json.loads(other)["data"]
    if isinstance(left, list):
        return sorted(map(str, left)) == sorted(map(str, right))
    points = [
        {json.dumps(s["metric"], sort_keys=True): dict(s["values"]) for s in data["result"]}
        for data in (left, right)
    ]
    if points[0].keys() != points[1].keys():
        return False
    return all(
        values.keys() == points[1][key].keys()
        and all(
            math.isclose(float(values[at]), float(points[1][key][at]), rel_tol=1e-9, abs_tol=1e-12)
            for at in values
        )
        for key, values in points[0].items()
    )


def same_values(one: bytes, other: bytes) -> bool:
    """Whether two matrices hold equal values at each step, of whatever series."""
    return _by_step(one) == _by_step(other)


def _by_step(body: bytes) -> dict[float, list[str]]:
    steps: dict[float, list[str]] = {}
    for series in json.loads(body)["data"]["result"]:
        for at, value in series["values"]:
            steps.setdefault(at, []).append(value)
    return {at: sorted(values) for at, values in steps.items()}


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, ready: str) -> Iterator[Server]:
    """A server as a process, until its ready path answers 200."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=1):
                    break
            except OSError as error:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(f"{command[0]} did not start") from error
                time.sleep(0.1)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def both(directory: Path) -> Iterator[tuple[Server, Server]]:
    """Lookout and Prometheus."""
    prometheus = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
    if not prometheus:
        raise SystemExit("there is no prometheus on the PATH; set PROMETHEUS")
    configuration = directory / "prometheus.yml"
    configuration.write_text("global: {}\n")
    ours, theirs = free_port(), free_port()
    lookout = [sys.executable, "-m", "lookout_server", "serve", "--listen", f"127.0.0.1:{ours}"]
    lookout += ["--data-dir", str(directory / "lookout"), "--log-level", "warning"]
    other = [prometheus, f"--config.file={configuration}"]
    other += [
        f"--storage.tsdb.path={directory / 'prometheus'}",
        "--web.enable-remote-write-receiver",
    ]
    other += [f"--web.listen-address=127.0.0.1:{theirs}", "--log.level=error"]
    with running(lookout, ours, "/-/ready") as one, running(other, theirs, "/-/ready") as two:
        yield one, two


def load(servers: tuple[Server, Server], hours: float, end: int) -> None:
    """Write the same samples to both, in order of time: Prometheus takes them in no other."""
    day = end - int(hours * 3_600_000)
    hour = end - 3_600_000 - 600_000
    metrics = (
        counters("many", 1000, day, end + 1),
        counters("few", 100, hour, end + 1),
        buckets(hour, end + 1),
        wide(end),
    )
    for _, body in heapq.merge(*metrics, key=lambda one: one[0]):
        for server in servers:
            server.write(body)


@contextmanager
def data_directory(kept: Path | None) -> Iterator[Path]:
    """Where both store: the directory named, or one that is gone afterwards."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def loaded(directory: Path, servers: tuple[Server, Server], hours: float) -> int:
    """The time (ms) of the newest samples, which are written unless the directory has them."""
    note = directory / "end"
    if note.exists():
        return int(note.read_text())
    end = int(time.time()) // 60 * 60_000
    began = time.perf_counter()
    load(servers, hours, end)
    print(f"loaded in {time.perf_counter() - began:.0f} s", flush=True)
    time.sleep(3)
    note.write_text(str(end))
    return end


def measure(case: Case, servers: tuple[Server, Server], end: int, rounds: int) -> str:
    """The line of one case."""
    path = path_of(case, end)
    first, answers = zip(*(server.get(path) for server in servers), strict=True)
    agreed = "" if (same_values if case.ties else same)(*answers) else "  ANSWERS DIFFER"
    before = servers[0].cpu_seconds()
    seconds = [[server.get(path)[0] for server in servers] for _ in range(rounds)]
    cpu_ms = (servers[0].cpu_seconds() - before) / rounds * 1000
    ratio = statistics.median(one / two for one, two in seconds)
    ours = statistics.median(one for one, _ in seconds)
    theirs = statistics.median(two for _, two in seconds)
    line = f"{case.name:40} {ours:9.3f} {theirs:10.3f} {ratio:6.2f} {case.must:5.1f}"
    line += f"  first {first[0]:.3f} / {first[1]:.3f}, load {os.getloadavg()[0]:.0f}"
    return f"{line}, ours {cpu_ms:.0f} ms CPU{agreed}"


def beside(server: Server, end: int, hours: float, seconds: float) -> list[float]:
    """Milliseconds of the small query, asked ten times a second while heavy ones run."""
    small = path_of(CASES[0], end)
    heavy = [path_of(c, end) for c in CASES if c.path == "query_range" and c.hours <= hours]
    ended = threading.Event()

    def ask() -> None:
        own = server.again()
        for path in itertools.cycle(heavy):
            if ended.is_set():
                return
            own.get(path)

    worker = threading.Thread(target=ask)
    worker.start()
    took = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        took.append(server.get(small)[0] * 1000)
        time.sleep(0.1)
    ended.set()
    worker.join()
    return took


def main() -> None:
    """Print a line a query: seconds of both, ratio, what the ratio must be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hours", type=float, default=24.2)
    parser.add_argument("--only", default="")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--beside", type=float, default=15.0, help="seconds, 0: none")
    options = parser.parse_args()
    with (
        data_directory(options.data) as directory,
        both(directory) as servers,
    ):
        end = loaded(directory, servers, options.hours)
        for server in servers:
            server.forget_memory()
        before = [server.most_memory() for server in servers]
        print(f"{'query':40} {'lookout':>9} {'prometheus':>10} {'ratio':>6} {'must':>5}")
        for case in CASES:
            if options.only in case.name and case.hours <= options.hours:
                print(measure(case, servers, end, options.rounds), flush=True)
        for name, server, rest in zip(("lookout", "prometheus"), servers, before, strict=True):
            if options.beside:
                took = beside(server, end, options.hours, options.beside)
                middle, p99 = np.percentile(took, (50, 99))
                print(f"small query beside heavy ones, {name}: p50 {middle:.0f}, p99 {p99:.0f} ms")
            most = server.most_memory()
            print(f"memory, {name}: {rest:.0f} MB when loaded, {most:.0f} MB at most", flush=True)


if __name__ == "__main__":
    main()
