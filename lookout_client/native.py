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
from math import frexp, inf, ldexp
from typing import TYPE_CHECKING, Self

from .bound import B, Meter
from .free_threading import guard, has_gil
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
#: Grids at one scale before the next is coarser in any case.
MAX_SHIFTS = 3


@cache
def _mantissas(scale: int) -> tuple[float, ...]:
    """Lower bounds of the buckets between 0.5 and 1, the range of frexp's mantissa."""
    return tuple(2.0 ** (index / 2**scale - 1) for index in range(2**scale))


def index_of(value: float, scale: int) -> int:
    """The bucket of a positive ``value``, exact at every bound."""
    mantissa, exponent = frexp(value)
    bits = max(scale, 0)
    position = bisect_left(_mantissas(bits), mantissa) - 1
    return (((exponent - 1) << bits) + position) >> max(-scale, 0)


def lower_bound(index: int, scale: int) -> float:
    """The lower bound of bucket ``index``: 2 to the power of ``index`` / 2^``scale``."""
    if scale > 0:
        exponent, position = divmod(index, 1 << scale)
        return _scaled(_mantissas(scale)[position], exponent + 1)
    return _scaled(1.0, index << -scale)


def _scaled(mantissa: float, exponent: int) -> float:
    try:
        return ldexp(mantissa, exponent)
    except OverflowError:
        return MAX_VALUE  # not infinity, so that an infinite value falls outside


class Grid:
    """Room for :data:`MAX_BUCKETS` buckets in a row at one scale, found by bisection.

    ``counts[1]`` belongs to bucket ``first``; positions 0 and beyond the last are outside. A grid
    never moves: a histogram goes on to another one. Negative values are few and kept by index.
    """

    __slots__ = ("bounds", "counts", "first", "negative", "scale")

    def __init__(self, scale: int, first: int) -> None:
        self.scale = scale
        self.first = first
        self.bounds = tuple(
            lower_bound(index, scale) for index in range(first, first + MAX_BUCKETS + 1)
        )
        self.counts = [0] * (MAX_BUCKETS + 1)
        self.negative: dict[int, int] = {}

    def used(self) -> tuple[int, int] | None:
        """The first and last bucket that counted anything."""
        filled = [position for position, count in enumerate(self.counts) if count]
        return (self.first + filled[0] - 1, self.first + filled[-1] - 1) if filled else None

    def move_to(self, other: Grid) -> None:
        """Empty this grid into ``other``, which is no finer and has room for all of it."""
        by = self.scale - other.scale
        counts = self.counts
        for position in range(len(counts)):
            taken, counts[position] = counts[position], 0
            if taken:
                other.counts[((self.first + position - 1) >> by) - other.first + 1] += taken
        for index in list(self.negative):
            taken, self.negative[index] = self.negative[index], 0
            if taken:
                other.negative.setdefault(index >> by, 0)
                other.negative[index >> by] += taken


def grid_around(low: int, high: int, scale: int, shifts: int) -> Grid:
    """A grid that holds buckets ``low`` to ``high`` of ``scale``, coarser if it has to be.

    The room left is on both sides. After some grids at one scale the next is coarser anyway, so
    that values which wander make few grids.
    """
    while high - low >= MAX_BUCKETS or (shifts > MAX_SHIFTS and scale > MIN_SCALE):
        low, high, scale, shifts = low >> 1, high >> 1, scale - 1, 0
    return Grid(scale, low - (MAX_BUCKETS - (high - low + 1)) // 2)


class Native(Meter[B]):
    """What native histograms and timers have in common."""

    __slots__ = ("_grid", "_max", "_retired", "_sum", "_zeros", "exemplars")
    _takes_negative = False

    def __init__(self, family: Family, tags: Tags, created_ns: int) -> None:
        super().__init__(family, tags, created_ns)
        self._clear()

    def _clear(self) -> None:
        self._grid = _FIRST_GRID
        #: Grids this histogram had before: a thread may still be about to count there. There
        #: are at most MAX_SHIFTS + 1 for each scale.
        self._retired: list[Grid] = []
        self._zeros = 0
        self._sum: float = 0.0
        self._max: float = -1.0
        self.exemplars: dict[int, Exemplar] | None = None

    def record(self, value: float) -> None:
        """Record one value. Infinite ones, non-numbers and (timers) negative ones are refused."""
        grid = self._grid
        if value.__class__ is float and value > 0.0:
            position = bisect_left(grid.bounds, value)
            if 0 < position <= MAX_BUCKETS:
                grid.counts[position] += 1
                self._sum += value
                if value > self._max:  # noqa: PLR1730 - no call may come between read and write
                    self._max = value
                if self._armed:
                    self.family.note_bucket(self, value, position % MAX_EXEMPLARS)
                return
        self._record(value)

    def _record(self, value: float) -> None:
        number = self.family.number(value)
        if number is None:
            return
        if number < 0 and not self._takes_negative:
            self.family.refuse("negative")
        elif number > 0:
            self._make_room(float(number))
            Native.record(self, float(number))
        elif number == 0:
            self._zeros += 1
        else:
            number = float(number)
            self._count_negative(self._grid, -number)
            self._sum += number

    def _make_room(self, value: float) -> None:
        """Go on to a grid that has a bucket for ``value``, unless the present one has."""
        with self.family.registry.lock:
            grid = self._grid
            if 0 < bisect_left(grid.bounds, value) <= MAX_BUCKETS:
                return
            low, high = grid.used() or (index_of(value, grid.scale),) * 2
            index = index_of(value, grid.scale)
            shifts = sum(earlier.scale == grid.scale for earlier in self._retired)
            self._go_on_to(grid_around(min(low, index), max(high, index), grid.scale, shifts))

    def _go_on_to(self, grid: Grid) -> None:
        """Use ``grid`` from now on. The caller holds the lock."""
        # New records go to the new grid before the old one is emptied into it.
        before, self._grid = self._grid, grid
        if before is not _FIRST_GRID:
            self._retired.append(before)
            before.move_to(grid)

    def _count_negative(self, grid: Grid, size: float) -> None:
        index = index_of(size, grid.scale)
        if grid is _FIRST_GRID:
            self._make_room(size)
            self._count_negative(self._grid, size)
            return
        grid.negative.setdefault(index, 0)
        grid.negative[index] += 1
        if max(grid.negative) - min(grid.negative) >= MAX_BUCKETS:
            with self.family.registry.lock:
                self._coarsen()

    def _coarsen(self) -> None:
        """Halve the resolution until the negative values fit. The caller holds the lock."""
        while (negative := self._grid.negative) and self._grid.scale > MIN_SCALE:
            if max(negative) - min(negative) < MAX_BUCKETS:
                return
            scale = self._grid.scale - 1
            low, high = self._grid.used() or (0, 0)
            self._go_on_to(grid_around(low >> 1, high >> 1, scale, 0))

    def _gather(self) -> Grid:
        """The current grid, with everything that was counted in earlier ones meanwhile."""
        with self.family.registry.lock:
            for earlier in self._retired:
                late = earlier.used()
                if late is not None:
                    self._include(earlier, *late)
                earlier.move_to(self._grid)
            return self._grid

    def _include(self, other: Grid, low: int, high: int) -> None:
        """Have room for buckets ``low`` to ``high`` of ``other``. The caller holds the lock."""
        grid = self._grid
        scale = min(other.scale, grid.scale)
        low, high = low >> (other.scale - scale), high >> (other.scale - scale)
        used = grid.used()
        if used is not None:
            by = grid.scale - scale
            low, high = min(low, used[0] >> by), max(high, used[1] >> by)
        if grid.scale > scale or low < grid.first or high >= grid.first + MAX_BUCKETS:
            self._go_on_to(grid_around(low, high, scale, 0))

    @property
    def count(self) -> int:
        """How many values were recorded."""
        grid = self._gather()
        return self._zeros + sum(grid.counts) + sum(list(grid.negative.values()))

    @property
    def total(self) -> float:
        """Their sum."""
        return self._sum

    @property
    def scale(self) -> int:
        """The current resolution: 2^scale buckets per power of two."""
        return self._grid.scale

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
            if theirs is not _FIRST_GRID:
                if self._grid is _FIRST_GRID:
                    self._go_on_to(Grid(theirs.scale, theirs.first))
                used = theirs.used()
                self._include(theirs, *(used or (theirs.first, theirs.first)))
                theirs.move_to(self._grid)
                self._coarsen()
        zeros, other._zeros = other._zeros, 0
        self._zeros += zeros
        total, other._sum = other._sum, 0.0
        self._sum += total

    def reset(self, now_ns: int) -> None:
        super().reset(now_ns)
        self._clear()

    def point(self) -> ExponentialPoint:
        grid = self._gather()
        counts, total = [*grid.counts], self._sum
        used = [position for position, count in enumerate(counts) if count]
        first, last = (used[0], used[-1]) if used else (1, 0)
        negative_offset, negative_counts = dense([*grid.negative.items()])
        return ExponentialPoint(
            self.tags,
            total,
            grid.scale,
            self._zeros,
            0.0,
            grid.first + first - 1 if used else 0,
            counts[first : last + 1],
            negative_offset,
            negative_counts,
            self.created_ns,
            tuple((self.exemplars or {}).values()),
        )


#: Where every histogram starts: no value has a bucket in it.
_FIRST_GRID = Grid(MAX_SCALE, 0)
_FIRST_GRID.bounds = (inf,)


if not has_gil():
    guard(Native, ("record", "_record", "take", "take_max", "reset", "point"))


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


def dense(counts: list[tuple[int, int]]) -> tuple[int, list[int]]:
    """The index of the first bucket that counted anything, and the counts from there on."""
    filled = {index: count for index, count in counts if count}
    if not filled:
        return 0, []
    first = min(filled)
    return first, [filled.get(index, 0) for index in range(first, max(filled) + 1)]
