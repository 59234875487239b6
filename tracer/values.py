"""Turning whatever the application hands over into values that can be recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from exporters.records import TagValue

    from .limits import SpanLimits

#: Types of values stored as they are: nobody can change them afterwards.
PLAIN = frozenset({str, int, float, bool})
_SCALARS = PLAIN - {str}
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
    if kind is int:
        return _within_64_bits(value)  # type: ignore[arg-type]
    if value is None or kind in _SCALARS:
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
        return _within_64_bits(int(value))
    if isinstance(value, float):
        return float(value)
    return text(value, limit)


def _within_64_bits(number: int) -> int | str:
    """The number, or its digits: few formats and databases have room for more than 64 bits."""
    return number if -(2**63) <= number < 2**64 else text(number, 400)


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


def fits(tags: Mapping[Any, Any], limits: SpanLimits) -> bool:
    """Whether ``tags`` has only text as keys, no integer beyond 64 bits, and breaks no limit."""
    if len(tags) > limits.tags:
        return False
    try:
        # No key and no value is longer than all of them as JSON, which takes a third of the time
        # that looking at each does, and fails for other keys and for integers beyond 64 bits.
        length = len(_json(tags))
    except TypeError:
        return False
    if length <= limits.key_length and length <= limits.value_length:
        return True
    longest = max((len(value) for value in tags.values() if type(value) is str), default=0)
    return longest <= limits.value_length and max(map(len, tags)) <= limits.key_length


def all_fit(several: list[Mapping[Any, Any]], limits: SpanLimits) -> bool:
    """Whether it is quick to tell that each of ``several`` fits; False leaves it open.

    For so many that all of them together are shorter than one value may be: half the time.
    """
    try:
        if len(_json(several)) > limits.value_length:
            return False
        keys: set[str] = set().union(*several)
    except TypeError:
        return False
    return len(keys) <= limits.tags and max(map(len, keys), default=0) <= limits.key_length


_json = orjson.dumps


def trimmed(tags: Mapping[Any, Any], limits: SpanLimits) -> tuple[dict[str, TagValue], int, int]:
    """``tags`` within the limits, first come first kept; how many were dropped, how many cut."""
    clean: dict[str, TagValue] = {}
    cut = 0
    for key, value in tags.items():
        name = text(key, limits.key_length)
        if len(clean) >= limits.tags and name not in clean:
            continue
        if type(value) is str and len(value) > limits.value_length:
            cut += 1
            clean[name] = value[: limits.value_length]
        else:
            clean[name] = _within_64_bits(value) if type(value) is int else value
    return clean, len(tags) - len(clean), cut
