"""Spans a second the collector accepts, keeps and stores: Zipkin JSON, 100 spans a request.

usage: scripts/bench ingest [--seconds 10] [--connections 16] [--rate 40000] [--rounds 3]
                            [--zipkin] [--zipkin-heap 1g] [--otlp]

Starts ``lookout serve`` as a process of its own, loads it over keep-alive connections from another
(whose CPU time is told apart, but shares the machine's cores), waits until every accepted span is
stored, and prints one JSON line. Without ``--rate`` the client sends as fast as it is answered.
With ``--zipkin`` rounds alternate with a real Zipkin server's. With ``--otlp`` the same spans
come as OTLP's protobuf, a request of one service each. CPU and memory are those of the collector
and the process that decodes for it together; LOOKOUT_DECODE_PROCESSES=0 leaves that one out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import numpy.typing as npt

SPANS = 100
ZIPKIN = Path(__file__).parents[1] / ".parts" / "zipkin"  # scripts/parts-zipkin
_SERVICES = 100
_ROUTES = 20  # of each service: 2,000 span names


def body(chance: random.Random, now_us: int) -> bytes:
    """A request of 100 spans of about 400 bytes of eight traces, with random ids."""
    traces = [f"{chance.getrandbits(128) or 1:032x}" for _ in range(8)]
    spans = []
    for _ in range(SPANS):
        number = chance.randrange(_SERVICES)
        resource = f"resource-{number}-{chance.randrange(_ROUTES)}"
        spans.append(
            {
                "traceId": chance.choice(traces),
                "parentId": f"{chance.getrandbits(64) or 1:016x}",
                "id": f"{chance.getrandbits(64) or 1:016x}",
                "kind": chance.choice(("SERVER", "CLIENT")),
                "name": f"get /api/v1/{resource}/{{id}}",
                "timestamp": now_us - chance.randrange(1_000_000),
                "duration": int(chance.lognormvariate(8, 1.5)) + 1,
                "localEndpoint": {"serviceName": f"service-{number}", "ipv4": f"10.0.0.{number}"},
                "tags": {
                    "http.method": "GET",
                    "http.path": f"/api/v1/{resource}/{chance.randrange(9999)}",
                    "http.status_code": chance.choice(("200", "200", "200", "404", "500")),
                    "instance": f"pod-{chance.randrange(60)}",
                },
            }
        )
    return json.dumps(spans, separators=(",", ":")).encode()


def otlp_body(chance: random.Random, now_us: int) -> bytes:
    """The same as an ExportTraceServiceRequest of one service."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    number = chance.randrange(_SERVICES)
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = f"service-{number}"
    host = resource.resource.attributes.add(key="host.ip")
    host.value.string_value = f"10.0.0.{number}"
    scope = resource.scope_spans.add()
    scope.scope.name = "bench"
    traces = [chance.randbytes(16) for _ in range(8)]
    for _ in range(SPANS):
        route = f"resource-{number}-{chance.randrange(_ROUTES)}"
        start = (now_us - chance.randrange(1_000_000)) * 1000
        span = scope.spans.add(
            trace_id=chance.choice(traces),
            span_id=chance.randbytes(8),
            parent_span_id=chance.randbytes(8),
            name=f"get /api/v1/{route}/{{id}}",
            kind=chance.choice((2, 3)),  # server, client
            start_time_unix_nano=start,
            end_time_unix_nano=start + int(chance.lognormvariate(8, 1.5) + 1) * 1000,
        )
        for key, value in (
            ("http.method", "GET"),
            ("http.path", f"/api/v1/{route}/{chance.randrange(9999)}"),
            ("http.status_code", chance.choice(("200", "200", "200", "404", "500"))),
            ("instance", f"pod-{chance.randrange(60)}"),
        ):
            span.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


#: The ids of a span as each protocol writes them: trace, parent and span.
_IDS = {
    "json": re.compile(rb'"(?:traceId|parentId|id)":"([0-9a-f]+)"'),
    "x-protobuf": re.compile(rb"\x0a\x10(.{16})\x12\x08(.{8})\x22\x08(.{8})", re.DOTALL),
}

#: A time in JSON, of sixteen digits.
_TIME = re.compile(rb'"timestamp":([0-9]{16})\b')
_TENS = 10 ** np.arange(15, -1, -1, dtype=np.int64)


class Request:
    """A request that is sent again and again, each time of other traces.

    Sent as they were, the few hundred requests would be a few traces with a thousand times the
    same spans: they take no space once they are merged, and ClickHouse merges what is small.
    """

    def __init__(self, head: bytes, body: bytes, kind: str) -> None:
        spans = [found.span(n) for found in _IDS[kind].finditer(body) for n in _groups(found)]
        self._places = len(head) + np.concatenate([np.arange(*span) for span in spans])
        self._bytes = np.frombuffer(head + body, np.uint8)
        self._ids = self._bytes[self._places]
        self._digits = itertools.cycle(_DIGITS[kind])
        found = [match.span(1) for match in _TIME.finditer(body)]
        times = np.array([int(body[slice(*at)]) for at in found], np.int64)
        self._times = times - times.min(initial=2**62)
        self._time_places = len(head) + np.array([np.arange(*at) for at in found], int)

    def data(self, at_us: int = 0) -> memoryview:
        """The bytes to send: in all ids each digit stands for another one than before.

        The first of the spans is of that time, if one is given and the protocol is JSON.
        """
        data = self._bytes.copy()
        data[self._places] = next(self._digits)[self._ids]
        if at_us:
            times = self._times[:, None] + at_us
            data[self._time_places] = (times // _TENS % 10 + ord("0")).astype(np.uint8)
        return data.data


def _permutations(alphabet: bytes) -> list[npt.NDArray[np.uint8]]:
    """Each byte's place taken by another of the alphabet, in a thousand ways."""
    chance = np.random.default_rng(1)
    ways = []
    for _ in range(1000):
        way = np.arange(256, dtype=np.uint8)
        way[list(alphabet)] = chance.permutation(list(alphabet))
        ways.append(way)
    return ways


_DIGITS = {
    "json": _permutations(b"0123456789abcdef"),
    "x-protobuf": _permutations(bytes(range(256))),
}


def _groups(found: re.Match[bytes]) -> range:
    return range(1, len(found.groups()) + 1)


@dataclass(frozen=True)
class Plan:
    """What each client process does."""

    seconds: float
    connections: int
    rate: float  # spans a second; 0: as fast as it is answered
    otlp: bool = False
    begin_us: int = 0  # what is sent first is of this time, the rest as much later; JSON alone


@dataclass(frozen=True)
class Sent:
    """What one client process saw."""

    accepted: int  # spans answered 202
    refused: int  # requests answered otherwise
    latencies: list[float]  # seconds
    cpu: float  # seconds of the client's own


def client(
    host: str,
    port: int,
    plan: Plan,
    seed: int,
    go: Event,
    stop: Event,
    out: multiprocessing.Queue[Sent],
) -> None:
    """Send prepared requests over several connections, as cheaply as can be: it shares the cores.

    One thread, one request at a time on each connection, and two system calls a request besides
    waiting for answers.
    """
    chance = random.Random(seed)
    path, kind = "/api/v2/spans", "json"
    if plan.otlp:
        path, kind = "/v1/traces", "x-protobuf"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/{kind}\r\n"
    make = otlp_body if plan.otlp else body
    requests = [
        Request(f"{head}Content-Length: {len(one)}\r\n\r\n".encode(), one, kind)
        for one in (make(chance, time.time_ns() // 1000) for _ in range(150))
    ]
    load = _Load(plan, requests)
    for _ in range(plan.connections):
        load.connect(host, port)
    go.wait()
    before = time.process_time()
    load.run(stop)
    out.put(Sent(load.accepted, load.refused, load.latencies, time.process_time() - before))


class _Load:
    """Connections that each have one request under way."""

    def __init__(self, plan: Plan, requests: list[Request]) -> None:
        self.accepted = self.refused = 0
        self.latencies: list[float] = []
        self._plan = plan
        self._requests = requests
        self._next = 0
        self._began = time.perf_counter()
        self._sent: dict[socket.socket, float] = {}  # when the request under way was sent
        self._answers = selectors.DefaultSelector()
        self._connections: set[socket.socket] = set()

    def connect(self, host: str, port: int) -> None:
        connection = socket.create_connection((host, port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Room for a whole request, so that sending one does not wait for the server to read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._connections.add(connection)
        self._answers.register(connection, selectors.EVENT_READ, connection)

    def run(self, stop: Event) -> None:
        """Send until the time is over; then wait for the answers that are under way."""
        start = time.perf_counter()
        idle = list(self._connections)
        while (now := time.perf_counter()) < start + self._plan.seconds and not stop.is_set():
            while idle and self._due(now - start):
                self._send(idle.pop())
            wait = self._pause(now - start) if idle else 1.0
            idle += self._answered(wait)
            if not self._connections:
                break
        while self._sent and time.perf_counter() < now + 30:
            self._answered(1.0)

    def _due(self, elapsed: float) -> bool:
        return self._pause(elapsed) <= 0

    def _pause(self, elapsed: float) -> float:
        """Seconds until the next request is to be sent."""
        return self._next * SPANS / self._plan.rate - elapsed if self._plan.rate else 0.0

    def _send(self, connection: socket.socket) -> None:
        self._sent[connection] = time.perf_counter()
        self._next += 1
        begin = self._plan.begin_us
        at_us = begin + int((time.perf_counter() - self._began) * 1e6) if begin else 0
        try:
            connection.sendall(self._requests[self._next % len(self._requests)].data(at_us))
        except OSError:
            self._lose(connection)

    def _answered(self, wait: float) -> list[socket.socket]:
        """Connections whose answer has come."""
        free = []
        for key, _ in self._answers.select(max(wait, 0)):
            connection: socket.socket = key.data
            try:
                status = connection.recv(4096)[9:12]  # small answers without a body
            except OSError:
                status = b""
            if not status:  # the server has had enough, or its garbage collector has
                self._lose(connection)
                continue
            self.latencies.append(time.perf_counter() - self._sent.pop(connection))
            self.accepted += SPANS * (status in (b"200", b"202"))
            self.refused += status not in (b"200", b"202")
            free.append(connection)
        return free

    def _lose(self, connection: socket.socket) -> None:
        self._answers.unregister(connection)
        self._connections.discard(connection)
        self._sent.pop(connection, None)
        self.refused += 1
        connection.close()


@contextmanager
def collector(*flags: str) -> Iterator[tuple[str, int]]:
    """A collector process on a fresh directory: its URL and its number."""
    with tempfile.TemporaryDirectory(prefix="lookout-bench-") as folder:
        command = [sys.executable, "-m", "lookout_server", "serve", "--listen", "127.0.0.1:0"]
        command += ["--data-dir", str(Path(folder) / "data"), *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield line.split()[-1], process.pid
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


def offer(
    url: str,
    options: argparse.Namespace,
    stop: Event | None = None,
    begin: Callable[[], None] = lambda: None,
) -> tuple[list[Sent], float]:
    """Load a server, at most until told to stop; what the clients saw, and when they began.

    The latter by perf_counter; ``begin`` is called then.
    """
    host, port = url.removeprefix("http://").split(":")
    rate = options.rate / options.clients
    begin_us = getattr(options, "begin_us", 0)
    plan = Plan(options.seconds, options.connections, rate, options.otlp, begin_us)
    context = multiprocessing.get_context("spawn")
    go, out = context.Event(), context.Queue()
    stop = stop or context.Event()
    workers = [
        context.Process(target=client, args=(host, int(port), plan, n, go, stop, out))
        for n in range(options.clients)
    ]
    for worker in workers:
        worker.start()
    time.sleep(1.5 + options.clients * 0.5)  # while they prepare their requests
    started = time.perf_counter()
    begin()
    go.set()
    sent: list[Sent] = [out.get() for _ in workers]
    return sent, started


class Cores:
    """CPU time since :meth:`begin`: of one process with its children, and of all others."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.begin()

    def begin(self) -> None:
        self._since = time.perf_counter()
        self._own, self._all = _cpu_of(self._pid), _busy()

    def used(self, sent: list[Sent]) -> dict[str, float]:
        """Of the process a span; of others, but for the client, as a share of the machine."""
        elapsed = time.perf_counter() - self._since
        own = _cpu_of(self._pid) - self._own
        clients = sum(one.cpu for one in sent)
        others = max(0.0, _busy() - self._all - own - clients)
        spans = sum(one.accepted for one in sent)
        return {
            "cpu_us_per_span": round(own / spans * 1e6, 2),
            "client_cpu_us_per_span": round(clients / spans * 1e6, 2),
            "others_share_of_cpu": round(others / elapsed / (os.cpu_count() or 1), 2),
        }


_TICKS = os.sysconf("SC_CLK_TCK")


def _cpu_of(pid: int) -> float:
    """Seconds a process and its children have computed."""
    return sum(int(fields[11]) + int(fields[12]) for _, fields in family(pid)) / _TICKS


def family(pid: int) -> list[tuple[int, list[str]]]:
    """A process and its children: their numbers, and the fields of ``/proc/PID/stat`` from the
    third on.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            number = int(entry.parent.name)
            if pid in (number, int(fields[1])):
                found.append((number, fields))
    return found


def memory_of(pid: int) -> tuple[float, float]:
    """Bytes of memory a process and its children hold: resident, and with shared pages shared."""
    resident = shared = 0
    for number, _ in family(pid):
        with suppress(OSError):
            rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
            sizes = {
                key: int(kb) * 1024 for key, kb in re.findall(r"^(\w+): +(\d+) kB", rollup, re.M)
            }
            resident, shared = resident + sizes["Rss"], shared + sizes["Pss"]
    return resident, shared


def _busy() -> float:
    """Seconds all cores together have computed; 3 and 4 are idle and waiting."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    return (sum(map(int, fields)) - int(fields[3]) - int(fields[4])) / _TICKS


def ours(options: argparse.Namespace) -> dict[str, float]:
    """One round of the collector: the time runs until the last accepted span is stored."""
    with collector() as (url, pid):
        cores = Cores(pid)
        sent, started = offer(url, options, begin=cores.begin)
        accepted = sum(one.accepted for one in sent)
        held = [memory_of(pid)]
        while _stored(url) < accepted and time.perf_counter() < started + options.seconds * 3 + 30:
            held.append(memory_of(pid))
            time.sleep(0.05)
        elapsed, used = time.perf_counter() - started, cores.used(sent)
        held.append(memory_of(pid))
        after = metrics(url)
        latencies = sorted(value for one in sent for value in one.latencies)
        return {
            "spans_accepted": accepted,
            "spans_stored": _stored(url),
            "requests_refused": sum(one.refused for one in sent),
            "spans_per_second": round(accepted / elapsed),
            **used,
            "answer_p50_ms": round(statistics.median(latencies) * 1000, 2),
            "answer_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
            "queryable_p99_s_at_most": _delay_quantile(after, 0.99),
            "resident_mb": round(max(resident for resident, _ in held) / 1e6),
            "proportional_mb": round(max(shared for _, shared in held) / 1e6),
        }


@contextmanager
def zipkin(heap: str, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """A real Zipkin server with its storage in memory: its URL."""
    with zipkin_process(heap, settings) as (url, _):
        yield url


@contextmanager
def zipkin_process(
    heap: str, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """The same with the number of its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "QUERY_PORT": str(port), "SELF_TRACING_ENABLED": "false"}
    environment |= settings or {}
    process = subprocess.Popen(
        ["java", f"-Xmx{heap}", "-jar", str(next(ZIPKIN.glob("*exec.jar")))],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"{url}/health"):
                break
            time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)


def theirs(options: argparse.Namespace) -> dict[str, float]:
    """One round of Zipkin: it answers 202 first, so what counts is what it did not drop."""
    with zipkin_process(options.zipkin_heap) as (url, pid):
        cores = Cores(pid)
        sent, started = offer(url, options, begin=cores.begin)
        elapsed, used = time.perf_counter() - started, cores.used(sent)
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            counters = json.load(answer)
        dropped = counters.get("counter.zipkin_collector.spans_dropped.http", 0)
        accepted = sum(one.accepted for one in sent)
        return {
            "spans_accepted": accepted,
            "spans_dropped": dropped,
            "spans_per_second": round((accepted - dropped) / elapsed),
            **used,
        }


def main() -> None:
    """Print one JSON line a round, and the ratio when there is a peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=1, help="processes that send")
    parser.add_argument("--connections", type=int, default=16, help="of each client")
    parser.add_argument("--rate", type=float, default=0, help="spans a second; 0: all they can")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--zipkin", action="store_true", help="interleaved with a Zipkin server")
    parser.add_argument("--zipkin-heap", default="1g", help="the default is more than ours takes")
    parser.add_argument("--otlp", action="store_true", help="OTLP protobuf instead of JSON")
    options = parser.parse_args()
    ratios = []
    for _ in range(options.rounds):
        own = ours(options)
        print(json.dumps({"lookout": own}))
        if options.zipkin:
            peer = theirs(options)
            print(json.dumps({"zipkin": peer}))
            ratios.append(own["spans_per_second"] / peer["spans_per_second"])
    if ratios:
        print(json.dumps({"ratio_to_zipkin_median": round(statistics.median(ratios), 2)}))


if __name__ == "__main__":
    main()
