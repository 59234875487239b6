"""Native histograms: exponential buckets that fit themselves to what is recorded.

The buckets are those of OTLP's ExponentialHistogram and Prometheus' native histograms: with
``scale`` s, bucket i holds the values in (2^(i/2^s), 2^((i+1)/2^s)]. A histogram starts at
:data:`MAX_SCALE` and halves its resolution whenever its values would span more than
:data:`MAX_BUCKETS`. https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from functools import cache
from math import frexp
from typing import TYPE_CHECKING, Self

from .bound import B, Meter
from .metric import Kind, Tags
from .snapshot import ExponentialPoint
from .timing import TimerMethods

if TYPE_CHECKING:
    from .exemplars import Exemplar
    from .family import Family

#: Prometheus' finest schema. 256 buckets per power of two.
MAX_SCALE = 8
MIN_SCALE = -4
#: Exemplars kept per series.
MAX_EXEMPLARS = 8
#: Buckets per sign, as OpenTelemetry's SDKs have it.
MAX_BUCKETS = 160
MAX_VALUE = sys.float_info.max


@cache
def _mantissas(scale: int) -> tuple[float, ...]:
    """Lower bounds of the buckets between 0.5 and 1, the range of frexp's mantissa."""
    return tuple(2.0 ** (index / 2**scale - 1) for index in range(2**scale))


class Buckets:
    """Counts of both signs at one scale. Never rescaled: a histogram moves on to a new one."""

    __slots__ = ("bits", "mantissas", "negative", "positive", "scale", "shift")

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.bits = max(scale, 0)
        self.shift = max(-scale, 0)
        self.mantissas = _mantissas(self.bits)
        self.positive: dict[int, int] = {}
        self.negative: dict[int, int] = {}

    def index(self, value: float) -> int:
        """The bucket of a positive ``value``, exact at every bound."""
        mantissa, exponent = frexp(value)
        position = bisect_left(self.mantissas, mantissa) - 1
        return (((exponent - 1) << self.bits) + position) >> self.shift

    def move_to(self, other: Buckets) -> None:
        """Empty these buckets into ``other``, whose scale is the same or coarser."""
        by = self.scale - other.scale
        for counts, target in ((self.positive, other.positive), (self.negative, other.negative)):
            for index in list(counts):
                taken, counts[index] = counts[index], 0
                if taken:
                    target.setdefault(index >> by, 0)
                    target[index >> by] += taken

    def fits(self) -> bool:
        """Whether neither sign spans more buckets than allowed."""
        return all(
            not counts or max(counts) - min(counts) < MAX_BUCKETS
            for counts in ([*self.positive], [*self.negative])
        )


class Native(Meter[B]):
    """What native histograms and timers have in common."""

    __slots__ = ("_buckets", "_max", "_retired", "_sum", "_zeros", "exemplars")
    _takes_negative = False

    def __init__(self, family: Family, tags: Tags, created_ns: int) -> None:
        super().__init__(family, tags, created_ns)
        self._clear()

    def _clear(self) -> None:
        self._buckets = Buckets(MAX_SCALE)
        #: Finer buckets this histogram had before: a thread may still be about to count there.
        #: At most one for each scale.
        self._retired: list[Buckets] = []
        self._zeros = 0
        self._sum: float = 0.0
        self._max: float = -1.0
        self.exemplars: dict[int, Exemplar] | None = None

    def record(self, value: float) -> None:
        """Record one value. Infinite ones, non-numbers and (timers) negative ones are refused."""
        if value.__class__ is float and 0.0 < value <= MAX_VALUE:
            buckets = self._buckets
            mantissa, exponent = frexp(value)
            position = bisect_left(buckets.mantissas, mantissa) - 1
            index = (((exponent - 1) << buckets.bits) + position) >> buckets.shift
            try:
                buckets.positive[index] += 1
            except KeyError:
                self._add(buckets, buckets.positive, index)
            self._sum += value
            if value > self._max:  # noqa: PLR1730 - no call may come between read and write
                self._max = value
            if self._armed:
                self.family.note_bucket(self, value, index % MAX_EXEMPLARS)
        else:
            self._record(value)

    def _record(self, value: float) -> None:
        number = self.family.number(value)
        if number is None:
            return
        if number < 0 and not self._takes_negative:
            self.family.refuse("negative")
        elif number > 0:
            Native.record(self, float(number))
        elif number == 0:
            self._zeros += 1
        else:
            buckets, number = self._buckets, float(number)
            self._add(buckets, buckets.negative, buckets.index(-number))
            self._sum += number

    def _add(self, buckets: Buckets, counts: dict[int, int], index: int) -> None:
        counts.setdefault(index, 0)
        counts[index] += 1
        if not buckets.fits():
            with self.family.registry.lock:
                self._coarsen(buckets)

    def _coarsen(self, full: Buckets) -> None:
        """Move on to coarser buckets, unless another thread did so already."""
        while self._buckets is full and full.scale > MIN_SCALE:
            # New records go to the new buckets before the old ones are emptied into them.
            self._buckets = coarser = Buckets(full.scale - 1)
            self._retired.append(full)
            full.move_to(coarser)
            if not coarser.fits():
                full = coarser

    def _gather(self) -> Buckets:
        """The current buckets, with everything that was counted in earlier ones meanwhile."""
        with self.family.registry.lock:
            for earlier in self._retired:
                earlier.move_to(self._buckets)
            return self._buckets

    @property
    def count(self) -> int:
        """How many values were recorded."""
        buckets = self._gather()
        return self._zeros + sum([*buckets.positive.values(), *buckets.negative.values()])

    @property
    def total(self) -> float:
        """Their sum."""
        return self._sum

    @property
    def scale(self) -> int:
        """The current resolution: 2^scale buckets per power of two."""
        return self._buckets.scale

    @property
    def touched(self) -> bool:
        return self.count > 0

    @property
    def mark(self) -> object:
        return self.count

    def take_max(self) -> float:
        """The largest value since this was last asked; 0 if there was none."""
        largest, self._max = self._max, -1.0
        return max(largest, 0.0)

    def take(self, other: Self) -> None:
        with self.family.registry.lock:
            theirs = other._gather()
            if theirs.scale >= self._buckets.scale:
                theirs.move_to(self._buckets)
            else:
                while self._buckets.scale > theirs.scale:
                    finer, self._buckets = self._buckets, Buckets(self._buckets.scale - 1)
                    self._retired.append(finer)
                    finer.move_to(self._buckets)
                theirs.move_to(self._buckets)
            self._coarsen(self._buckets) if not self._buckets.fits() else None
        zeros, other._zeros = other._zeros, 0
        self._zeros += zeros
        total, other._sum = other._sum, 0.0
        self._sum += total

    def reset(self, now_ns: int) -> None:
        super().reset(now_ns)
        self._clear()

    def point(self) -> ExponentialPoint:
        buckets = self._gather()
        offset, counts = dense(buckets.positive)
        negative_offset, negative_counts = dense(buckets.negative)
        return ExponentialPoint(
            self.tags,
            self._sum,
            buckets.scale,
            self._zeros,
            0.0,
            offset,
            counts,
            negative_offset,
            negative_counts,
            self.created_ns,
            tuple((self.exemplars or {}).values()),
        )


class BoundNativeHistogram(Native["BoundNativeHistogram"]):
    """One series of a distribution over exponential buckets."""

    __slots__ = ()
    kind = Kind.NATIVE_HISTOGRAM
    _takes_negative = True

    observe = Native.record


class BoundNativeTimer(Native["BoundNativeTimer"], TimerMethods):
    """One series of a timer over exponential buckets, in seconds."""

    __slots__ = ()
    kind = Kind.NATIVE_TIMER


def dense(counts: dict[int, int]) -> tuple[int, list[int]]:
    """The index of the first bucket that counted anything, and the counts from there on."""
    filled = {index: count for index, count in [*counts.items()] if count}
    if not filled:
        return 0, []
    first = min(filled)
    return first, [filled.get(index, 0) for index in range(first, max(filled) + 1)]
