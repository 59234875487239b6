"""What flushing does to the application: its slowest requests, and how much gets out beside it.

A handler burns 200 us of CPU and then finishes four spans with five tags each, over and over, on
one thread. Measured is the time of the handler alone, so what shows is how long the background
thread keeps it from running. Modes take turns, a second or so each; ratios are medians over the
rounds, each against the round's run without spans, or against the round's OpenTelemetry run.

The exporters send to an HTTP server in a process of its own that answers and forgets.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.collector import CollectorDestination
from exporters.destination import Destination
from exporters.flusher import Flusher
from exporters.ledger import Ledger
from exporters.logs import RollingLogs
from exporters.memory import MemoryDestination
from exporters.records import Resource
from exporters.ring import Ring
from exporters.sender import Limits
from tracer.pipeline import Pipeline
from tracer.tracer import Tracer

SPANS_PER_REQUEST = 4
#: For the rate: more than any of them can get out, so that the handler does not set the bound.
MANY_SPANS = 20
_MOST_SPANS = 64


@dataclass
class Run:
    """One mode in one round."""

    p999_us: float
    p99_us: float
    p50_us: float
    requests_s: float
    made_s: float
    flushed_s: float


class Spread(list[float]):
    """Ratios of the rounds: their median, smallest and largest."""

    def __str__(self) -> str:
        return f"x{statistics.median(self):.2f} [{min(self):.2f} .. {max(self):.2f}]"


@dataclass
class Mode:
    """How spans are made and how many got out so far."""

    make: Callable[[int], None]
    spans: int  # a request
    flushed: Callable[[], int]
    settle: Callable[[], object]
    dropped: Callable[[], int] = lambda: 0


def burn(rounds: int) -> int:
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) & 0xFFFFFFFF
    return value


def calibrated(microseconds: float = 200.0) -> int:
    """How many rounds of :func:`burn` take so long here, now."""
    began = time.perf_counter()
    burn(200_000)
    return int(200_000 * microseconds * 1e-6 / (time.perf_counter() - began))


def measure(mode: Mode, seconds: float, rounds: int) -> Run:
    """Serve requests for so many seconds; what is flushed counts from a third of them on."""
    before, since = 0, 0.0
    taken: list[int] = []
    clock = time.perf_counter_ns
    began = time.perf_counter()
    end = began + seconds
    number = 0
    while (now := time.perf_counter()) < end:
        if not since and now > began + seconds / 3:  # the first ones are through
            before, since = mode.flushed(), now
        start = clock()
        burn(rounds)
        taken.append(clock() - start)
        number += 1
        mode.make(number)
    elapsed = now - began
    flushed = (mode.flushed() - before) / (now - since)
    mode.settle()
    taken.sort()
    return Run(
        taken[int(len(taken) * 0.999)] / 1e3,
        taken[int(len(taken) * 0.99)] / 1e3,
        taken[len(taken) // 2] / 1e3,
        len(taken) / elapsed,
        len(taken) * mode.spans / elapsed,
        flushed,
    )


def without_spans() -> Mode:
    return Mode(lambda number: None, 0, lambda: 0, lambda: None)


def ours(destination: Destination, spans: int = SPANS_PER_REQUEST) -> Mode:
    ledger = Ledger("benchmark")
    ring: Ring[Any] = Ring(131_072)
    flusher = Flusher(ring, [destination], ledger=ledger)
    tracer = Tracer(Pipeline(ring.offer, resource=Resource("benchmark")))
    account = ledger.account(destination.name)

    def make(number: int) -> None:
        for _ in range(spans):
            with tracer.start_span("op") as span:
                span.set_tag("a", "some text")
                span.set_tag("b", "other text")
                span.set_tag("c", "GET")
                span.set_tag("d", number)
                span.set_tag("e", True)

    return Mode(
        make,
        spans,
        lambda: account.acknowledged,
        lambda: flusher.flush(60),
        lambda: sum(ledger.report(destination.name).dropped.values()),
    )


def opentelemetry_otlp(url: str, spans: int = SPANS_PER_REQUEST) -> Mode:
    """OpenTelemetry's own OTLP/HTTP exporter where it is installed, else its encoder's stand-in."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

    exporter = otlp_exporter(url)
    sent = 0
    export = exporter.export

    def counted(spans: Any) -> Any:
        nonlocal sent
        result = export(spans)
        if result is SpanExportResult.SUCCESS:
            sent += len(spans)
        return result

    exporter.export = counted
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=1_000_000, schedule_delay_millis=500)
    )
    tracer = provider.get_tracer("benchmark")

    def make(number: int) -> None:
        for _ in range(spans):
            with tracer.start_as_current_span("op") as span:
                span.set_attribute("a", "some text")
                span.set_attribute("b", "other text")
                span.set_attribute("c", "GET")
                span.set_attribute("d", number)
                span.set_attribute("e", True)

    return Mode(make, spans, lambda: sent, lambda: provider.force_flush(120_000))


def otlp_exporter(url: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{url}/v1/traces")


def _sink(port: int) -> None:
    """Answers every POST with 200, keeping connections alive."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    chunk = connection.recv(65_536)
                    if not chunk:
                        return
                    head += chunk
                head, _, body = head.partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                while len(body) < length:
                    body += connection.recv(1 << 20)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """A server that forgets, in a process of its own; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = multiprocessing.get_context("spawn").Process(target=_sink, args=(port,), daemon=True)
    process.start()
    try:
        for _ in range(500):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def burst(threads: int = 8, spans: int = 100_000) -> int:
    """How many of a burst from several threads are dropped by a ring of 131,072."""
    ring: Ring[Any] = Ring(131_072)
    memory = MemoryDestination(limit=1)
    ledger = Ledger("benchmark")
    flusher = Flusher(ring, [memory], ledger=ledger)
    tracer = Tracer(Pipeline(ring.offer, resource=Resource("benchmark")))

    def produce() -> None:
        for _ in range(spans // threads):
            with tracer.start_span("op") as span:
                span.set_tag("a", 1)

    producers = [threading.Thread(target=produce) for _ in range(threads)]
    for thread in producers:
        thread.start()
    for thread in producers:
        thread.join()
    assert flusher.flush(60)
    report = ledger.report("memory")
    assert report.balanced
    assert report.created == spans
    return ring.dropped


def compare(modes: dict[str, Mode], rounds: int, seconds: float) -> dict[str, list[Run]]:
    """Run the modes in turns."""
    runs: dict[str, list[Run]] = {name: [] for name in modes}
    for _ in range(rounds):
        work = calibrated()
        for name, mode in modes.items():
            runs[name].append(measure(mode, seconds, work))
    return runs


def report(runs: dict[str, list[Run]], peer: str) -> None:
    """One line per mode."""
    base = runs["no spans"]
    for name, mine in runs.items():
        flushed = statistics.median(run.flushed_s for run in mine)
        p99, p999 = (
            Spread([getattr(o, at) / getattr(z, at) for o, z in zip(mine, base, strict=True)])
            for at in ("p99_us", "p999_us")
        )
        line = (
            f"{name:26} p50 {statistics.median(r.p50_us for r in mine):5.0f} us"
            f"  p99 {statistics.median(r.p99_us for r in mine):6.0f} us {p99}"
            f"  p99.9 {statistics.median(r.p999_us for r in mine):6.0f} us {p999}"
            f"  {statistics.median(r.requests_s for r in mine):5.0f} req/s"
            f"  {statistics.median(r.made_s for r in mine):7.0f} spans/s made,"
            f" {flushed:7.0f} flushed"
        )
        if peer in runs and name not in {"no spans", peer}:
            pairs = zip(mine, runs[peer], strict=True)
            line += f" {Spread([o.flushed_s / max(1.0, z.flushed_s) for o, z in pairs])}"
        print(line)


def sustained(
    make: Callable[[int], Mode], rounds: int, seconds: float, work: int
) -> tuple[int, Run, int]:
    """More and more spans a request, until a fifth of them does not get out while they are made.

    What got out then is the flusher's bound and not the handler's. The spans a request, the run
    with the median flush rate, and how many were dropped in all runs.
    """
    spans = SPANS_PER_REQUEST
    while True:
        mode = make(spans)
        runs = [measure(mode, seconds, work) for _ in range(rounds)]
        run = sorted(runs, key=lambda run: run.flushed_s)[len(runs) // 2]
        if run.flushed_s < 0.8 * run.made_s or mode.dropped() or spans >= _MOST_SPANS:
            return spans, run, mode.dropped()
        spans *= 2


def report_sustained(
    makers: dict[str, Callable[[int], Mode]], peer: str, rounds: int, seconds: float
) -> None:
    """The bound of each in one line, and how many times the peer's it is."""
    work = calibrated()
    plain = measure(without_spans(), seconds, work)
    found = {name: sustained(make, rounds, seconds, work) for name, make in makers.items()}
    for name, (spans, run, dropped) in found.items():
        line = (
            f"{name:26} {spans:3} a request: {run.made_s:7.0f} spans/s made,"
            f" {run.flushed_s:7.0f} flushed, {dropped} dropped,"
            f" p99 x{run.p99_us / plain.p99_us:.2f}"
        )
        if peer in found and name != peer:
            line += f", x{run.flushed_s / found[peer][1].flushed_s:.2f} of {peer}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument(
        "--sustained", action="store_true", help="only the bound of each, whatever is made"
    )
    arguments = parser.parse_args()
    peer = "OpenTelemetry, OTLP/HTTP"
    if arguments.sustained:
        with tempfile.TemporaryDirectory() as folder, sink() as url:
            count = itertools.count()
            makers: dict[str, Callable[[int], Mode]] = {
                "Lookout, rolling logs": lambda spans: ours(
                    RollingLogs(Path(folder) / str(next(count))), spans
                ),
                "Lookout, collector": lambda spans: ours(
                    CollectorDestination(url, limits=Limits(linger_s=0.2, queue_records=200_000)),
                    spans,
                ),
                peer: lambda spans: opentelemetry_otlp(url, spans),
            }
            report_sustained(makers, peer, arguments.rounds, arguments.seconds)
        return
    with tempfile.TemporaryDirectory() as folder, sink() as url:
        modes = {
            "no spans": without_spans(),
            "Lookout, rolling logs": ours(RollingLogs(Path(folder) / "logs")),
            "Lookout, collector": ours(CollectorDestination(url, limits=Limits(linger_s=0.2))),
        }
        try:
            modes[peer] = opentelemetry_otlp(url)
        except ImportError:
            print("without opentelemetry-exporter-otlp-proto-http there is no peer to compare with")
        print(f"{SPANS_PER_REQUEST} spans a request")
        report(compare(modes, arguments.rounds, arguments.seconds), peer)
        many = {
            "no spans": without_spans(),
            "Lookout, rolling logs": ours(RollingLogs(Path(folder) / "many"), MANY_SPANS),
            "Lookout, collector": ours(
                CollectorDestination(url, limits=Limits(linger_s=0.2, queue_records=200_000)),
                MANY_SPANS,
            ),
        }
        if peer in modes:
            many[peer] = opentelemetry_otlp(url, MANY_SPANS)
        print(f"{MANY_SPANS} spans a request")
        report(compare(many, arguments.rounds, arguments.seconds), peer)
    print(f"burst of 100,000 spans from 8 threads, ring 131,072: {burst()} dropped")


if __name__ == "__main__":
    main()
