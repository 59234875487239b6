"""A metric: everything its series share, and the bounded map of them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .metric import OVERFLOW_TAGS, Kind, Tags, tag_set
from .spellings import Spellings
from .steps import Priority

if TYPE_CHECKING:
    from .bound import Meter
    from .registry import Registry

#: Look-up spellings remembered per series: each is one order in which call sites name the tags.
SPELLINGS_PER_SERIES = 4


@dataclass(frozen=True, slots=True)
class Definition:
    """What was asked for when the metric was created.

    ``keys`` are the tag keys that :meth:`~lookout_client.bound.Meter.tagged` takes values for;
    ``meta`` are tags that describe without being identity; ``bounds`` are upper bucket bounds;
    ``group`` is the mixin that the metric is a component of. ``verbatim`` is for names that are
    Prometheus' already; ``across`` says what a gauge of several processes is
    (:mod:`lookout_client.workers`).
    """

    name: str
    kind: Kind
    unit: str = ""
    mtype: str = ""
    description: str = ""
    keys: tuple[str, ...] = ()
    meta: Tags = ()
    bounds: tuple[float, ...] = ()
    priority: Priority = Priority.NORMAL
    group: str = ""
    verbatim: bool = False
    across: str = ""

    def __str__(self) -> str:
        unit = f" in {self.unit}" if self.unit else ""
        keys = f" with keys {', '.join(self.keys)}" if self.keys else ""
        return f"{self.kind.value}{unit}{keys}"


class Family:
    """One metric of a registry: its definition and its series."""

    __slots__ = (
        "bounds",
        "definition",
        "limit",
        "meter_type",
        "name",
        "overflow",
        "quiet",
        "registry",
        "series",
        "spellings",
    )

    def __init__(
        self, registry: Registry, definition: Definition, meter_type: type[Meter[Any]], limit: int
    ) -> None:
        self.registry = registry
        self.definition = definition
        self.name = definition.name
        self.bounds = definition.bounds
        self.meter_type = meter_type
        self.limit = limit
        self.series: dict[Tags, Any] = {}
        self.spellings = Spellings(limit * SPELLINGS_PER_SERIES)
        self.overflow: Any = None
        #: Whether the series without tags is reported only once it was recorded into.
        self.quiet = bool(definition.keys)

    def is_asked_for(self, meter_type: type[Meter[Any]], unit: str, keys: Sequence[str]) -> bool:
        """Whether this is plainly the metric meant; if not, the definitions must be compared."""
        return (
            meter_type is self.meter_type
            and unit in ("", self.definition.unit)
            and (not keys or tuple(keys) == self.definition.keys)
        )

    def get(self, tags: Tags) -> Any:
        """The series with exactly ``tags``, created if need be, or the overflow series."""
        return self.series.get(tags) or self.registry.admit(self, tags)

    def child(self, parent: Meter[Any], tags: Mapping[str, object]) -> Any:
        """What :meth:`Meter.with_tags` answers when its look-up has not seen these tags."""
        if parent.tags:
            return self.get(tag_set({**dict(parent.tags), **tags}))
        found = self.spellings.by_pairs(tags)
        if found is None:
            found = self.get(tag_set(tags))
            if found.tags is not OVERFLOW_TAGS:
                self.spellings.remember(tags, found)
        return found

    def child_of_values(self, parent: Meter[Any], values: tuple[object, ...]) -> Any:
        """What :meth:`Meter.tagged` answers when its look-up has not seen these values."""
        keys = self.definition.keys
        if len(values) > len(keys):
            self.refuse("tag_values")
        found = self.child(parent, dict(zip(keys, values, strict=False)))
        if len(values) == len(keys) and not parent.tags and found.tags is not OVERFLOW_TAGS:
            self.spellings.remember_values(values, found)
        return found

    def refuse(self, reason: str) -> None:
        """Count a recording that could not be taken."""
        refused = self.registry.refused
        try:
            refused[reason] += 1
        except KeyError:
            refused.setdefault(reason, 0)
            refused[reason] += 1

    def number(self, value: object) -> float | None:
        """``value`` as a finite int or float, or None after counting why it is refused."""
        number = self.reading(value)
        if number is None or math.isfinite(number):
            return number
        self.refuse("not_finite")
        return None

    def reading(self, value: object) -> float | None:
        """``value`` as an exact int or float, NaN and infinities included, or None, counted."""
        try:
            if isinstance(value, numbers.Integral):
                whole = int(value)
                return whole if -(2**63) <= whole < 2**63 else float(whole)
            if isinstance(value, str | bytes):
                raise TypeError
            return float(value)  # type: ignore[arg-type]
        except Exception:
            self.refuse("not_a_number")
            return None

    def note(self, meter: Any, amount: float) -> None:
        """Keep the current trace as the exemplar of a counter."""
        self.registry.exemplars.note(meter, amount)

    def note_bucket(self, meter: Any, value: float, bucket: int) -> None:
        """Keep the current trace as the exemplar of one bucket."""
        self.registry.exemplars.note_bucket(meter, value, bucket)
