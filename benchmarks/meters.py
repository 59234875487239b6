"""What a recording costs, beside prometheus_client and OpenTelemetry: ``scripts/bench meters``.

Everything is measured in one run, interleaved, on one thread's CPU clock; a row is the median of
its rounds as a ratio to prometheus_client's ``labels(...).inc()`` in the same round. The cost of
an empty loop is taken off all of them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import prometheus_client

from lookout_client import Registry
from lookout_client.opentelemetry import MeterProvider
from lookout_client.scrape import Exposition

BASE = "prometheus_client labels(2).inc"
Case = Callable[[int], None]


def loop(statement: str, **names: Any) -> Case:
    """A function that runs ``statement`` n times, without a call of its own around it."""
    scope: dict[str, Any] = dict(names)
    parameters = ", ".join(f"{name}={name}" for name in names)
    head = f"def run(n, {parameters}):" if parameters else "def run(n):"
    source = f"{head}\n    for _ in range(n):\n        {statement}\n"
    exec(source, scope)
    case: Case = scope["run"]
    return case


def prometheus_cases() -> dict[str, Case]:
    registry = prometheus_client.CollectorRegistry()
    counter = prometheus_client.Counter("c", "c", ["method", "code"], registry=registry)
    histogram = prometheus_client.Histogram("h", "h", ["method", "code"], registry=registry)
    return {
        BASE: loop("c.labels('GET', '200').inc()", c=counter),
        "prometheus_client bound inc": loop("c.inc()", c=counter.labels("GET", "200")),
        "prometheus_client bound observe": loop(
            "h.observe(0.03)", h=histogram.labels("GET", "200")
        ),
    }


def our_cases() -> dict[str, Case]:
    registry = Registry()
    registry.exemplars.use(lambda: None)
    counter = registry.counter("c", keys=("method", "code"))
    timer = registry.timer("t", keys=("method", "code"))
    histogram = registry.histogram("h")
    bound = counter.tagged("GET", "200")
    return {
        "bound counter inc()": loop("c.inc()", c=bound),
        "bound counter inc(2)": loop("c.inc(2)", c=bound),
        "counter.tagged(2 values).inc()": loop("c.tagged('GET', '200').inc()", c=counter),
        "counter.with_tags(2 tags).inc()": loop(
            "c.with_tags(method='GET', code='200').inc()", c=counter
        ),
        "counter.inc(2 tags)": loop("c.inc(method='GET', code='200')", c=counter),
        "bound timer record": loop("t.record(0.03)", t=timer.tagged("GET", "200")),
        "bound native histogram record": loop(
            "h.record(0.03)", h=registry.native_histogram("n").with_tags(a="b")
        ),
        "bound histogram record": loop("h.record(0.03)", h=histogram.with_tags(a="b")),
    }


def our_opentelemetry_cases() -> dict[str, Case]:
    registry = Registry()
    registry.exemplars.use(lambda: None)
    meter = MeterProvider(registry).get_meter("bench")
    tags = {"method": "GET", "code": "200"}
    mixed = {"method": "GET", "code": 200}
    counter = meter.create_counter("c")
    return {
        "our MeterProvider add(1, 2 attributes)": loop("c.add(1, t)", c=counter, t=tags),
        "our MeterProvider add(1, 2 attributes, one an int)": loop(
            "c.add(1, t)", c=counter, t=mixed
        ),
        "our MeterProvider record(2 attributes)": loop(
            "h.record(0.03, t)", h=meter.create_histogram("h"), t=tags
        ),
    }


def opentelemetry_cases() -> dict[str, Case]:
    """OpenTelemetry's SDK, where it is installed, as a peer."""
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    except ImportError:
        return {}
    meter = MeterProvider([InMemoryMetricReader()]).get_meter("bench")
    tags = {"method": "GET", "code": "200"}
    return {
        "OpenTelemetry SDK add(1, 2 attributes)": loop(
            "c.add(1, t)", c=meter.create_counter("c"), t=tags
        ),
        "OpenTelemetry SDK record(2 attributes)": loop(
            "h.record(0.03, t)", h=meter.create_histogram("h"), t=tags
        ),
    }


def measure(cases: dict[str, Case], rounds: int, n: int) -> dict[str, list[float]]:
    """Seconds of CPU per call, round by round, all cases in each round."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        empty = cpu_time(loop("pass"), n) if n > 1 else 0.0
        for name, case in cases.items():
            times[name].append(max(cpu_time(case, n) - empty, 0.0) / n)
    return times


def cpu_time(case: Case, n: int) -> float:
    started = time.thread_time()
    case(n)
    return time.thread_time() - started


def report(times: dict[str, list[float]]) -> None:
    for name, values in times.items():
        ratios = sorted(value / base for value, base in zip(values, times[BASE], strict=True))
        ratio = statistics.median(ratios)
        print(
            f"| {name} | {statistics.median(values) * 1e9:.0f} ns | **{ratio:.3f}** "
            f"| {ratios[0]:.3f}-{ratios[-1]:.3f} |"
        )


def scrape(rounds: int, series: int = 10_000) -> None:
    """A scrape of ``series`` counters with 2 labels each."""
    theirs = prometheus_client.CollectorRegistry()
    peer = prometheus_client.Counter("c", "c", ["method", "code"], registry=theirs)
    ours = Registry(max_series_per_metric=series + 1)
    counter = ours.counter("c", keys=("method", "code"))
    for index in range(series):
        peer.labels("GET", str(index)).inc(index)
        counter.tagged("GET", str(index)).inc(index)
    exposition = Exposition(ours)
    cases: dict[str, Case] = {
        "prometheus_client generate_latest": lambda n: discard(
            prometheus_client.generate_latest(theirs)
        ),
        "text": lambda n: discard(exposition.answer()),
        "OpenMetrics": lambda n: discard(exposition.answer("application/openmetrics-text")),
    }
    times = measure(cases, rounds, 1)
    base = times["prometheus_client generate_latest"]
    for name, values in times.items():
        ratios = sorted(value / other for value, other in zip(values, base, strict=True))
        print(
            f"| scrape of {series} series, {name} | {statistics.median(values) * 1e3:.1f} ms "
            f"| **{statistics.median(ratios):.3f}** | {ratios[0]:.3f}-{ratios[-1]:.3f} |"
        )


def discard(_: object) -> None:
    """The result was made; that is all."""


def lost_updates(threads: int = 8, each: int = 200_000) -> int:
    """How many recordings of ``threads`` threads at once do not show in the sums."""
    registry = Registry()
    counter, timer = registry.counter("c").with_tags(a="b"), registry.timer("t").with_tags(a="b")

    def record() -> None:
        for _ in range(each):
            counter.inc()
            timer.record(0.5)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=record) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    expected = threads * each
    return int(abs(expected - counter.value) + abs(expected - timer.count))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=100_000)
    options = parser.parse_args()
    print("| what | CPU per call | ratio | spread |\n| --- | --- | --- | --- |")
    cases = prometheus_cases() | our_cases() | our_opentelemetry_cases() | opentelemetry_cases()
    report(measure(cases, options.rounds, options.calls))
    scrape(options.rounds)
    print(f"| lost updates of 8 threads | {lost_updates()} | | |")


if __name__ == "__main__":
    main()
