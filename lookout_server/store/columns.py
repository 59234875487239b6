"""Columns between Arrow and clickhouse-driver, so that both backends take and give the same.

The embedded database speaks Arrow itself. The driver's own conversion has other types for bytes,
DateTime and fixed strings; these functions bring them to what the embedded one answers.
Tuples are not supported: the driver has no Arrow form for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_WRAPPER = re.compile(r"(LowCardinality|Nullable|SimpleAggregateFunction)\((.*)\)")
_EPOCH = date(1970, 1, 1).toordinal()
_NUMBERS = {
    **{f"Int{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "Float32": "float32",
    "Float64": "float64",
    "Bool": "bool",
    "Date": "date32",
    "Date32": "date32",
    "String": "string",
}
_UNITS = {0: "s", 3: "ms", 6: "us", 9: "ns"}


def arrow_type(spec: str) -> pa.DataType:
    """The Arrow type the embedded database answers for a ClickHouse type.

    Raises ValueError for types Lookout's queries do not use.
    """
    spec = spec.strip()
    if match := _WRAPPER.fullmatch(spec):
        return arrow_type(_arguments(match[2])[-1])
    if spec in _NUMBERS:
        return pa.type_for_alias(_NUMBERS[spec])
    name, _, rest = spec.partition("(")
    arguments = _arguments(rest[:-1])
    match name:
        case "FixedString":
            return pa.binary(int(arguments[0]))
        case "DateTime":
            return pa.uint32()
        case "DateTime64":
            zone = arguments[1].strip("'") if len(arguments) > 1 else "UTC"
            return pa.timestamp(_UNITS[int(arguments[0])], zone)
        case "Array":
            return pa.list_(arrow_type(arguments[0]))
        case "Map":
            return pa.map_(arrow_type(arguments[0]), arrow_type(arguments[1]))
    raise ValueError(f"no Arrow type for ClickHouse's {spec}")


def _arguments(text: str) -> list[str]:
    """Split at commas outside of parentheses."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]


def conform(answer: pa.Table) -> pa.Table:
    """An answer of the driver (strings as bytes) with the types of the embedded database."""
    columns = []
    for field, column in zip(answer.schema, answer.columns, strict=True):
        wanted = arrow_type(field.metadata[b"clickhouse_type"].decode())
        columns.append(_cast(column, wanted))
    return pa.table(columns, names=answer.column_names)


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if column.type == wanted:
        return column
    if pa.types.is_timestamp(column.type) and pa.types.is_integer(wanted):
        column = column.cast(pa.int64())
    options = pc.CastOptions(target_type=wanted, allow_invalid_utf8=True)
    return pc.cast(column, options=options)


def python_values(column: pa.ChunkedArray, spec: str) -> Sequence[Any]:
    """A column as the driver takes it for a ClickHouse column of type ``spec``."""
    if pa.types.is_dictionary(column.type):
        return _decoded(column)
    if pa.types.is_timestamp(column.type):
        return _ticks(column, spec)
    if pa.types.is_map(column.type):
        return [dict(pairs) for pairs in column.to_pylist()]
    if spec in ("Date", "Date32") and pa.types.is_integer(column.type):
        return [date.fromordinal(_EPOCH + day) for day in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _decoded(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = []
    for chunk in column.chunks:
        words = chunk.dictionary.to_pylist()
        values += [words[index] for index in chunk.indices.to_pylist()]
    return values


def _ticks(column: pa.ChunkedArray, spec: str) -> list[int]:
    """Timestamps as integers of the scale of a DateTime or DateTime64."""
    match = re.match(r"DateTime64\((\d+)", spec)
    unit = _UNITS[int(match[1])] if match else "s"
    cast = column.cast(pa.timestamp(unit, column.type.tz), safe=False)
    ticks: list[int] = cast.cast(pa.int64()).to_pylist()
    return ticks
