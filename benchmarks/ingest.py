"""Spans a second the collector accepts, keeps and stores: Zipkin JSON, 100 spans a request.

usage: scripts/bench ingest [--seconds 10] [--clients 4] [--rate SPANS_PER_SECOND] [--format zipkin]

Starts ``lookout serve`` as a process of its own, loads it over keep-alive connections from other
processes (their CPU time is not the collector's but shares the machine's cores), waits until every
accepted span is stored, and prints one JSON line. Without ``--rate`` the clients send as fast as
they are answered.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

SPANS = 100
_SERVICES = [f"service-{n}" for n in range(40)]
_ROUTES = [f"get /api/v1/resource-{n}/{{id}}" for n in range(400)]


def body(chance: random.Random, now_us: int) -> bytes:
    """A request of 100 spans of about 400 bytes of eight traces, with random ids."""
    traces = [f"{chance.getrandbits(128) or 1:032x}" for _ in range(8)]
    spans = []
    for _ in range(SPANS):
        service = chance.choice(_SERVICES)
        resource = f"resource-{chance.randrange(400)}"
        spans.append(
            {
                "traceId": chance.choice(traces),
                "parentId": f"{chance.getrandbits(64) or 1:016x}",
                "id": f"{chance.getrandbits(64) or 1:016x}",
                "kind": chance.choice(("SERVER", "CLIENT")),
                "name": chance.choice(_ROUTES),
                "timestamp": now_us - chance.randrange(1_000_000),
                "duration": int(chance.lognormvariate(8, 1.5)) + 1,
                "localEndpoint": {"serviceName": service, "ipv4": f"10.0.0.{len(service)}"},
                "tags": {
                    "http.method": "GET",
                    "http.path": f"/api/v1/{resource}/{chance.randrange(9999)}",
                    "http.status_code": chance.choice(("200", "200", "200", "404", "500")),
                    "instance": f"pod-{chance.randrange(60)}",
                },
            }
        )
    return json.dumps(spans, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Sent:
    """What one client process saw."""

    accepted: int  # spans answered 202
    refused: int  # requests answered otherwise
    latencies: list[float]  # seconds, of every tenth request


def client(
    host: str,
    port: int,
    seconds: float,
    rate: float,
    seed: int,
    go: Event,
    out: multiprocessing.Queue[Sent],
) -> None:
    """Send prepared bodies for a while."""
    chance = random.Random(seed)
    bodies = [body(chance, time.time_ns() // 1000) for _ in range(150)]
    connection = http.client.HTTPConnection(host, port)
    headers = {"Content-Type": "application/json"}
    go.wait()
    accepted = refused = sent = 0
    latencies = []
    start = time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        if rate and sent * SPANS / rate > now - start:
            time.sleep(sent * SPANS / rate - (now - start))
            now = time.perf_counter()
        connection.request("POST", "/api/v2/spans", bodies[sent % len(bodies)], headers)
        answer = connection.getresponse()
        answer.read()
        sent += 1
        if answer.status == 202:
            accepted += SPANS
        else:
            refused += 1
        if sent % 10 == 0:
            latencies.append(time.perf_counter() - now)
    out.put(Sent(accepted, refused, latencies))


@contextmanager
def collector(*flags: str) -> Iterator[str]:
    """A collector process on a fresh directory: its URL."""
    with tempfile.TemporaryDirectory(prefix="lookout-bench-") as folder:
        command = [sys.executable, "-m", "lookout_server", "serve", "--listen", "127.0.0.1:0"]
        command += ["--data-dir", str(Path(folder) / "data"), *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield line.split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def metrics(url: str) -> dict[str, float]:
    """The collector's own metrics, labels and all as the key."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r"^(\w+(?:\{[^}]*\})?) ([0-9.eE+-]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def _stored(url: str) -> float:
    return metrics(url).get('lookout_collector_stored_rows_total{signal="spans"}', 0.0)


def _delay_quantile(values: dict[str, float], quantile: float) -> float:
    """Upper bound of the bucket that holds the quantile of batch delays."""
    name = r'lookout_collector_stored_delay_seconds_bucket\{le="([^"]+)",signal="spans"\}'
    buckets = sorted(
        (float(match[1]), value)
        for key, value in values.items()
        if (match := re.fullmatch(name, key))
    )
    total = buckets[-1][1]
    return next(bound for bound, count in buckets if count >= quantile * total)


def run(seconds: float, clients: int, rate: float) -> dict[str, float]:
    """One round."""
    with collector() as url:
        host, port = url.removeprefix("http://").split(":")
        context = multiprocessing.get_context("spawn")
        go, out = context.Event(), context.Queue()
        workers = [
            context.Process(
                target=client, args=(host, int(port), seconds, rate / clients, n, go, out)
            )
            for n in range(clients)
        ]
        for worker in workers:
            worker.start()
        time.sleep(1.5 + clients * 0.3)  # while they prepare their bodies
        before = metrics(url)["process_cpu_seconds_total"]
        started = time.perf_counter()
        go.set()
        sent: list[Sent] = [out.get() for _ in workers]
        accepted = sum(one.accepted for one in sent)
        resident = 0.0
        while _stored(url) < accepted and time.perf_counter() < started + seconds * 3 + 30:
            resident = max(resident, metrics(url)["process_resident_memory_bytes"])
            time.sleep(0.05)
        elapsed = time.perf_counter() - started
        after = metrics(url)
        latencies = sorted(value for one in sent for value in one.latencies)
        return {
            "spans_accepted": accepted,
            "spans_stored": _stored(url),
            "requests_refused": sum(one.refused for one in sent),
            "spans_per_second": round(accepted / elapsed),
            "cpu_us_per_span": round(
                (after["process_cpu_seconds_total"] - before) / accepted * 1e6, 2
            ),
            "answer_p50_ms": round(statistics.median(latencies) * 1000, 2),
            "answer_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
            "queryable_p99_s_at_most": _delay_quantile(after, 0.99),
            "resident_mb": round(max(resident, after["process_resident_memory_bytes"]) / 1e6),
        }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0)
    options = parser.parse_args()
    print(json.dumps(run(options.seconds, options.clients, options.rate)))


if __name__ == "__main__":
    main()
