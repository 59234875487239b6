"""Where headers are read from and written to: mappings, header lists, metadata, environment.

A carrier is a mapping of names to text, bytes or lists of them (HTTP headers, ``os.environ``), or a
list or tuple of ``(name, value)`` pairs (ASGI and Kafka headers, gRPC metadata).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

#: Gives every value of a header, by lower-case name, in order.
Getter = Callable[[str], list[str]]
#: Puts a header, replacing one of that name.
Setter = Callable[[str, str], None]


def _text(value: Any) -> str | None:
    if type(value) is str:
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    return str(value) if isinstance(value, (str, int)) else None


def _texts(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [text for item in value if (text := _text(item)) is not None]
    text = _text(value)
    return [] if text is None else [text]


def values(carrier: Any, name: str) -> list[str]:
    """Every value of header ``name`` (lower case) in ``carrier``, in order; names in any case."""
    try:
        if isinstance(carrier, Mapping):
            if name in carrier:
                return _texts(carrier[name])
            found: list[str] = []
            for key in carrier:
                if isinstance(key, (str, bytes)) and len(key) == len(name) and _name(key) == name:
                    found += _texts(carrier[key])
            return found
        return [
            text
            for key, value in carrier or ()
            if isinstance(key, (str, bytes)) and len(key) == len(name) and _name(key) == name
            for text in _texts(value)
        ]
    except Exception:  # not a carrier at all
        return []


def first(carrier: Any, name: str) -> str | None:
    """The first value of header ``name``, None without one."""
    if type(carrier) is dict:  # the everyday case: a plain dict with the lower-case name
        value = carrier.get(name)
        if type(value) is str:
            return value
    found = values(carrier, name)
    return found[0] if found else None


def items(carrier: Any) -> Iterable[tuple[str, str]]:
    """Every (lower-case name, value) of ``carrier``."""
    try:
        pairs = carrier.items() if isinstance(carrier, Mapping) else carrier or ()
        return [
            (_name(key), text)
            for key, value in pairs
            if isinstance(key, (str, bytes))
            for text in _texts(value)
        ]
    except Exception:
        return []


def _name(key: str | bytes) -> str:
    return (key if isinstance(key, str) else key.decode("latin-1")).lower()


def set_item(carrier: Any, name: str, value: str) -> None:
    """Into a mutable mapping."""
    carrier[name] = value


def append_text(carrier: Any, name: str, value: str) -> None:
    """Into a list of ``(str, str)``: gRPC metadata, requests-style header lists."""
    _replace(carrier, name, (name, value))


def append_bytes_value(carrier: Any, name: str, value: str) -> None:
    """Into a list of ``(str, bytes)``: Kafka headers."""
    _replace(carrier, name, (name, value.encode("utf-8", "replace")))


def append_bytes(carrier: Any, name: str, value: str) -> None:
    """Into a list of ``(bytes, bytes)``: ASGI headers."""
    _replace(carrier, name, (name.encode("latin-1"), value.encode("utf-8", "replace")))


def _replace(carrier: list[Any], name: str, pair: tuple[Any, Any]) -> None:
    for index, (key, _) in enumerate(carrier):
        if _name(key) == name.lower():
            carrier[index] = pair
            return
    carrier.append(pair)


def setter_for(carrier: Any) -> Callable[[Any, str, str], None]:
    """How to write into ``carrier``; a list is written in the form of what it already holds."""
    if isinstance(carrier, list):
        if carrier and isinstance(carrier[0], tuple) and len(carrier[0]) == 2:
            key, value = carrier[0]
            if isinstance(key, bytes):
                return append_bytes
            if isinstance(value, bytes):
                return append_bytes_value
        return append_text
    return set_item


class EnvironmentCarrier(Mapping[str, str]):
    """Environment variables as headers: ``TRACEPARENT`` is ``traceparent``, ``_`` is ``-``."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment

    def __getitem__(self, name: str) -> str:
        return self._environment[_variable(name)]

    def __setitem__(self, name: str, value: str) -> None:
        self._environment[_variable(name)] = value

    def __iter__(self) -> Any:
        return (name.lower().replace("_", "-") for name in self._environment)

    def __len__(self) -> int:
        return len(self._environment)


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
