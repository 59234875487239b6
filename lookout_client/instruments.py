"""OpenTelemetry's synchronous instruments over our meters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from opentelemetry import metrics as api

from .bound import BoundCounter, BoundGauge, BoundUpDownCounter, Distribution
from .native import Native

#: Attribute sets remembered per instrument, in the order and types their call sites give.
MAX_SPELLINGS = 8_000

Attributes = Mapping[str, Any] | None


class Resolver:
    """Finds the series for an instrument's attributes."""

    __slots__ = ("_base", "_keys", "_typed", "plain")

    def __init__(self, base: Any, keys: frozenset[str] | None) -> None:
        self._base = base
        self._keys = keys
        #: By attribute items, for attribute sets made of texts alone.
        self.plain: dict[tuple[Any, ...], Any] = {}
        #: By attribute items and types: 1, 1.0 and True are equal but different attributes.
        self._typed: dict[tuple[Any, ...], Any] = {}

    def resolve(self, attributes: Any) -> Any:
        """The bound meter for ``attributes``; whatever is wrong with them, there is one."""
        try:
            items = tuple(attributes.items())
            key = items, tuple([type(value) for _, value in items])
            known = self._typed.get(key)
        except (TypeError, AttributeError):  # a value that is a list, or attributes that are none
            return self._base.with_tags(self._tags(attributes))
        if known is None:
            known = self._base.with_tags(self._tags(attributes))
            self._remember(items, key, known)
        return known

    def _remember(self, items: tuple[Any, ...], key: tuple[Any, ...], meter: Any) -> None:
        if meter is meter.family.overflow or len(self._typed) >= MAX_SPELLINGS:
            return
        if all(type(value) is str for _, value in items):
            self.plain[items] = meter
        self._typed[key] = meter

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
        self._plain = self._resolver.plain


class Counter(_Instrument, api.Counter):
    """Adds to a counter."""

    def add(self, amount: float, attributes: Attributes = None, context: Any = None) -> None:
        """Add a non-negative ``amount`` to the series with ``attributes``."""
        if not attributes:
            BoundCounter.inc(self._base, amount)
            return
        try:
            meter = self._plain[tuple(attributes.items())]
        except (KeyError, TypeError, AttributeError):
            meter = self._resolver.resolve(attributes)
        meter.inc(amount)


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
            meter = self._plain[tuple(attributes.items())]
        except (KeyError, TypeError, AttributeError):
            meter = self._resolver.resolve(attributes)
        meter.record(amount)

    def _record_base(self, amount: float) -> None:
        base = self._base
        if isinstance(base, Native):
            Native.record(base, amount)
        else:
            Distribution.record(base, amount)
