"""Meters as applications ask for them: recording accepts tags, and ``with_tags`` binds them.

``requests.inc(result="ok")`` looks the series up each time. Where a path is hot, keep
``ok = requests.with_tags(result="ok")`` and call ``ok.inc()``.

The classes here add nothing but the tags: an open meter is the same series as the bound one it
extends, so a registry can open a series that was bound before.
"""

from __future__ import annotations

from .bound import (
    BoundCounter,
    BoundGauge,
    BoundHistogram,
    BoundSummary,
    BoundTimer,
    BoundUpDownCounter,
)
from .free_threading import SUMS, guard, has_gil
from .native import BoundNativeHistogram, BoundNativeTimer
from .timing import Timing


class Counter(BoundCounter):
    """Counts what happened: it only grows. ``requests.inc()``, ``sent.inc(1024, to="db")``."""

    __slots__ = ()

    def inc(self, amount: float | None = None, /, **tags: object) -> None:
        """Add ``amount``, 1 unless given, to the series with ``tags``.

        ``amount=`` is the amount too, unless one is given by position: then it is a tag.
        """
        # By position only, because the interpreter compares each keyword with each parameter's
        # name; looked up and counted here, not in find() and BoundCounter.inc(): each of the
        # three is a tenth of the whole call.
        meter: BoundCounter = self
        if tags:
            try:
                pick, known = self._shapes[len(tags)]
                meter = known[pick(tags)]
            except (KeyError, TypeError):
                if amount is None and "amount" in tags:
                    amount = tags.pop("amount")  # type: ignore[assignment]
                meter = self.find(tags) if tags else self
        if amount is None:
            meter._value += 1
            if meter._armed:
                meter._note(1)
        else:
            BoundCounter.inc(meter, amount)


if not has_gil():
    guard(Counter, ("inc",), SUMS)


class UpDownCounter(BoundUpDownCounter):
    """A sum that may shrink: connections open, jobs queued. SOFALookout's Counter."""

    __slots__ = ()

    def inc(self, amount: float | None = None, **tags: object) -> None:
        """Add ``amount``, 1 unless given, to the series with ``tags``."""
        BoundUpDownCounter.inc(self.find(tags) if tags else self, amount)

    def dec(self, amount: float | None = None, **tags: object) -> None:
        """Take ``amount``, 1 unless given, from the series with ``tags``."""
        BoundUpDownCounter.dec(self.find(tags) if tags else self, amount)


class Gauge(BoundGauge):
    """A value that is what it was last set to, or what a callback says when read."""

    __slots__ = ()

    def set(self, value: float, **tags: object) -> None:
        """Make ``value`` the current one of the series with ``tags``."""
        BoundGauge.set(self.find(tags) if tags else self, value)

    def inc(self, amount: float = 1, **tags: object) -> None:
        """Add ``amount`` to the current value of the series with ``tags``."""
        BoundGauge.inc(self.find(tags) if tags else self, amount)

    def dec(self, amount: float = 1, **tags: object) -> None:
        """Take ``amount`` from the current value of the series with ``tags``."""
        BoundGauge.dec(self.find(tags) if tags else self, amount)


class DistributionSummary(BoundSummary):
    """How often, how much and the largest: ``sizes.record(len(body))``."""

    __slots__ = ()

    def record(self, value: float, **tags: object) -> None:
        """Record one value into the series with ``tags``."""
        BoundSummary.record(self.find(tags) if tags else self, value)


class Histogram(BoundHistogram):
    """A distribution over classic buckets with fixed upper bounds."""

    __slots__ = ()

    def record(self, value: float, **tags: object) -> None:
        """Record one value into the series with ``tags``."""
        BoundHistogram.record(self.find(tags) if tags else self, value)

    #: prometheus_client's name for the same thing.
    observe = record


class Timer(BoundTimer):
    """How long things take, in seconds.

    ``with timer.time(): ...``, ``@timer`` on a plain or async function, or
    ``timer.record(seconds)``.
    """

    __slots__ = ()

    def record(self, value: float, **tags: object) -> None:
        """Record a duration in seconds into the series with ``tags``."""
        BoundTimer.record(self.find(tags) if tags else self, value)

    def time(self, **tags: object) -> Timing:
        """A context manager that records how long its block took, an exception included."""
        return Timing(self.find(tags) if tags else self)


class NativeHistogram(BoundNativeHistogram):
    """A distribution over exponential buckets, which need no bounds to be chosen."""

    __slots__ = ()

    def record(self, value: float, **tags: object) -> None:
        """Record one value into the series with ``tags``."""
        BoundNativeHistogram.record(self.find(tags) if tags else self, value)

    observe = record


class NativeTimer(BoundNativeTimer):
    """How long things take, in seconds, over exponential buckets."""

    __slots__ = ()

    def record(self, value: float, **tags: object) -> None:
        """Record a duration in seconds into the series with ``tags``."""
        BoundNativeTimer.record(self.find(tags) if tags else self, value)

    def time(self, **tags: object) -> Timing:
        """A context manager that records how long its block took, an exception included."""
        return Timing(self.find(tags) if tags else self)
