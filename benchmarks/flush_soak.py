"""A soak: spans at a steady rate while the destinations go away and come back.

Usage: ``scripts/bench flush_soak --seconds 600 --rate 20000``. A collector in a process of its
own is stopped, frozen and started at random. At the end every span must be accounted for: what
the collector counted, what the log files hold, and what the ledger says must agree to the span.
Prints the resident memory it took; exits with 1 when anything does not balance.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from exporters.collector import CollectorDestination
from exporters.flusher import Flusher
from exporters.ledger import Ledger
from exporters.logs import RollingLogs
from exporters.records import Resource
from exporters.retention import Retention
from exporters.ring import Ring
from exporters.sender import Limits
from tracer.pipeline import Pipeline
from tracer.tracer import Tracer


class _Counter(BaseHTTPRequestHandler):
    """Counts the spans it is sent, in a file that survives its process.

    A request that was taken while its sender gave up waiting comes a second time, byte for byte;
    its digest tells.
    """

    protocol_version = "HTTP/1.1"
    tally: Path

    def do_POST(self) -> None:
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        count = len(json.loads(gzip.decompress(body)))
        with open(self.tally, "a", encoding="ascii") as tally:
            tally.write(f"{hashlib.sha256(body).hexdigest()} {count}\n")
        with contextlib.suppress(OSError):
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


def _collect(port: int, tally: Path) -> None:
    handler = type("Handler", (_Counter,), {"tally": tally})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    # Stopping is graceful: a request that was counted is answered, so none is sent twice.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(SystemExit):
        server.serve_forever(0.05)
    server.server_close()  # waits for the requests in work


class Collector:
    """A collector that can be stopped, started and frozen."""

    def __init__(self, tally: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.tally = tally
        self._process: Any = None
        self._frozen = False

    def start(self) -> None:
        """Start it, or have it go on."""
        self._thaw()
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._process = context.Process(
                target=_collect, args=(self.port, self.tally), daemon=True
            )
            self._process.start()

    def freeze(self) -> None:
        """Have it take connections and answer none."""
        if self._process is not None and hasattr(signal, "SIGSTOP"):
            os.kill(self._process.pid, signal.SIGSTOP)
            self._frozen = True

    def _thaw(self) -> None:
        if self._frozen:
            os.kill(self._process.pid, signal.SIGCONT)
            self._frozen = False

    def stop(self) -> None:
        self._thaw()
        if self._process is not None:
            self._process.terminate()
            self._process.join(30)
            self._process = None

    @property
    def spans(self) -> int:
        """Spans counted so far."""
        if not self.tally.exists():
            return 0
        taken = dict(line.split() for line in self.tally.read_text().splitlines())
        return sum(map(int, taken.values()))


@dataclass
class Outcome:
    """What a soak found."""

    created: int
    collected: int
    logged: int
    dropped: dict[str, int]
    in_flight: int
    balanced: bool
    started_mb: float
    peak_mb: float

    @property
    def complete(self) -> bool:
        """Whether every span is accounted for by what really arrived."""
        lost = sum(self.dropped.values())
        return (
            self.balanced
            and self.in_flight == 0
            and self.created == self.collected + lost
            and self.created - self.dropped.get("ring_full", 0) == self.logged
        )


def resident_mb() -> float:
    """Memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(seconds: float, rate: int, *, outages: bool = True, spill: bool = True) -> Outcome:
    """Run one; ``outages`` False leaves the collector down all the time but for the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        collector = Collector(folder / "tally")
        ledger = Ledger("soak")
        ring: Ring[Any] = Ring(65_536)
        destination = CollectorDestination(
            f"http://127.0.0.1:{collector.port}",
            compression="gzip",
            spill=folder / "spill" if spill else None,
            spill_bytes=4_000_000_000,
            limits=Limits(timeout_s=5.0),
        )
        logs = RollingLogs(
            folder / "logs", max_bytes=50_000_000, retention=Retention(compress="none"), stats=False
        )
        flusher = Flusher(ring, [logs, destination], ledger=ledger)
        tracer = Tracer(Pipeline(ring.offer, resource=Resource("soak")))
        started = peak = resident_mb()
        began = change = time.monotonic()
        end = began + seconds
        made = 0
        chance = random.Random(7)
        if outages:
            collector.start()
        while time.monotonic() < end:
            slice_end = time.monotonic() + 0.01
            # What a busy machine kept from being made is made up for, without a burst.
            due = int(rate * (time.monotonic() - began)) - made
            made += (due := min(due, rate // 25))
            for number in range(due):
                with tracer.start_span("op") as span:
                    span.set_tag("a", "some text")
                    span.set_tag("b", "other text")
                    span.set_tag("c", "GET")
                    span.set_tag("d", number)
                    span.set_tag("e", True)
            if outages and time.monotonic() > change:
                change = time.monotonic() + chance.uniform(0.5, max(0.6, seconds / 10))
                chance.choice([collector.start, collector.stop, collector.freeze])()
            peak = max(peak, resident_mb())
            time.sleep(max(0.0, slice_end - time.monotonic()))
        collector.start()
        deadline = time.monotonic() + 60 + seconds
        while not flusher.flush(30) and time.monotonic() < deadline:
            time.sleep(0.2)
        flusher.shutdown(30)
        report = ledger.report("collector")
        outcome = Outcome(
            created=report.created,
            collected=collector.spans,
            logged=ledger.report("logs").acknowledged,
            dropped=dict(report.dropped),
            in_flight=report.in_flight,
            balanced=report.balanced and ledger.report("logs").balanced,
            started_mb=started,
            peak_mb=peak,
        )
        collector.stop()
        lines = sum(_lines(path) for path in (folder / "logs").glob("biz-digest.log*"))
        assert lines == outcome.logged, (lines, outcome.logged)
        return outcome


def _lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--down", action="store_true", help="keep the collector down until the end")
    parser.add_argument("--no-spill", action="store_true", help="wait in memory, not on disk")
    arguments = parser.parse_args()
    outcome = soak(
        arguments.seconds,
        arguments.rate,
        outages=not arguments.down,
        spill=not arguments.no_spill,
    )
    print(outcome)
    print(f"memory: {outcome.peak_mb - outcome.started_mb:.1f} MB more than at the start")
    print("balanced to the span" if outcome.complete else "DOES NOT BALANCE")
    sys.exit(0 if outcome.complete else 1)


if __name__ == "__main__":
    main()
