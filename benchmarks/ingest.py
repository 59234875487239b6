"""Spans a second the collector accepts, keeps and stores: Zipkin JSON, 100 spans a request.

usage: scripts/bench ingest [--seconds 10] [--clients 2] [--connections 8] [--rate SPANS_PER_SECOND]

Starts ``lookout serve`` as a process of its own, loads it over keep-alive connections from other
processes (their CPU time is not the collector's but shares the machine's cores), waits until every
accepted span is stored, and prints one JSON line. Without ``--rate`` the clients send as fast as
they are answered.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
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
class Plan:
    """What each client process does."""

    seconds: float
    connections: int
    rate: float  # spans a second of one connection; 0: as fast as it is answered


@dataclass(frozen=True)
class Sent:
    """What one client process saw."""

    accepted: int  # spans answered 202
    refused: int  # requests answered otherwise
    latencies: list[float]  # seconds


def client(
    host: str,
    port: int,
    plan: Plan,
    seed: int,
    go: Event,
    out: multiprocessing.Queue[Sent],
) -> None:
    """Send prepared requests over several connections, as plainly as can be."""
    chance = random.Random(seed)
    head = f"POST /api/v2/spans HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    requests = [
        f"{head}Content-Length: {len(one)}\r\n\r\n".encode() + one
        for one in (body(chance, time.time_ns() // 1000) for _ in range(150))
    ]
    results: list[Sent] = []
    threads = [
        threading.Thread(target=_connection, args=(host, port, plan, requests, n, go, results))
        for n in range(plan.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put(
        Sent(
            sum(one.accepted for one in results),
            sum(one.refused for one in results),
            [latency for one in results for latency in one.latencies],
        )
    )


def _connection(
    host: str,
    port: int,
    plan: Plan,
    requests: list[bytes],
    offset: int,
    go: Event,
    results: list[Sent],
) -> None:
    accepted = refused = sent = 0
    latencies = []
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        go.wait()
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + plan.seconds:
            due = sent * SPANS / plan.rate if plan.rate else 0.0
            if due > now - start:
                time.sleep(due - (now - start))
                now = time.perf_counter()
            connection.sendall(requests[(sent * plan.connections + offset) % len(requests)])
            status = connection.recv(4096)[9:12]  # small answers without a body
            sent += 1
            accepted += SPANS * (status == b"202")
            refused += status != b"202"
            latencies.append(time.perf_counter() - now)
    results.append(Sent(accepted, refused, latencies))


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


def run(seconds: float, clients: int, connections: int, rate: float) -> dict[str, float]:
    """One round."""
    plan = Plan(seconds, connections, rate / clients / connections)
    with collector() as url:
        host, port = url.removeprefix("http://").split(":")
        context = multiprocessing.get_context("spawn")
        go, out = context.Event(), context.Queue()
        workers = [
            context.Process(target=client, args=(host, int(port), plan, n, go, out))
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
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0)
    options = parser.parse_args()
    print(json.dumps(run(options.seconds, options.clients, options.connections, options.rate)))


if __name__ == "__main__":
    main()
