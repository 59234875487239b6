"""Reading thrift's binary protocol (TBinaryProtocol): fields, values, and skipping the unknown."""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from

STOP, BOOL, BYTE, DOUBLE = 0, 2, 3, 4
I16, I32, I64, STRING, STRUCT, MAP, SET, LIST = 6, 8, 10, 11, 12, 13, 14, 15

_FIXED = {BOOL: 1, BYTE: 1, I16: 2, I32: 4, I64: 8, DOUBLE: 8}
#: Structs inside structs; a body of nothing but openings must not exhaust the stack.
_DEPTH_MOST = 64


class ThriftError(Exception):
    """Bytes that are no such thrift value; the text says where."""


class ThriftReader:
    """A position in a buffer. Every method raises ThriftError where the buffer ends too early."""

    def __init__(self, buffer: bytes) -> None:
        self._buffer = buffer
        self._at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """(type, id) of each field of a struct; whoever iterates reads or skips each value."""
        while (kind := self.byte()) != STOP:
            yield kind, self.i16()

    def elements(self) -> Iterator[int]:
        """Type of each element of a list or set; whoever iterates reads or skips each."""
        kind = self.byte()
        for _ in range(self._count()):
            yield kind

    def byte(self) -> int:
        return self._take(1)[0]

    def boolean(self) -> bool:
        return self.byte() == 1

    def i16(self) -> int:
        return int(unpack_from(">h", self._take(2))[0])

    def i32(self) -> int:
        return int(unpack_from(">i", self._take(4))[0])

    def i64(self) -> int:
        return int(unpack_from(">q", self._take(8))[0])

    def double(self) -> float:
        return float(unpack_from(">d", self._take(8))[0])

    def binary(self) -> bytes:
        return self._take(self.i32())

    def text(self) -> str:
        return self.binary().decode("utf-8", "replace")

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value of the type."""
        if depth > _DEPTH_MOST:
            raise ThriftError("Maximum skip depth exceeded")
        if kind in _FIXED:
            self._take(_FIXED[kind])
        elif kind == STRING:
            self.binary()
        elif kind == STRUCT:
            for field, _ in self.fields():
                self.skip(field, depth + 1)
        elif kind in (LIST, SET):
            for element in self.elements():
                self.skip(element, depth + 1)
        elif kind == MAP:
            self._skip_map(depth)
        else:
            raise ThriftError(f"Malformed: unknown type {kind} before byte {self._at}")

    def _skip_map(self, depth: int) -> None:
        key, value = self.byte(), self.byte()
        for _ in range(self._count()):
            self.skip(key, depth + 1)
            self.skip(value, depth + 1)

    def _count(self) -> int:
        """Elements to come: each takes a byte at least, so there are no more than bytes left."""
        count = self.i32()
        self._require(count)
        return count

    def _take(self, count: int) -> bytes:
        self._require(count)
        start, self._at = self._at, self._at + count
        return self._buffer[start : self._at]

    def _require(self, count: int) -> None:
        left = len(self._buffer) - self._at
        if not 0 <= count <= left:
            raise ThriftError(f"Truncated: length {count} > bytes available {left}")
