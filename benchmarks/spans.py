"""What a span costs, against the OpenTelemetry SDK and basictracer.

"span5" is a root span as a context manager with five tags (three strings, a number, a boolean),
finished into the queue of its library. OpenTelemetry runs with its BatchSpanProcessor and an
exporter that does nothing, basictracer with a recorder that does nothing. Our flusher hands its
batches to a destination that does nothing.

Where spans are compiled, a second copy of the library that runs them in Python alone takes part.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from basictracer import BasicTracer, SpanRecorder
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import tracer
from exporters.compiled import SWITCH
from exporters.destination import LocalDestination
from exporters.ring import Ring
from tracer import AlwaysOff, Ratio
from tracer.opentelemetry import TracerProvider as TheirApi
from tracer.pipeline import Pipeline
from tracer.tracer import Tracer

from .interleaved import Figures, compare

PEER = "OpenTelemetry span5"

#: Names of what runs in Python alone begin with it.
PYTHON = "in Python: "


class Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class NullDestination(LocalDestination):
    name = "nothing"

    def accept(self, records: Sequence[Any]) -> None:
        self._done(len(records))


class NullRecorder(SpanRecorder):
    def record_span(self, span: object) -> None:
        pass


def otel_tracer(**options: Any) -> tuple[Any, TracerProvider]:
    provider = TracerProvider(**options)
    provider.add_span_processor(
        BatchSpanProcessor(Nowhere(), max_queue_size=1_000_000, max_export_batch_size=512)
    )
    return provider.get_tracer("benchmark"), provider


def span5_otel(start: Callable[..., Any]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            with start("GET /cart") as span:
                span.set_attribute("http.request.method", "GET")
                span.set_attribute("url.path", "/cart/items")
                span.set_attribute("server.address", "shop.example")
                span.set_attribute("http.response.status_code", 200)
                span.set_attribute("cache.hit", True)

    return run


def span5_ours(start: Callable[..., Any]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            with start("GET /cart") as span:
                span.set_tag("http.request.method", "GET")
                span.set_tag("url.path", "/cart/items")
                span.set_tag("server.address", "shop.example")
                span.set_tag("http.response.status_code", 200)
                span.set_tag("cache.hit", True)

    return run


def span5_basic(basic: Any) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            with basic.start_span("GET /cart") as span:
                span.set_tag("http.request.method", "GET")
                span.set_tag("url.path", "/cart/items")
                span.set_tag("server.address", "shop.example")
                span.set_tag("http.response.status_code", 200)
                span.set_tag("cache.hit", True)

    return run


def nested(run: Callable[[int], None], start: Callable[..., Any]) -> Callable[[int], None]:
    def inside(count: int) -> None:
        with start("parent"):
            run(count)

    return inside


def decorated_ours(count: int) -> None:
    @tracer.trace
    def work() -> None:
        pass

    for _ in range(count):
        work()


def off(sampler: Any) -> Callable[..., Any]:
    pipeline = Pipeline(lambda span: None)
    pipeline.set_sampler(sampler)
    return Tracer(pipeline).start_span


class InPython:
    """A second copy of the library in this process, in which spans are not compiled."""

    def __init__(self) -> None:
        ours = self._taken_out()
        os.environ[SWITCH] = "1"
        try:
            self._tracer = importlib.import_module("tracer")
            pipeline = importlib.import_module("tracer.pipeline").Pipeline(id)
            pipeline.set_sampler(self._tracer.AlwaysOff())
            self.start_unsampled = self._tracer.Tracer(pipeline).start_span
            self._sdk = self._tracer.init(
                "benchmark", collector=None, destinations=[NullDestination()]
            )
            self.start = self._tracer.start_span
            span5_ours(self.start)(10)
            self.flush()  # what is imported late is imported now
        finally:
            del os.environ[SWITCH]
            self._taken_out()
            sys.modules.update(ours)
        assert self._tracer.implementation() == "python"

    def flush(self) -> None:
        self._sdk.flush()

    def shutdown(self) -> None:
        self._tracer.shutdown()

    @staticmethod
    def _taken_out() -> dict[str, Any]:
        packages = ("tracer", "exporters")
        names = [name for name in sys.modules if name.split(".")[0] in packages]
        return {name: sys.modules.pop(name) for name in names}


def _dig(frames: int) -> None:
    if frames:
        _dig(frames - 1)
    raise KeyError("missing")


def failing(start: Callable[..., Any], frames: int = 30) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            try:
                with start("fails"):
                    _dig(frames)
            except KeyError:
                pass

    return run


def bare_failure(count: int) -> None:
    for _ in range(count):
        try:  # noqa: SIM105  (what suppress costs is not to be measured)
            _dig(30)
        except KeyError:
            pass


def cpu(rounds: int) -> Figures:
    """CPU time per span of every way to make one."""
    otel, provider = otel_tracer()
    otel_off, _ = otel_tracer(sampler=ALWAYS_OFF)
    sdk = tracer.init("benchmark", collector=None, destinations=[NullDestination()])
    basic = BasicTracer(recorder=NullRecorder())
    start = tracer.start_span
    python = InPython()

    def settle(name: str) -> None:
        if name.startswith("OpenTelemetry"):
            provider.force_flush()
        sdk.flush()
        python.flush()

    candidates: dict[str, tuple[Callable[[int], None], int]] = {
        PEER: (span5_otel(otel.start_as_current_span), 2_000),
        "span5": (span5_ours(start), 10_000),
        "span5 through OpenTelemetry's API": (
            span5_otel(TheirApi().get_tracer("benchmark").start_as_current_span),
            10_000,
        ),
        "span5 below a parent": (nested(span5_ours(start), start), 10_000),
        "span5 sampled by ratio 1 of 1": (span5_ours(off(Ratio(0.999999999))), 10_000),
        "basictracer span5": (span5_basic(basic), 5_000),
        "@trace on a function": (decorated_ours, 10_000),
        "OpenTelemetry unsampled": (span5_otel(otel_off.start_as_current_span), 2_000),
        "unsampled (never)": (span5_ours(off(AlwaysOff())), 20_000),
        "unsampled (ratio 1 in a million)": (span5_ours(off(Ratio(1e-6))), 20_000),
        "unsampled (ratio 1 in 100)": (span5_ours(off(Ratio(0.01))), 20_000),
        "unsampled below a parent": (
            nested(span5_ours(off(AlwaysOff())), off(AlwaysOff())),
            20_000,
        ),
        f"{PYTHON}span5": (span5_ours(python.start), 10_000),
        f"{PYTHON}span5 below a parent": (
            nested(span5_ours(python.start), python.start),
            10_000,
        ),
        f"{PYTHON}unsampled (never)": (span5_ours(python.start_unsampled), 20_000),
        f"{PYTHON}unsampled below a parent": (
            nested(span5_ours(python.start_unsampled), python.start_unsampled),
            20_000,
        ),
        "OpenTelemetry exception": (failing(otel.start_as_current_span), 100),
        "exception": (failing(start), 2_000),
        "exception without a span": (bare_failure, 2_000),
    }
    try:
        return compare(candidates, peer=PEER, rounds=rounds, after=settle)
    finally:
        python.shutdown()
        provider.shutdown()
        tracer.shutdown()


def memory(count: int = 20_000) -> tuple[float, float]:
    """Bytes and garbage-collected objects of one finished span5 waiting in the ring."""
    ring: Ring[Any] = Ring(1 << 17)
    start = Tracer(Pipeline(ring.offer)).start_span
    run = span5_ours(start)
    run(1_000)
    ring.drain(10_000)
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    run(count)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tracked = len(gc.get_objects()) - objects
    return (after - before) / count, tracked / count


def threads(rounds: int) -> dict[int, float]:
    """Spans per second with 1, 4 and 16 threads; medians."""
    tracer.init("benchmark", collector=None, destinations=[NullDestination()])
    run = span5_ours(tracer.start_span)
    rates: dict[int, list[float]] = {1: [], 4: [], 16: []}
    for _ in range(rounds):
        for number, found in rates.items():
            each = 64_000 // number
            workers = [threading.Thread(target=run, args=(each,)) for _ in range(number)]
            began = time.perf_counter()
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            found.append(each * number / (time.perf_counter() - began))
            tracer.flush()
    tracer.shutdown()
    return {number: sorted(found)[len(found) // 2] for number, found in rates.items()}


def in_tasks(start: Callable[..., Any] | None) -> Callable[[int], None]:
    async def worker(each: int) -> None:
        for _ in range(each):
            if start is None:
                await asyncio.sleep(0)
            else:
                with start("task"):
                    await asyncio.sleep(0)

    async def gather(each: int) -> None:
        await asyncio.gather(*(worker(each) for _ in range(1_000)))

    return lambda count: asyncio.run(gather(max(count // 1_000, 1)))


def tasks(rounds: int) -> tuple[float, float]:
    """CPU nanoseconds a span adds in 1,000 asyncio tasks: ours, OpenTelemetry's."""
    otel, provider = otel_tracer()
    sdk = tracer.init("benchmark", collector=None, destinations=[NullDestination()])

    def settle(name: str) -> None:
        sdk.flush()
        provider.force_flush()

    figures = compare(
        {
            "bare": (in_tasks(None), 5_000),
            "ours": (in_tasks(tracer.start_span), 5_000),
            "theirs": (in_tasks(otel.start_as_current_span), 5_000),
        },
        peer="bare",
        rounds=rounds,
        after=settle,
    )
    provider.shutdown()
    tracer.shutdown()
    bare = figures.median_ns("bare")
    return figures.median_ns("ours") - bare, figures.median_ns("theirs") - bare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(f"spans run {tracer.implementation()}")
    figures = cpu(rounds)
    print(figures.table())
    print(f"span5 / basictracer              {figures.ratio('span5', 'basictracer span5'):.3f}")
    failed = figures.ratio("exception", "OpenTelemetry exception")
    print(f"exception / OpenTelemetry        1/{1 / failed:.0f}")
    size, tracked = memory()
    print(f"memory of a waiting span5        {size:.0f} bytes, {tracked:.2f} GC objects")
    ours, theirs = tasks(rounds)
    print(f"1,000 asyncio tasks              {ours:.0f} ns / {theirs:.0f} ns = {ours / theirs:.3f}")
    rates = threads(min(rounds, 5))
    print(
        "threads (spans/s)                "
        + ", ".join(f"{number}: {rate:,.0f}" for number, rate in rates.items())
        + f"; 16 / 1 = {rates[16] / rates[1]:.2f}"
    )


if __name__ == "__main__":
    main()
