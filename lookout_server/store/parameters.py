"""Query parameters as the text ClickHouse parses on its side for ``{name:Type}``.

Top-level strings are in the TabSeparated escape format, strings inside of arrays, maps and
tuples in the quoted one, as the server's ``deserializeTextEscaped`` reads them.
Source: https://clickhouse.com/docs/interfaces/formats#tabseparated-data-formatting
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        "\b": "\\b",
        "\f": "\\f",
        "\r": "\\r",
        "\n": "\\n",
        "\t": "\\t",
        "\0": "\\0",
    }
)
_QUOTED = str.maketrans({"\\": "\\\\", "'": "\\'"})


def encode(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Every value as text. Raises TypeError for a value ClickHouse has no literal for."""
    return {name: _top(value) for name, value in parameters.items()}


def _top(value: Any) -> str:
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, bytes):
        return "".join(f"\\x{byte:02x}" for byte in value)
    if value is None:
        return "\\N"
    return _nested(value)


def _nested(value: Any) -> str:
    """A value inside a container, or a top-level one that is neither text nor null."""
    match value:
        case str():
            return f"'{value.translate(_QUOTED)}'"
        case bytes():
            return "'" + "".join(f"\\x{byte:02x}" for byte in value) + "'"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case None:
            return "NULL"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S.%f")
        case date():
            return value.isoformat()
        case Mapping():
            return "{" + ",".join(f"{_nested(k)}:{_nested(v)}" for k, v in value.items()) + "}"
        case tuple():
            return "(" + ",".join(map(_nested, value)) + ")"
        case _ if hasattr(value, "item"):  # a NumPy scalar
            return _nested(value.item())
        case _ if hasattr(value, "__iter__"):
            return "[" + ",".join(map(_nested, value)) + "]"
    raise TypeError(f"no ClickHouse literal for a {type(value).__name__}")
