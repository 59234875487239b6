"""Just enough of thrift's binary protocol to write what a test sends."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple


class Value(NamedTuple):
    """A value with its type code."""

    kind: int
    body: bytes


def i16(value: int) -> Value:
    return Value(6, pack(">h", value))


def i32(value: int) -> Value:
    return Value(8, pack(">i", value))


def i64(value: int) -> Value:
    return Value(10, pack(">q", value))


def string(value: str) -> Value:
    return Value(11, pack(">i", len(value.encode())) + value.encode())


def field(id: int, value: Value) -> bytes:
    return pack(">bh", value.kind, id) + value.body


def struct(*fields: bytes) -> Value:
    return Value(12, b"".join(fields) + b"\0")


def list_of(*values: Value) -> Value:
    kind = values[0].kind if values else 12
    return Value(15, pack(">bi", kind, len(values)) + b"".join(v.body for v in values))
