"""What reading and writing contexts costs, against OpenTelemetry's propagators.

Both sides read and write plain dictionaries through the public functions that an instrumentation
calls (``opentelemetry.propagate`` and ours), each with the format and W3C baggage set up, and on
the writing side with a current span of their own.
"""

from __future__ import annotations

import argparse
import contextvars
from collections.abc import Callable
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import tracer
from tracer.propagation.composite import composite, set_global

from .interleaved import compare

W3C = {"traceparent": "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01"}
W3C_WITH_STATE = {**W3C, "tracestate": "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"}
B3 = {"b3": "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1"}
MULTI = {
    "x-b3-traceid": "463ac35c9f6413ad48485a3953bb6124",
    "x-b3-spanid": "a2fb4a1d1a96d312",
    "x-b3-sampled": "1",
}


def reading(extract: Callable[[Any], Any], headers: dict[str, str]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            extract(headers)

    return run


def ours_writing() -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            tracer.inject({})

    return run


def theirs_writing() -> Callable[[int], None]:
    """With a current span of theirs, so that nothing of ours is in their way."""

    def run(count: int) -> None:
        for _ in range(count):
            propagate.inject({})

    def alone(count: int) -> None:
        with trace.use_span(THEIR_SPAN):
            run(count)

    return lambda count: contextvars.Context().run(alone, count)


THEIR_SPAN = trace.NonRecordingSpan(
    trace.SpanContext(
        0x463AC35C9F6413AD48485A3953BB6124, 0xA2FB4A1D1A96D312, False, trace.TraceFlags(1)
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    tracer.init("benchmark", collector=None)
    for name, propagator, headers in (
        ("tracecontext", TraceContextTextMapPropagator(), W3C),
        ("tracecontext", TraceContextTextMapPropagator(), W3C_WITH_STATE),
        ("b3", B3SingleFormat(), B3),
        ("b3multi", B3MultiFormat(), MULTI),
    ):
        ours = composite([name, "baggage"], [name, "baggage"])
        set_global(ours)
        theirs = CompositePropagator([propagator, W3CBaggagePropagator()])
        set_global_textmap(theirs)
        with tracer.start_span("current"):
            for peer, one, mine in (
                (
                    f"OpenTelemetry extract {name} ({len(headers)})",
                    reading(propagate.extract, headers),
                    reading(tracer.extract, headers),
                ),
                (
                    f"OpenTelemetry inject {name}",
                    theirs_writing(),
                    ours_writing(),
                ),
            ):
                label = peer.removeprefix("OpenTelemetry ")
                print(
                    compare(
                        {peer: (one, 3_000), label: (mine, 10_000)}, peer=peer, rounds=rounds
                    ).table()
                )
    tracer.shutdown()


if __name__ == "__main__":
    main()
