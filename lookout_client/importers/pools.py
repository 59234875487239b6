"""Thread pools, executors and database connection pools: how busy they are, who waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from ..registry import Registry


def watch_executor(registry: Registry, executor: Executor, name: str) -> Callable[[], None]:
    """Measure an executor of ``concurrent.futures``; the answer ends that.

    ``executor.tasks`` by outcome, ``executor.queue.duration`` from submission to start,
    ``executor.run.duration``, and gauges of waiting tasks and workers where it tells.
    """
    keys = ("executor.name", "outcome")
    tasks = registry.counter("executor.tasks", keys=keys, description="Tasks ended.")
    running, waiting = (
        registry.timer(f"executor.{what}.duration", keys=keys[:1], description=text).tagged(name)
        for what, text in (("run", "How long tasks ran."), ("queue", "How long tasks waited."))
    )
    submit = executor.submit

    def measured(submitted_ns: int, function: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        waiting.record((time.perf_counter_ns() - submitted_ns) / 1e9)
        with running.time():
            return function(*args, **kw)

    def count(future: Future[Any]) -> None:
        cancelled = future.cancelled()
        failed = not cancelled and future.exception() is not None
        tasks.tagged(name, "cancelled" if cancelled else "error" if failed else "ok").inc()

    def submit_measured(function: Callable[..., Any], /, *args: Any, **kw: Any) -> Future[Any]:
        future = submit(partial(measured, time.perf_counter_ns(), function), *args, **kw)
        future.add_done_callback(count)
        return future

    executor.submit = submit_measured  # type: ignore[method-assign]
    undo = _gauges(registry, executor, name)

    def stop() -> None:
        executor.__dict__.pop("submit", None)
        undo()

    return stop


def _gauges(registry: Registry, executor: Any, name: str) -> Callable[[], None]:
    readings: list[tuple[str, str, Callable[[], float]]] = [
        ("executor.queue.size", "Tasks that wait.", lambda: float(executor._work_queue.qsize())),
        ("executor.threads", "Threads started.", lambda: float(len(executor._threads))),
        ("executor.threads.max", "Threads at most.", lambda: float(executor._max_workers)),
    ]
    made = [
        registry.gauge(metric, {"executor.name": name}, callback=read, description=text)
        for metric, text, read in readings
        if _reads(read)
    ]

    def undo() -> None:
        for gauge in made:
            registry.forget(gauge)

    return undo


def _reads(read: Callable[[], float]) -> bool:
    try:
        read()
    except (AttributeError, TypeError):
        return False
    return True


def watch_connection_pool(registry: Registry, engine: Any, name: str) -> Callable[[], None]:
    """Measure the pool of an SQLAlchemy engine, sync or async; the answer ends that.

    Names as in https://opentelemetry.io/docs/specs/semconv/database/database-metrics/:
    ``db.client.connection.count`` by state, ``.max`` and ``.idle.max``.
    """
    pool = getattr(engine, "sync_engine", engine).pool
    tags = {"db.client.connection.pool.name": name}
    count = "db.client.connection.count"
    state = "db.client.connection.state"
    meanings = {
        count: "Connections by state.",
        "db.client.connection.idle.max": "Connections kept at most while idle.",
        "db.client.connection.max": "Connections at most.",
    }
    readings: list[tuple[str, dict[str, str], Callable[[], float]]] = [
        (count, {**tags, state: "used"}, lambda: float(pool.checkedout())),
        (count, {**tags, state: "idle"}, lambda: float(pool.checkedin())),
        ("db.client.connection.idle.max", tags, lambda: float(pool.size())),
        ("db.client.connection.max", tags, lambda: float(pool.size() + pool._max_overflow)),
    ]
    made = [
        registry.gauge(
            metric, own, callback=read, unit="{connection}", description=meanings[metric]
        )
        for metric, own, read in readings
        if _reads(read)
    ]

    def stop() -> None:
        for gauge in made:
            registry.forget(gauge)

    return stop
