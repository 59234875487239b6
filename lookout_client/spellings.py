"""The series of a metric by how call sites spell their tags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

#: A set of tag keys, as what takes their values out of a call's tags; and the series by those.
Shape = tuple[Callable[[Mapping[str, object]], object], dict[object, Any]]

#: ``Counter.inc(amount=5)`` names the amount, and looks at the shapes before it looks for that.
NOT_ALWAYS_A_TAG = "amount"


class Spellings:
    """A bounded memory of look-ups, which meters read without a call.

    The call sites of one metric mostly name the same keys. So the first keys of each number of
    tags become a shape, whose ``itemgetter`` takes the values of a later call out in one step of
    C and in one order: measured, that takes two thirds of what a tuple of pairs takes. Other
    keys of the same number are remembered as pairs.

    Only texts are remembered: 1, 1.0 and True are equal keys but different tag values. A key that
    a recording may mean otherwise (:data:`NOT_ALWAYS_A_TAG`) is in no shape.
    """

    __slots__ = ("_limit", "others", "shapes")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: By the number of tags.
        self.shapes: dict[int, Shape] = {}
        #: By the values of the declared keys, or by all pairs of key and value.
        self.others: dict[Any, Any] = {}

    def by_pairs(self, tags: Mapping[str, object]) -> Any:
        """The meter remembered for ``tags`` outside of the shapes, or None."""
        try:
            return self.others.get(tuple(tags.items()))
        except TypeError:  # a value that cannot be hashed is no text
            return None

    def remember(self, tags: Mapping[str, object], meter: Any) -> None:
        """Find ``meter`` by ``tags`` from now on, unless there is no more room."""
        if not tags or not all(type(part) is str for pair in tags.items() for part in pair):
            return
        if NOT_ALWAYS_A_TAG in tags:
            self._keep(self.others, tuple(tags.items()), meter)
            return
        pick, known = self.shapes.setdefault(len(tags), (itemgetter(*tags), {}))
        try:
            self._keep(known, pick(tags), meter)
        except KeyError:
            self._keep(self.others, tuple(tags.items()), meter)

    def remember_values(self, values: tuple[object, ...], meter: Any) -> None:
        """Find ``meter`` by the ``values`` of the declared keys, unless there is no more room."""
        if all(type(value) is str for value in values):
            self._keep(self.others, values, meter)

    def _keep(self, known: dict[Any, Any], spelling: object, meter: Any) -> None:
        if len(known) < self._limit:
            known[spelling] = meter

    def forget(self, meter: Any) -> None:
        """Find ``meter`` no longer."""
        self._drop(self.others, meter)
        for _, known in list(self.shapes.values()):
            self._drop(known, meter)

    def _drop(self, known: dict[Any, Any], meter: Any) -> None:
        # A copy: other threads remember while this one looks.
        for spelling in [key for key, value in list(known.items()) if value is meter]:
            known.pop(spelling, None)
