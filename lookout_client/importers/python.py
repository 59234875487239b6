"""The Python runtime: garbage collection, memory blocks, threads, exceptions nobody caught, the
event loop.

Names as in OpenTelemetry's conventions for CPython
(https://opentelemetry.io/docs/specs/semconv/runtime/cpython-metrics/); as SOFALookout names them
with its JVM metrics' counterparts.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ..bound import BoundTimer
from ..family import Definition
from ..metric import Kind, Tags
from ..registry import Registry
from ..snapshot import NumberPoint, Snapshot
from . import Context

_GC = (
    ("cpython.gc.collections", "collections", "{collection}", "Collections by generation."),
    ("cpython.gc.collected_objects", "collected", "{object}", "Objects collected."),
    ("cpython.gc.uncollectable_objects", "uncollectable", "{object}", "Objects not collectable."),
)


def start(context: Context) -> None:
    """Measure this interpreter."""
    registry = context.registry
    if context.sofalookout:
        _start_as_jvm(context)
    else:
        context.undo.append(registry.add_source(GcCounts(registry)))
        _start_gauges(context)
    context.undo.append(_time_collections(_gc_timers(registry)))
    context.undo.append(_count_uncaught(registry))


def _start_gauges(context: Context) -> None:
    readings: list[tuple[str, str, str, Callable[[], float]]] = [
        ("cpython.thread.count", "{thread}", "Threads that Python knows of.",
         lambda: float(threading.active_count()))
    ]  # fmt: skip
    if hasattr(sys, "getallocatedblocks"):
        readings.append(
            ("cpython.memory.allocated_blocks", "{block}", "Memory blocks that objects are in.",
             lambda: float(sys.getallocatedblocks()))
        )  # fmt: skip
    for name, unit, text, read in readings:
        context.registry.gauge(name, callback=read, unit=unit, description=text)
        context.undo.append(partial(context.registry.remove, name))


def _start_as_jvm(context: Context) -> None:
    """SOFALookout's ``jvm.gc`` and ``jvm.threads``, for dashboards that exist."""
    timers = _gc_timers(context.registry)

    def count(*generations: int) -> Callable[[], float]:
        return lambda: float(sum(gc.get_stats()[index]["collections"] for index in generations))

    def milliseconds(*generations: int) -> Callable[[], float]:
        return lambda: 1000 * sum(timers[index].total for index in generations)

    context.gauges(
        "jvm.gc",
        {"young.count": count(0, 1), "young.time": milliseconds(0, 1),
         "old.count": count(2), "old.time": milliseconds(2)},
        description="Collections so far, and the milliseconds they took.",
    )  # fmt: skip
    context.gauges(
        "jvm.threads",
        {
            "active": lambda: float(threading.active_count()),
            "daemon": lambda: float(sum(thread.daemon for thread in threading.enumerate())),
        },
        description="Threads that Python knows of.",
    )


class GcCounts:
    """The garbage collector's own counts, by generation, read with every collection."""

    def __init__(self, registry: Registry) -> None:
        self._created_ns = registry.clock_ns()

    def __call__(self) -> Iterable[Snapshot]:
        stats = gc.get_stats()
        for name, key, unit, description in _GC:
            definition = Definition(name, Kind.COUNTER, unit, "counter", description)
            points = [
                NumberPoint(_generation(number), counts[key], self._created_ns)
                for number, counts in enumerate(stats)
            ]
            yield Snapshot(definition, list(points))


def _generation(number: int) -> Tags:
    return (("cpython.gc.generation", str(number)),)


def _gc_timers(registry: Registry) -> list[BoundTimer]:
    timer = registry.timer(
        "cpython.gc.duration",
        keys=("cpython.gc.generation",),
        description="How long the interpreter stood still for a collection.",
    )
    return [timer.tagged(str(generation)) for generation in range(3)]


def _time_collections(bound: Sequence[BoundTimer]) -> Callable[[], None]:
    """How long the interpreter stood still for the collector, by generation.

    The callback may run in the middle of anything, so it records into bound meters only.
    """
    started = [0]

    def watch(phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter_ns()
        if phase == "start":
            started[0] = now
        elif started[0]:
            bound[min(info.get("generation", 2), 2)].record((now - started[0]) / 1e9)

    gc.callbacks.append(watch)
    return lambda: gc.callbacks.remove(watch) if watch in gc.callbacks else None


def _count_uncaught(registry: Registry) -> Callable[[], None]:
    """Exceptions that ended a thread or the program. The former hooks still run."""
    counter = registry.counter(
        "python.exceptions.uncaught", keys=("exception.type",), description="Not caught by anybody."
    )
    main_hook, thread_hook = sys.excepthook, threading.excepthook

    def on_main(kind: Any, value: Any, traceback: Any) -> None:
        counter.tagged(kind.__qualname__).inc()
        main_hook(kind, value, traceback)

    def on_thread(arguments: Any) -> None:
        counter.tagged(arguments.exc_type.__qualname__).inc()
        thread_hook(arguments)

    sys.excepthook, threading.excepthook = on_main, on_thread

    def undo() -> None:
        if sys.excepthook is on_main:
            sys.excepthook = main_hook
        if threading.excepthook is on_thread:
            threading.excepthook = thread_hook

    return undo


def watch_event_loop(
    registry: Registry, loop: asyncio.AbstractEventLoop | None = None, interval_s: float = 0.25
) -> Callable[[], None]:
    """Measure an asyncio loop: how late its callbacks run, and how many tasks it has.

    Called in the loop itself, or with ``loop``; the answer ends it. The lag is how much later
    than asked for a timer fires: what every request on this loop waits at least.
    """
    loop = loop or asyncio.get_running_loop()
    lag = registry.timer("asyncio.loop.lag", description="How late timers fire.")
    running = loop
    registry.gauge(
        "asyncio.tasks",
        callback=lambda: float(len(asyncio.all_tasks(running))),
        description="Tasks not done.",
    )
    handle: asyncio.TimerHandle | None = None
    stopped = False

    def tick(due: float) -> None:
        nonlocal handle
        now = running.time()
        lag.record(max(now - due, 0.0))
        if not stopped:
            handle = running.call_later(interval_s, tick, now + interval_s)

    handle = loop.call_later(interval_s, tick, loop.time() + interval_s)

    def stop() -> None:
        nonlocal stopped
        stopped = True
        if handle is not None:
            handle.cancel()
        registry.remove("asyncio.tasks")

    return stop
