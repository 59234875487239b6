"""Query times of the Zipkin API over a day of spans, JSON answers included.

usage: scripts/bench zipkin_queries [--spans 1000000] [--data DIR] [--sets 12] [--repeat 3]
                                    [--rate 40000] [--zipkin] [--rows TEXT]

Writes the spans (benchmarks/span_mix.py) into an embedded store, once per DIR, then asks a running
`lookout serve` for them: per row 12 parameter sets, each asked warm; p50 and p95 of all, and the
p95 of each asked for the first time, when nothing of it is remembered (but links of the day). With
``--rate`` the rows are asked again beside so many spans a second of ingest, each of the time it is
sent, and compared with themselves alone, asked again and for the first time, and with what they
may take; with a DIR of more than an hour ago no window would reach what comes.
With ``--zipkin`` the spans are posted to a real Zipkin server with its storage in memory and to us,
and half a minute later the two are asked in turns.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from lookout_server.spans.packed import PackedSpans, Words
from lookout_server.spans.tables import span_tables
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.migrations import migrate
from lookout_server.store.template import Dialect

from . import ingest
from .span_mix import BACKENDS, NAMES, REGIONS, SERVICES, as_json, span_batches

HOURS = 24.0
DAY_MS, MINUTE_MS = 86_400_000, 60_000
MERGING_S = 30.0  # for the many small parts that so many posts make
NOW = "NOW"  # in a path: the moment it is asked
LASTING_S = 15.0  # of ingest before the first question beside it
CONNECTIONS = 32  # so that the rate does not hang on how soon each request is answered
LOAD_MOST_S = 3600.0  # of ingest beside; it is stopped when the rows are done
#: What each row may take at most alone, p95 in ms.
MUST_MS = {
    "trace by id": 40,
    "service + span name, 1 h": 150,
    "service + tag, 24 h, frequent": 200,
    "service + tag, 24 h, rare": 200,
    "tag, 24 h, frequent": 150,
    "tag, 24 h, mid": 150,
    "tag, 24 h, rare": 150,
    "tag key alone, 24 h": 150,
    "minDuration, 24 h": 300,
    "minDuration rare, 24 h": 300,
    "services": 20,
    "span names": 20,
    "remote services": 20,
    "autocomplete values": 20,
    "dependencies, 24 h": 150,
}
_MERGING = "SELECT count() AS n FROM system.merges"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0, help="spans a second of ingest beside")
    parser.add_argument("--zipkin", action="store_true", help="in turns with a Zipkin server")
    parser.add_argument("--rows", default="", help="only rows whose name has this text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or Path(scratch)
        if options.zipkin:
            beside_zipkin(data, options)
            return
        end_ms = fill(data, options.spans)
        with serving(data) as server:
            first = measure([server], end_ms, options)
            if options.rate:
                with load(server.url, options.rate):
                    print(f"beside {options.rate:g} spans/s of ingest")
                    second = measure([server], end_ms, options)
                compare(first, second)
            print(f"most memory of the process: {server.most_memory()} MB")


@dataclass(frozen=True)
class Took:
    """p95 of one row, in milliseconds: asked again, and asked for the first time."""

    again: float
    first: float


def compare(alone: dict[str, Took], beside: dict[str, Took]) -> None:
    """Print what each row takes beside ingest, by three yardsticks."""
    print(f"{'p95 beside, times':38} {'again':>7} {'first':>7} {'must':>7}")
    for name, took in beside.items():
        must = f"{took.again / MUST_MS[name]:7.2f}" if name in MUST_MS else ""
        before = alone[name]
        print(f"{name:38} {took.again / before.again:7.2f} {took.again / before.first:7.2f} {must}")


def fill(data: Path, count: int) -> int:
    """Write the spans unless they are there; when they end (Unix ms)."""
    note = data / "spans.json"
    if note.exists():
        return int(json.loads(note.read_text())["end_ms"])
    end_ms = time.time_ns() // 1_000_000
    data.mkdir(parents=True, exist_ok=True)
    store = EmbeddedStore(data / "clickhouse")
    migrate(store, Dialect())
    words = Words()
    began = time.perf_counter()
    for number, columns in enumerate(span_batches(count, end_ms * 1000, HOURS)):
        for table, rows in span_tables([PackedSpans(columns, words)], ("region",)).items():
            store.insert(table, rows, f"bench-{number}-{table}")
    print(f"{count} spans written in {time.perf_counter() - began:.0f} s")
    while store.fetch(_MERGING).column("n")[0].as_py():
        time.sleep(0.5)
    store.close()
    note.write_text(json.dumps({"end_ms": end_ms}))
    return end_ms


@dataclass(frozen=True)
class Server:
    """A server that is asked."""

    name: str
    url: str
    pid: int = 0

    def most_memory(self) -> int:
        """MB that the process had resident at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) // 1000


@contextmanager
def serving(data: Path) -> Iterator[Server]:
    """A collector on the data."""
    command = [sys.executable, "-m", "lookout_server", "serve", "--retention", "0"]
    command += ["--data-dir", str(data), "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "AUTOCOMPLETE_KEYS": "region"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = next(line for line in process.stdout if "ready on" in line).split()[-1]
        yield Server("lookout", url, process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def load(url: str, rate: float) -> Iterator[None]:
    """Ingest beside, until the block ends. SystemExit if it was not there all the time."""
    begin_us = time.time_ns() // 1000
    options = argparse.Namespace(
        rate=rate,
        seconds=LOAD_MOST_S,
        clients=1,
        connections=CONNECTIONS,
        otlp=False,
        begin_us=begin_us,
    )
    stop = multiprocessing.get_context("spawn").Event()
    with ThreadPoolExecutor(1) as pool:
        offered = pool.submit(ingest.offer, url, options, stop)
        try:
            time.sleep(LASTING_S)
            yield
            ended_early = offered.done()
        finally:
            stop.set()
    sent, began = offered.result()
    taken = sum(client.accepted for client in sent) / (time.perf_counter() - began)
    print(f"taken beside: {taken:.0f} spans/s")
    if ended_early or any(client.refused for client in sent):
        raise SystemExit("the ingest beside ended early or was refused: this run does not count")


def beside_zipkin(data: Path, options: argparse.Namespace) -> None:
    """The same spans in a Zipkin server's memory and in a collector of ours, asked in turns."""
    end_ms = time.time_ns() // 1_000_000
    settings = {"MEM_MAX_SPANS": "1000000", "AUTOCOMPLETE_KEYS": "region"}
    with ingest.zipkin("2g", settings) as url, serving(data) as ours:
        servers = [ours, Server("zipkin", url)]
        for columns in span_batches(options.spans, end_ms * 1000, HOURS, batch=2000):
            body = json.dumps(as_json(columns)).encode()
            for server in servers:
                connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
                connection.request("POST", "/api/v2/spans", body)
                assert connection.getresponse().status == 202
        time.sleep(MERGING_S)
        measure(servers, end_ms, options)


def asking(url: str) -> Callable[[str], bytes]:
    """A function that gives the answer to a path."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def ask(path: str) -> bytes:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body.decode()}")
        return body

    return ask


def measure(servers: list[Server], end_ms: int, options: argparse.Namespace) -> dict[str, Took]:
    """Ask the servers in turns, print a table, and give the first one's times by row."""
    asks = [asking(server.url) for server in servers]
    # A collector links the days before within minutes of its start; here it is asked to.
    asks[0](f"/api/v2/dependencies?endTs={end_ms + MINUTE_MS}&lookback={DAY_MS + 2 * MINUTE_MS}")
    chance = random.Random(7)
    ids = trace_ids(asks[0], end_ms, chance)
    print(f"{'query':38} {'p50':>7} {'p95':>7} {'most':>7} {'first':>7}  found")
    ours: dict[str, Took] = {}
    for name, make in rows(end_ms, chance, ids).items():
        paths = [make() for _ in range(options.sets)]
        if options.rows not in name:
            continue
        times, firsts, found = timed(asks, paths, options.repeat)
        for server, took, cold, count in zip(servers, times, firsts, found, strict=True):
            p50, p95 = took[len(took) // 2], at_95(took)
            label = name if server is servers[0] else f"  {server.name}"
            shown = f"{p50:7.1f} {p95:7.1f} {took[-1]:7.1f} {at_95(cold):7.1f}"
            print(f"{label:38} {shown}  {count / options.sets:.1f}", flush=True)
            ours.setdefault(name, Took(p95, at_95(cold)))
    return ours


def at_95(took: list[float]) -> float:
    """The 95th percentile of sorted times."""
    return took[min(len(took) - 1, int(len(took) * 0.95))]


def timed(
    asks: list[Callable[[str], bytes]], paths: list[str], repeat: int
) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """Milliseconds of each server, sorted: asked again, and for the first time; what it found."""
    times: list[list[float]] = [[] for _ in asks]
    firsts: list[list[float]] = [[] for _ in asks]
    found = [0 for _ in asks]
    for path in paths:
        for turn in range(repeat):
            for number, ask in enumerate(asks):
                at = path.replace(NOW, str(time.time_ns() // 1_000_000))
                began = time.perf_counter()
                body = ask(at)
                took = (time.perf_counter() - began) * 1000
                if turn or repeat == 1:
                    times[number].append(took)
                if turn == 0:
                    firsts[number].append(took)
                found[number] += len(json.loads(body)) if turn == 0 else 0
    return [sorted(took) for took in times], [sorted(took) for took in firsts], found


def trace_ids(ask: Callable[[str], bytes], end_ms: int, chance: random.Random) -> list[str]:
    """Ids of traces from all over the day."""
    ids = []
    for _ in range(12):
        end = end_ms - chance.randrange(DAY_MS - 3_600_000)
        query = urlencode({"endTs": end, "lookback": 3_600_000, "limit": 3})
        ids += [trace[0]["traceId"] for trace in json.loads(ask(f"/api/v2/traces?{query}"))]
    return ids


def rows(end_ms: int, chance: random.Random, ids: list[str]) -> dict[str, Callable[[], str]]:
    """The rows of the table, each making a URL with parameters of its own."""

    def search(hours: float, **parameters: object) -> str:
        window = {"endTs": end_ms, "lookback": int(hours * 3_600_000), "limit": 10}
        return f"/api/v2/traces?{urlencode(window | parameters)}"

    def service() -> str:
        return chance.choice(SERVICES)

    def common_tag() -> str:
        return f"region={chance.choice(REGIONS)}"

    def rare_tag() -> str:
        return f"user.id={chance.randrange(10**7)}"

    return {
        "trace by id": lambda: f"/api/v2/trace/{chance.choice(ids)}",
        "latest traces": lambda: search(24),
        "service, 15 min": lambda: search(0.25, serviceName=service()),
        "service + span name, 1 h": lambda: search(
            1, serviceName=service(), spanName=chance.choice(NAMES)
        ),
        "service + tag, 24 h, frequent": lambda: search(
            24, serviceName=service(), annotationQuery="http.status_code=200"
        ),
        "service + tag, 24 h, rare": lambda: search(
            24, serviceName=service(), annotationQuery="rare=yes"
        ),
        "tag, 24 h, frequent": lambda: search(24, annotationQuery=common_tag()),
        "tag, 24 h, mid": lambda: search(
            24, annotationQuery=f"http.path=/shop/{chance.randrange(2000)}"
        ),
        "tag, 24 h, rare": lambda: search(24, annotationQuery=rare_tag()),
        "tag key alone, 24 h": lambda: search(24, annotationQuery="rare"),
        "error, 24 h": lambda: search(24, annotationQuery="error"),
        "minDuration, 24 h": lambda: search(24, minDuration=chance.randrange(1, 9) * 100_000),
        "minDuration rare, 24 h": lambda: search(24, minDuration=8_000_000),
        "two tags, 24 h": lambda: search(24, annotationQuery=f"{common_tag()} and error=timeout"),
        "remote service, 1 h": lambda: search(1, remoteServiceName=chance.choice(BACKENDS)),
        "services": lambda: "/api/v2/services",
        "span names": lambda: f"/api/v2/spans?serviceName={service()}",
        "remote services": lambda: f"/api/v2/remoteServices?serviceName={service()}",
        "autocomplete values": lambda: "/api/v2/autocompleteValues?key=region",
        "longest first, 24 h": lambda: search(24, serviceName=service(), sort="duration"),
        "dependencies, 24 h": lambda: (
            f"/api/v2/dependencies?endTs={end_ms - chance.randrange(600_000)}&lookback={DAY_MS}"
        ),
        "dependencies, 24 h until now": lambda: (
            f"/api/v2/dependencies?endTs={NOW}&lookback={DAY_MS}"
        ),
    }


if __name__ == "__main__":
    main()
