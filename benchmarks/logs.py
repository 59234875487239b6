"""What it costs to make a span, write it as a line of JSON, and have it on disk.

"span5" is a root span with five tags (three strings, a number, a boolean). Figures are CPU time
of the whole process, background threads included, from the first span to the last line written.
OpenTelemetry: BatchSpanProcessor and its ConsoleSpanExporter into a file, one compact JSON object
a line. Ours: the tracer, the flusher and rolling logs, once with the statistics that are on by
default and once without.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from exporters.flusher import Flusher
from exporters.ledger import Ledger
from exporters.logs import RollingLogs
from exporters.records import Resource
from exporters.ring import Ring
from tracer.pipeline import Pipeline
from tracer.tracer import Tracer

from .interleaved import compare

PEER = "OpenTelemetry, JSON lines"


def one_line(span: ReadableSpan) -> str:
    return str(span.to_json(indent=None)) + "\n"


def otel(path: Path) -> Callable[[int], None]:
    """A function that makes and writes so many spans with OpenTelemetry."""
    provider = TracerProvider()
    out = path.open("w", encoding="utf-8")
    exporter = ConsoleSpanExporter(out=out, formatter=one_line)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=1_000_000))
    tracer = provider.get_tracer("benchmark")

    def run(count: int) -> None:
        for number in range(count):
            with tracer.start_as_current_span("op") as span:
                span.set_attribute("a", "some text")
                span.set_attribute("b", "other text")
                span.set_attribute("c", "GET")
                span.set_attribute("d", number)
                span.set_attribute("e", True)
        assert provider.force_flush(120_000)

    return run


def ours(directory: Path, **options: Any) -> tuple[Callable[[int], None], Ledger]:
    """The same with ours."""
    ledger = Ledger("benchmark")
    ring: Ring[Any] = Ring(131_072)
    flusher = Flusher(ring, [RollingLogs(directory, **options)], ledger=ledger)
    tracer = Tracer(Pipeline(ring.offer, resource=Resource("benchmark")))

    def run(count: int) -> None:
        for number in range(count):
            with tracer.start_span("op") as span:
                span.set_tag("a", "some text")
                span.set_tag("b", "other text")
                span.set_tag("c", "GET")
                span.set_tag("d", number)
                span.set_tag("e", True)
        assert flusher.flush(120)

    return run, ledger


def drain_rate(directory: Path, count: int) -> float:
    """Lines a second that one process writes when all spans wait in the ring already."""
    logs = RollingLogs(directory)
    logs.open(Ledger())
    kept: list[Any] = []
    tracer = Tracer(Pipeline(kept.append, resource=Resource("benchmark")))
    for number in range(256):
        with tracer.start_span("op") as span:
            for key in "abcde":
                span.set_tag(key, number)
    began = time.perf_counter()
    for _ in range(count // 256):
        logs.accept(kept)
    return count // 256 * 256 / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--spans", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        full, ledger = ours(folder / "full")
        bare, _ = ours(folder / "bare", stats=False)
        figures = compare(
            {
                PEER: (otel(folder / "otel.jsonl"), arguments.spans // 5),
                "Lookout, digest and statistics": (full, arguments.spans),
                "Lookout, digest alone": (bare, arguments.spans),
            },
            peer=PEER,
            rounds=arguments.rounds,
        )
        print(figures.table())
        report = ledger.report("logs")
        assert report.balanced
        assert not report.dropped, report
        rates = [drain_rate(folder / f"drain{n}", 100_000) for n in range(arguments.rounds)]
        print(
            f"drain to a rolling log: {max(rates):,.0f} lines/s (best), {min(rates):,.0f} (worst)"
        )


if __name__ == "__main__":
    main()
