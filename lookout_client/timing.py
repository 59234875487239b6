"""Timing a block, a function or a coroutine."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from .family import Family

P = ParamSpec("P")
R = TypeVar("R")


class TimerMethods:
    """Ways to time something; what they record into is a meter of durations."""

    __slots__ = ()
    family: Family

    def record(self, value: float) -> None:
        """Record a duration in seconds."""
        raise NotImplementedError

    def time(self) -> Timing:
        """A context manager that records how long its block took, an exception included."""
        return Timing(self)

    def record_ns(self, nanoseconds: int) -> None:
        """Record a duration given in nanoseconds."""
        number = self.family.number(nanoseconds)
        if number is not None:
            self.record(number / 1e9)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate ``function``, plain or async, so that each of its calls is timed."""
        return timed(self, function)


class Timing:
    """One measurement of a timer, running between ``__enter__`` and ``__exit__``."""

    __slots__ = ("_start", "_timer")

    def __init__(self, timer: TimerMethods) -> None:
        self._timer = timer
        self._start = 0

    def __enter__(self) -> Timing:
        self._start = time.perf_counter_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.record((time.perf_counter_ns() - self._start) / 1e9)


def timed(timer: TimerMethods, function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with every call recorded into ``timer``; a coroutine is timed until it ends."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def timed_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with Timing(timer):
                return await function(*args, **kwargs)

        return timed_async  # type: ignore[return-value]

    @functools.wraps(function)
    def timed_plain(*args: P.args, **kwargs: P.kwargs) -> R:
        with Timing(timer):
            return function(*args, **kwargs)

    return timed_plain
