"""Where headers are read from and written to: mappings, header lists, metadata, environment.

A carrier is a mapping of names to text, bytes or lists of them (HTTP headers, ``os.environ``), or a
list or tuple of ``(name, value)`` pairs (ASGI and Kafka headers, gRPC metadata).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any


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


#: The headers of tracing by lower-case name; each a text, or a list of them where it is repeated.
Headers = Mapping[str, Any]

_NAMES = frozenset(
    {
        *("traceparent", "tracestate", "baggage", "uber-trace-id", "sftc_head", "b3"),
        *("x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"),
        *("sofa-traceid", "sofatraceid", "sofa-rpcid", "sofarpcid"),
        *("sofapenattrs", "syspenattrs", "samp"),
    }
)
_PREFIXES = ("uberctx-", "baggage-")


def concerns_tracing(name: str) -> bool:
    """Whether a header of that name, in any case, may be read by a propagator."""
    lower = name.lower()
    return lower in _NAMES or lower.startswith(_PREFIXES)


def headers(carrier: Any) -> Headers:
    """The headers in ``carrier`` that concern tracing, names in any case. Never raises."""
    if type(carrier) is dict and (_NAMES.issuperset(carrier) or _is_lower(carrier)):
        return carrier
    found: dict[str, Any] = {}
    for name, value in items(carrier):
        if name in _NAMES or name.startswith(_PREFIXES):
            found.setdefault(name, []).append(value)
    return found


def _is_lower(carrier: dict[Any, Any]) -> bool:
    """Whether all names are in lower case already, as an ASGI or our own carrier's are."""
    try:
        return all(map(str.islower, carrier))
    except TypeError:  # a name that is no text
        return False


def first(headers: Headers, name: str) -> str | None:
    """The first value of header ``name``, None without one."""
    value = headers.get(name)
    if value is None or type(value) is str:
        return value
    found = _texts(value)
    return found[0] if found else None


def values(headers: Headers, name: str) -> list[str]:
    """Every value of header ``name``, in order."""
    value = headers.get(name)
    return [] if value is None else _texts(value)


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
