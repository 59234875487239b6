"""Turning whatever the application hands over into values that can be recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporters.records import TagValue

    from .limits import SpanLimits

#: Values stored as they are. bool is listed because types are compared, not isinstance.
SCALARS = frozenset({int, float, bool})
_MAX_ITEMS = 1_000  # of a sequence


def text(value: object, limit: int) -> str:
    """``str(value)``, cut at ``limit`` characters; a ``__str__`` that raises gives a stand-in."""
    if type(value) is not str:
        try:
            value = str(value)
        except Exception:
            value = f"<unprintable {type(value).__name__}>"
    return value[:limit] if len(value) > limit else value


def recordable(value: object, limit: int) -> TagValue | None:
    """A scalar, a tuple of scalars of one type, or text; None stays None (nothing to record)."""
    kind = type(value)
    if value is None or kind in SCALARS:
        return value  # type: ignore[return-value]
    if kind is str:
        return text(value, limit)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return text(bytes(value[:limit]).decode("utf-8", "backslashreplace"), limit)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _sequence(value, limit)
    # Enum members, numpy scalars, subclasses: what they are a kind of, else what they say.
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return text(value, limit)


def _sequence(values: Iterable[Any], limit: int) -> TagValue:
    items = [recordable(item, limit) for item, _ in zip(values, range(_MAX_ITEMS), strict=False)]
    kinds = {type(item) for item in items}
    if len(kinds) <= 1 and kinds <= {str, int, float, bool}:
        return tuple(items)  # type: ignore[return-value]
    return tuple(text(item, limit) for item in items)  # a sequence has one type: text fits all


def attributes(
    given: Mapping[str, object] | Iterable[tuple[str, object]] | None, limits: SpanLimits, most: int
) -> tuple[dict[str, TagValue], int]:
    """Clean attributes of an event or link, and how many were dropped for their number."""
    clean: dict[str, TagValue] = {}
    dropped = 0
    try:
        pairs = given.items() if isinstance(given, Mapping) else given or ()
        for key, raw in pairs:
            value = recordable(raw, limits.value_length)
            if value is None:
                continue
            if len(clean) < most:
                clean[text(key, limits.key_length)] = value
            else:
                dropped += 1
    except Exception:
        dropped += 1  # not pairs at all: nothing more to take
    return clean, dropped
