"""Any Python value as text that every JSON reader accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

# The range JSON libraries agree on: what fits a signed or unsigned 64-bit integer.
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def json_text(value: Any) -> str:
    """A string as it is; anything else as its JSON text."""
    if type(value) is str:
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if type(value) is int:
        return str(value)
    if type(value) is float and math.isfinite(value):
        return repr(value)
    try:
        return _encode(portable(value)).decode()
    except Exception:
        return _encode(clean(value)).decode()


def clean(value: Any) -> Any:
    """``value`` made of what JSON can say: the slow path, for values a fast encoder refused.

    Lone surrogates become U+FFFD, integers beyond 64 bits and numbers that are not finite their
    text, unknown objects their ``str``, or their type's name when that fails too.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, int):
        return int(value) if _SMALLEST <= value <= _LARGEST else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {clean(printable(key)): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean(item) for item in value]
    return clean(printable(value))


def portable(value: Any) -> Any:
    """``value`` as it is where every JSON reader takes its integers; else as clean() has it."""
    try:
        _pack(value)  # which refuses integers beyond 64 bits; msgspec's JSON does not
    except Exception:
        return clean(value)
    return value


def printable(value: Any) -> str:
    """``str(value)``, whatever its class does."""
    try:
        return str(value)
    except Exception:
        return f"<unprintable {type(value).__name__}>"


def encodable(value: Any) -> Any:
    """What msgspec asks for when it does not know a value: other mappings, then text."""
    return dict(value) if isinstance(value, Mapping) else printable(value)


_encode = msgspec.json.Encoder(enc_hook=encodable).encode
_pack = msgspec.msgpack.Encoder(enc_hook=encodable).encode
