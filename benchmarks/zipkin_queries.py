"""Query times of the Zipkin API over a day of spans, JSON answers included.

usage: scripts/bench zipkin_queries [--spans 1000000] [--data DIR] [--sets 12] [--repeat 3]

Writes the spans (benchmarks/span_mix.py) into an embedded store, once per DIR, then asks a running
`lookout serve` for them: per row 12 parameter sets, each asked warm; p50 and p95 of all.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from lookout_server.spans.packed import PackedSpans, Words
from lookout_server.spans.tables import span_tables
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.migrations import migrate
from lookout_server.store.template import Dialect

from .span_mix import BACKENDS, NAMES, REGIONS, SERVICES, span_batches

HOURS = 24.0
DAY_MS = 86_400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or Path(scratch)
        end_ms = fill(data, arguments.spans)
        with serving(data) as base_url:
            measure(base_url, end_ms, arguments.sets, arguments.repeat)


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
    store.close()
    note.write_text(json.dumps({"end_ms": end_ms}))
    return end_ms


@contextmanager
def serving(data: Path) -> Iterator[str]:
    """A collector on the data, with its base URL."""
    command = [sys.executable, "-m", "lookout_server", "serve", "--retention", "0"]
    command += ["--data-dir", str(data), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield next(line for line in process.stdout if "ready on" in line).split()[-1]
    finally:
        process.terminate()
        process.wait(30)


def measure(base_url: str, end_ms: int, sets: int, repeat: int) -> None:
    """Ask and print a table."""
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc)
    chance = random.Random(7)

    def ask(path: str) -> bytes:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body.decode()}")
        return body

    ids = trace_ids(ask, end_ms, chance)
    print(f"{'query':38} {'p50':>7} {'p95':>7}  traces")
    for name, make in rows(end_ms, chance, ids).items():
        paths = [make() for _ in range(sets)]
        times, found = [], 0
        for path in paths:
            for turn in range(repeat):
                began = time.perf_counter()
                body = ask(path)
                if turn or repeat == 1:
                    times.append((time.perf_counter() - began) * 1000)
            found += len(json.loads(body))
        times.sort()
        p50, p95 = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.95))]
        print(f"{name:38} {p50:7.1f} {p95:7.1f}  {found / sets:.1f}", flush=True)


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
        "dependencies, 24 h": lambda: f"/api/v2/dependencies?endTs={end_ms}&lookback={DAY_MS}",
    }


if __name__ == "__main__":
    main()
