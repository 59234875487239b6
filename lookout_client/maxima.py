"""The largest value of a series since a reader last asked, for each of several readers.

A meter keeps one largest value, which begins anew when it is taken. What one reader takes is
therefore kept for the others until they ask.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .bound import Distribution
from .native import Native
from .steps import Priority

if TYPE_CHECKING:
    from .registry import Registry

Ranked = Distribution[Any] | Native[Any]


class Maxima:
    """The largest values of one registry's series. Readers and series are held weakly."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._readers: WeakKeyDictionary[Hashable, _Kept] = WeakKeyDictionary()

    def join(self, reader: Hashable, priorities: Collection[Priority]) -> None:
        """Keep for ``reader``, from now on, what others take of series of these priorities."""
        with self._registry.lock:
            self._readers[reader] = _Kept(priorities)

    def take(self, reader: Hashable, meter: Ranked) -> float:
        """The largest value since ``reader`` last asked; 0 if there was none."""
        with self._registry.lock:
            largest = meter.take_max()
            for other in list(self._readers):
                if other is not reader:
                    self._readers[other].note(meter, largest)
            return max(largest, self._readers[reader].take(meter))


class _Kept:
    """What others took since a reader asked."""

    def __init__(self, priorities: Collection[Priority]) -> None:
        self._priorities = priorities
        self._values: WeakKeyDictionary[Ranked, float] = WeakKeyDictionary()

    def note(self, meter: Ranked, largest: float) -> None:
        if largest > 0 and meter.family.definition.priority in self._priorities:
            self._values[meter] = max(largest, self._values.get(meter, 0.0))

    def take(self, meter: Ranked) -> float:
        return self._values.pop(meter, 0.0)
