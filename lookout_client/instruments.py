"""OpenTelemetry's synchronous instruments over our meters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from opentelemetry import metrics as api

from .bound import MAX_INT, BoundCounter, BoundGauge, BoundUpDownCounter, Distribution
from .free_threading import SUMS, guard, has_gil
from .native import Native

#: Attribute sets remembered per instrument, in the order and types their call sites give.
MAX_SPELLINGS = 8_000

Attributes = Mapping[str, Any] | None


class Resolver:
    """Finds the series for an instrument's attributes.

    ``known`` has, by attribute items, the series; or, where a value is no text, the series by
    the types of the values: 1, 1.0 and True are equal but different attributes.
    """

    __slots__ = ("_base", "_keys", "known")

    def __init__(self, base: Any, keys: frozenset[str] | None) -> None:
        self._base = base
        self._keys = keys
        self.known: dict[tuple[Any, ...], Any] = {}

    def resolve(self, attributes: Any) -> Any:
        """The bound meter for ``attributes``; whatever is wrong with them, there is one."""
        try:
            found = self.known.get(tuple(attributes.items()))
            if found.__class__ is dict:
                found = found.get(tuple(map(type, attributes.values())))
        except Exception:  # a value that is a list, or attributes that are no mapping
            return self._base.with_tags(self._tags(attributes))
        if found is None:
            found = self._base.with_tags(self._tags(attributes))
            self._remember(attributes, found)
        return found

    def _remember(self, attributes: Mapping[str, Any], meter: Any) -> None:
        if meter is meter.family.overflow or len(self.known) >= MAX_SPELLINGS:
            return
        types = tuple(map(type, attributes.values()))
        items = tuple(attributes.items())
        if all(kind is str for kind in types):
            self.known[items] = meter
        else:
            self.known.setdefault(items, {})[types] = meter

    def _tags(self, attributes: Any) -> dict[str, str]:
        if not isinstance(attributes, Mapping):
            return {}
        return {
            str(key): attribute_text(value)
            for key, value in attributes.items()
            if self._keys is None or key in self._keys
        }


def attribute_text(value: Any) -> str:
    """An attribute value as a tag value: what is no text is written as JSON.

    https://opentelemetry.io/docs/specs/otel/common/#attribute-value-to-string
    """
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


class _Instrument:
    """What the instruments share: the series without attributes, and the way to the others."""

    def __init__(self, name: str, base: Any, keys: frozenset[str] | None) -> None:
        self.name = name
        self._base = base
        self._resolver = Resolver(base, keys)
        self._known = self._resolver.known


class Counter(_Instrument, api.Counter):
    """Adds to a counter."""

    def add(self, amount: int | float, attributes: Attributes = None, context: Any = None) -> None:
        """Add a non-negative ``amount`` to the series with ``attributes``."""
        if not attributes:
            BoundCounter.inc(self._base, amount)
            return
        try:
            meter = self._known.get(tuple(attributes.items()))
            if meter.__class__ is dict:
                meter = meter.get(tuple(map(type, attributes.values())))
        except Exception:
            meter = None
        if meter is None:
            meter = self._resolver.resolve(attributes)
        # As BoundCounter.inc does it: the call would be a tenth of the whole.
        if amount.__class__ is int and 0 <= amount < MAX_INT:
            meter._value += amount
            if meter._armed:
                meter._note(amount)
        else:
            BoundCounter.inc(meter, amount)


if not has_gil():
    guard(Counter, ("add",), SUMS)


class UpDownCounter(_Instrument, api.UpDownCounter):
    """Adds to a sum that may shrink."""

    def add(self, amount: float, attributes: Attributes = None, context: Any = None) -> None:
        """Add ``amount`` to the series with ``attributes``."""
        meter = self._resolver.resolve(attributes) if attributes else self._base
        BoundUpDownCounter.inc(cast("BoundUpDownCounter", meter), amount)


class Gauge(_Instrument, api._Gauge):
    """Sets a gauge."""

    def set(self, amount: float, attributes: Attributes = None, context: Any = None) -> None:
        """Make ``amount`` the value of the series with ``attributes``."""
        meter = self._resolver.resolve(attributes) if attributes else self._base
        BoundGauge.set(cast("BoundGauge", meter), amount)


class Histogram(_Instrument, api.Histogram):
    """Records into a histogram, classic or native."""

    def record(self, amount: float, attributes: Attributes = None, context: Any = None) -> None:
        """Record ``amount`` into the series with ``attributes``."""
        if not attributes:
            self._record_base(amount)
            return
        try:
            meter = self._known.get(tuple(attributes.items()))
            if meter.__class__ is dict:
                meter = meter.get(tuple(map(type, attributes.values())))
        except Exception:
            meter = None
        if meter is None:
            meter = self._resolver.resolve(attributes)
        meter.record(amount)

    def _record_base(self, amount: float) -> None:
        base = self._base
        if isinstance(base, Native):
            Native.record(base, amount)
        else:
            Distribution.record(base, amount)
