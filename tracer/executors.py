"""Taking the current span into threads, executors and other processes.

Python hands its context on to asyncio tasks by itself, but not to threads and processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from .context import use_span
from .propagation.composite import composite
from .propagation.source import Source

P = ParamSpec("P")
R = TypeVar("R")

# Between processes of one program there is nobody else's format to speak.
_CARRIER = composite(["tracecontext", "baggage"], ["tracecontext", "baggage"])


class TracedExecutor(Executor):
    """Hands the caller's context to whatever is submitted to ``executor``.

    For a thread pool that is the whole context; for a process pool the current span and its
    baggage travel as headers. It owns nothing: shutting it down shuts ``executor`` down.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._in_process = not _crosses_processes(executor)

    def submit(self, function: Callable[P, R], /, *args: P.args, **named: P.kwargs) -> Future[R]:
        """Run ``function(*args, **named)`` below the span that is current now."""
        if self._in_process:
            run: Any = copy_context().run
            return self._executor.submit(run, function, *args, **named)
        return self._executor.submit(_run_below, carrier(), function, *args, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


def _crosses_processes(executor: Executor) -> bool:
    from concurrent.futures.process import ProcessPoolExecutor

    return isinstance(executor, ProcessPoolExecutor)


def carrier(context: Source | None = None) -> dict[str, str]:
    """The current span, or ``context``, as plain text that can be pickled, sent or stored."""
    from .context import injectable

    headers: dict[str, str] = {}
    source = context if context is not None else injectable()
    if source is not None:
        _CARRIER.inject(headers, source)
    return headers


@contextmanager
def below(headers: Mapping[str, str]) -> Iterator[None]:
    """Work below the span that :func:`carrier` described, in whatever process it did."""
    with use_span(_CARRIER.extract(headers)):
        yield


def _run_below(
    headers: Mapping[str, str], function: Callable[..., R], /, *args: Any, **named: Any
) -> R:
    with below(headers):
        return function(*args, **named)


class ProcessTask:
    """A function to be run by another process below the span that is current now.

    It can be pickled where the function can: what to give to ``multiprocessing.Process`` as its
    target, to a pool's ``map``, or to a plain ``ProcessPoolExecutor``.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._headers = carrier()

    def __call__(self, *args: Any, **named: Any) -> Any:
        return _run_below(self._headers, self._function, *args, **named)


_thread_start = threading.Thread.start
_pool_submit = ThreadPoolExecutor.submit


def _start_in_context(thread: threading.Thread) -> None:
    """``Thread.start`` that hands the starter's context over."""
    context = copy_context()
    run = thread.run

    def run_in_context() -> None:
        # ``run`` deletes its arguments afterwards; so is the context let go of.
        del thread.run
        context.run(run)

    thread.run = run_in_context  # type: ignore[method-assign]
    _thread_start(thread)


def _submit_in_context(
    pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **named: Any
) -> Future[Any]:
    """``ThreadPoolExecutor.submit`` that hands the caller's context over."""
    return _pool_submit(pool, copy_context().run, function, *args, **named)


def instrument_threads() -> None:
    """From now on every thread and every call in a thread pool begins below the span that was
    current where it was started. Threads that serve many callers (a pool's own workers) are
    covered by the calls they are given. A second call does nothing."""
    if threading.Thread.start is _thread_start:
        threading.Thread.start = _start_in_context  # type: ignore[method-assign,assignment]
        ThreadPoolExecutor.submit = _submit_in_context  # type: ignore[method-assign,assignment]


def uninstrument_threads() -> None:
    """Undo :func:`instrument_threads`."""
    if threading.Thread.start is _start_in_context:
        threading.Thread.start = _thread_start  # type: ignore[method-assign]
        ThreadPoolExecutor.submit = _pool_submit  # type: ignore[method-assign]


__all__ = [
    "ProcessTask",
    "TracedExecutor",
    "below",
    "carrier",
    "instrument_threads",
    "uninstrument_threads",
]
