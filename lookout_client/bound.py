"""Bound meters: the series that recordings end in.

A bound meter is one series: a metric's name with one tag set. Its recording methods take no
lock, do no I/O, never raise and allocate nothing that outlives the call.

Why plain attributes and no lock, per-thread cells or append log: CPython hands the interpreter
lock over only at function entry, at calls and at backward jumps (``CHECK_EVAL_BREAKER`` in
ceval.c, since 3.10). ``self._value += amount`` with a number of type int or float holds none of
these between its load and its store, so no update can be lost; a test checks the byte code of
every recording method for it. Measured beside prometheus_client's ``labels().inc()`` = 1.00: the
attribute 0.05, an append log 0.05 plus a fold and a bound, cells per thread 0.08, threading.local
0.10. Hence every number that is not exactly an int or a float is converted first, on the slow
path. Interpreters without that lock are served by :mod:`lookout_client.free_threading`.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from .free_threading import SUMS, guard, has_gil
from .metric import Kind, MetricId, Tags
from .snapshot import BucketPoint, NumberPoint, Point
from .spellings import Spellings
from .timing import TimerMethods

if TYPE_CHECKING:
    from .family import Family

#: The bound type of a meter: what naming its tags answers.
B = TypeVar("B")

#: The largest finite float: what is above it, or not a number, is refused.
MAX_VALUE = sys.float_info.max
#: Integers beyond 64 bits are kept as floats: a number of 400 digits could not be added to one.
MAX_INT = 2**63

_NO_SPELLINGS = Spellings(0)


class Meter(Generic[B]):
    """One series of a metric. Obtained from a registry, never constructed by applications."""

    __slots__ = (
        "__weakref__", "_armed", "_others", "_shapes", "created_ns", "exemplar", "family", "tags"
    )  # fmt: skip
    kind: Kind

    def __init__(self, family: Family, tags: Tags, created_ns: int) -> None:
        self.family = family
        self.tags = tags
        self.created_ns = created_ns
        self.exemplar: Any = None
        self._armed = 0
        spellings = _NO_SPELLINGS if tags else family.spellings
        self._shapes = spellings.shapes
        self._others = spellings.others

    @property
    def id(self) -> MetricId:
        """Name and intrinsic tags."""
        return MetricId(self.family.name, self.tags)

    def with_tags(self, tags: Mapping[str, object] | None = None, /, **more: object) -> B:
        """The meter of the same metric whose tags are this one's and these.

        Keep the result where a path is hot: recording into a bound meter costs a fraction of
        looking it up.
        """
        if tags is not None:
            return self.find({**tags, **more})
        try:
            pick, known = self._shapes[len(more)]
            found: B = known[pick(more)]
            return found
        except (KeyError, TypeError):
            return cast("B", self.family.child(self, more))

    def find(self, tags: Mapping[str, object]) -> B:
        """The same as ``with_tags(tags)``, remembering the spelling."""
        try:
            pick, known = self._shapes[len(tags)]
            found: B = known[pick(tags)]
            return found
        except (KeyError, TypeError):
            return cast("B", self.family.child(self, tags))

    def tagged(self, *values: str) -> B:
        """The meter for these values of the metric's declared tag ``keys``, in their order.

        The fastest look-up. Values beyond the declared keys are refused and counted; missing
        ones are empty.
        """
        try:
            found: B = self._others[values]
            return found
        except (KeyError, TypeError):
            return cast("B", self.family.child_of_values(self, values))

    @property
    def touched(self) -> bool:
        """True once anything was recorded."""
        raise NotImplementedError

    @property
    def mark(self) -> object:
        """Something that differs after every recording, to see whether there was one."""
        raise NotImplementedError

    def take(self, other: Self) -> None:
        """Move what was recorded into ``other``, a meter of the same metric, into this one."""
        raise NotImplementedError

    def reset(self, now_ns: int) -> None:
        """Begin again from nothing at ``now_ns``."""
        self.created_ns = now_ns
        self.exemplar = None

    def point(self) -> Point | None:
        """What was recorded so far, or None where there is nothing to report."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.kind.value} {self.id}>"


class Sum(Meter[B]):
    """What both counters have in common: a number that recordings add to."""

    __slots__ = ("_value",)

    def __init__(self, family: Family, tags: Tags, created_ns: int) -> None:
        super().__init__(family, tags, created_ns)
        self._value: int | float = 0

    @property
    def value(self) -> float:
        """The sum of everything recorded since ``created_ns``."""
        return self._value

    @property
    def touched(self) -> bool:
        return self._value != 0

    @property
    def mark(self) -> object:
        return self._value

    def take(self, other: Self) -> None:
        taken, other._value = other._value, 0
        self._value += taken

    def reset(self, now_ns: int) -> None:
        super().reset(now_ns)
        self._value = 0

    def point(self) -> NumberPoint:
        return NumberPoint(self.tags, self._value, self.created_ns, self.exemplar)


class BoundCounter(Sum["BoundCounter"]):
    """One series of a counter: it only grows. ``requests.inc()``, ``bytes_sent.inc(1024)``."""

    __slots__ = ()
    kind = Kind.COUNTER

    def inc(self, amount: int | float | None = None) -> None:
        """Add ``amount`` (1 unless given). Negative, infinite and non-numbers are refused."""
        if amount is None:
            self._value += 1
            if self._armed:
                self._note(1)
        elif amount.__class__ is int and 0 <= amount < MAX_INT:
            self._value += amount
            if self._armed:
                self._note(amount)
        else:
            self._add(amount)

    def _add(self, amount: float) -> None:
        number = self.family.number(amount)
        if number is None:
            return
        if number < 0:
            self.family.refuse("negative")
            return
        self._value += number
        if self._armed:
            self._note(number)

    def _note(self, amount: float) -> None:
        self.family.note(self, amount)


class BoundUpDownCounter(Sum["BoundUpDownCounter"]):
    """One series of a sum that may shrink."""

    __slots__ = ()
    kind = Kind.UP_DOWN_COUNTER

    def inc(self, amount: float | None = None) -> None:
        """Add ``amount``, which may be negative (1 unless given)."""
        number = 1 if amount is None else self.family.number(amount)
        if number is not None:
            self._value += number

    def dec(self, amount: float | None = None) -> None:
        """Take ``amount`` away (1 unless given)."""
        number = 1 if amount is None else self.family.number(amount)
        if number is not None:
            self._value -= number


class BoundGauge(Meter["BoundGauge"]):
    """One series of a gauge: it is what it was last set to, or what a callback says when read."""

    __slots__ = ("_value", "callback")
    kind = Kind.GAUGE

    def __init__(self, family: Family, tags: Tags, created_ns: int) -> None:
        super().__init__(family, tags, created_ns)
        self._value: float | None = None
        self.callback: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        """Make ``value`` the current one. NaN and infinities are allowed: they are readings."""
        if value.__class__ is float:
            self._value = value
        else:
            number = self.family.reading(value)
            if number is not None:
                self._value = number

    def inc(self, amount: float = 1) -> None:
        """Add ``amount`` to the current value; a gauge never set counts from 0."""
        number = self.family.number(amount)
        if number is not None:
            self._value = number if self._value is None else self._value + number

    def dec(self, amount: float = 1) -> None:
        """Take ``amount`` from the current value."""
        number = self.family.number(amount)
        if number is not None:
            self._value = -number if self._value is None else self._value - number

    def set_to_current_time(self) -> None:
        """Set to the Unix time in seconds."""
        self._value = time.time()

    @property
    def value(self) -> float | None:
        """The current value, from the callback if there is one; None when there is none.

        A callback that raises or answers something that is no number is counted and read as
        None: one bad gauge must not spoil the reading of the others.
        """
        if self.callback is None:
            return self._value
        try:
            return self.family.reading(self.callback())
        except Exception:
            self.family.refuse("callback")
            return None

    @property
    def touched(self) -> bool:
        return self._value is not None or self.callback is not None

    @property
    def mark(self) -> object:
        return object() if self.callback else self._value  # a callback is never idle

    def take(self, other: Self) -> None:
        taken, other._value = other._value, None
        if taken is not None:
            self._value = taken

    def reset(self, now_ns: int) -> None:
        """A gauge keeps its value: it says how things are, not what happened since."""
        super().reset(now_ns)

    def point(self) -> NumberPoint | None:
        value = self.value
        return None if value is None else NumberPoint(self.tags, value, self.created_ns)


class Distribution(Meter[B]):
    """What summaries, timers and histograms have in common: a sum and counts by bucket."""

    __slots__ = ("_bounds", "_counts", "_max", "_sum", "exemplars")
    _takes_negative = False

    def __init__(self, family: Family, tags: Tags, created_ns: int) -> None:
        super().__init__(family, tags, created_ns)
        self._bounds: tuple[float, ...] = family.bounds
        self._counts = [0] * (len(family.bounds) + 1)
        self._sum: float = 0.0
        self._max: float = -1.0
        self.exemplars: dict[int, Any] | None = None

    def record(self, value: float) -> None:
        """Record one value, 0 included. Negative, infinite and non-numbers are refused."""
        if value.__class__ is float and value >= 0.0:
            if value > self._max:
                if value > MAX_VALUE:
                    self.family.refuse("not_finite")
                    return
                self._max = value
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value
            if self._armed:
                self._note(value)
        else:
            self._record(value)

    def _record(self, value: float) -> None:
        number = self.family.number(value)
        if number is None:
            return
        if number < 0 and not self._takes_negative:
            self.family.refuse("negative")
            return
        number = float(number)
        self._counts[bisect_left(self._bounds, number)] += 1
        self._sum += number
        if number > self._max:  # noqa: PLR1730
            self._max = number
        if self._armed:
            self._note(number)

    def _note(self, value: float) -> None:
        self.family.note_bucket(self, value, bisect_left(self._bounds, value))

    def bucket_of(self, value: float) -> int:
        """The index of the bucket that counts ``value``."""
        return bisect_left(self._bounds, value)

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return sum(self._counts)

    @property
    def total(self) -> float:
        """Their sum."""
        return self._sum

    @property
    def max(self) -> float:
        """The largest value since the last step was completed; 0 if there was none."""
        return max(self._max, 0.0)

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of the buckets, ascending; +Inf is implied."""
        return self._bounds

    @property
    def bucket_counts(self) -> list[int]:
        """Values per bucket, not cumulative; the last is beyond every bound."""
        return self._counts.copy()

    @property
    def touched(self) -> bool:
        return any(self._counts)

    @property
    def mark(self) -> object:
        return sum(self._counts)

    def take(self, other: Self) -> None:
        counts, theirs = self._counts, other._counts
        for index in range(len(theirs)):
            taken, theirs[index] = theirs[index], 0
            counts[index] += taken
        total, other._sum = other._sum, 0.0
        self._sum += total
        self._max = max(self._max, other._max)

    def take_max(self) -> float:
        """The largest value since this was last asked; 0 if there was none."""
        largest, self._max = self._max, -1.0
        return max(largest, 0.0)

    def reset(self, now_ns: int) -> None:
        super().reset(now_ns)
        self._counts = [0] * len(self._counts)
        self._sum, self._max, self.exemplars = 0.0, -1.0, None

    def point(self) -> BucketPoint:
        # No call between the two reads: a recording is seen in both or in neither.
        counts, total = [*self._counts], self._sum
        # A copy: recordings go on, and who reads it would see it grow.
        exemplars = {**self.exemplars} if self.exemplars else None
        return BucketPoint(self.tags, total, counts, self.created_ns, exemplars)


if not has_gil():
    guard(Distribution, ("record", "_record", "take", "take_max", "reset", "point"))


class BoundSummary(Distribution["BoundSummary"]):
    """One series of a distribution summary: how often, how much, and the largest value."""

    __slots__ = ()
    kind = Kind.SUMMARY


class BoundHistogram(Distribution["BoundHistogram"]):
    """One series of a distribution over classic buckets with fixed upper bounds."""

    __slots__ = ()
    kind = Kind.HISTOGRAM
    _takes_negative = True  # temperatures and differences have distributions too

    #: prometheus_client's name for the same thing.
    observe = Distribution.record


class BoundTimer(Distribution["BoundTimer"], TimerMethods):
    """One series of a timer: how long things take, in seconds."""

    __slots__ = ()
    kind = Kind.TIMER


if not has_gil():
    guard(Sum, ("take", "reset", "point"), SUMS)
    guard(BoundCounter, ("inc", "_add"), SUMS)
    guard(BoundUpDownCounter, ("inc", "dec"), SUMS)
    guard(BoundGauge, ("set", "inc", "dec", "take"))
