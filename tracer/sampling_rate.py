"""Samplers that keep a certain number: so many per second, exactly so many of each hundred."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping

from .forks import renew_after_fork
from .sampling import DROP, KEEP, Decision
from .span_context import SpanContext


class RateLimited:
    """Keeps at most ``per_second`` traces a second, with bursts of up to one second's worth.

    A token bucket. It takes a lock for some ten instructions; only roots that no caller decided
    about get here.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        if per_second < 0:
            raise ValueError(f"traces per second must not be negative, not {per_second!r}")
        self.per_second = per_second
        self._most = max(per_second, 1.0) if per_second else 0.0
        self._clock = clock
        self._tokens = self._most
        self._filled = clock()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def renew(self) -> None:
        """In a forked child: a thread that is not there may have held the lock."""
        self._lock = threading.Lock()

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        with self._lock:
            now = self._clock()
            gained = max(now - self._filled, 0.0) * self.per_second
            self._filled = now
            self._tokens = min(self._tokens + gained, self._most)
            if self._tokens < 1.0:
                return DROP
            self._tokens -= 1.0
            return KEEP

    def __repr__(self) -> str:
        return f"RateLimited({self.per_second})"


class KInHundred:
    """SOFATracer's sampler: exactly ``percent`` of each hundred consecutive roots.

    Which of the hundred is drawn at random once. Fractions are exact over the first number of
    hundreds that makes them whole (12.5 keeps 25 of each 200), where SOFATracer cuts them off.
    """

    def __init__(self, percent: float, source: random.Random | None = None) -> None:
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be between 0 and 100, not {percent!r}")
        self.percent = percent
        self._length = _cycle(percent)
        kept = round(percent * self._length / 100)
        chosen = (source or random.Random()).sample(range(self._length), kept)
        self._kept = bytearray(self._length)
        for position in chosen:
            self._kept[position] = 1
        self._next = itertools.count().__next__
        self.rejected_below = 0 if percent == 100 else None

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        return KEEP if self._kept[self._next() % self._length] else DROP

    def __repr__(self) -> str:
        return f"KInHundred({self.percent})"


def _cycle(percent: float) -> int:
    """The length after which ``percent`` comes out whole: 100, 1,000, 10,000 or 100,000."""
    for digits in range(3):
        if float(round(percent, digits)) == percent:
            return int(100 * 10**digits)
    return 100_000
