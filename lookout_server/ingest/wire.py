"""Protobuf's wire format: reading it where the texts of its errors matter, and its numbers.

The texts are those of Zipkin's reader, which senders of broken bodies have seen for years.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5


class WireError(Exception):
    """Bytes that are no protobuf message; the text says where."""


def varint(number: int) -> bytes:
    """A number from 0 on as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class WireReader:
    """A position in a buffer. Every method raises WireError where the buffer ends too early."""

    def __init__(self, buffer: bytes) -> None:
        self._buffer = buffer
        self._at = 0

    @property
    def position(self) -> int:
        return self._at

    def more(self, end: int | None = None) -> bool:
        """Whether there are bytes before ``end`` (default: the buffer's)."""
        return self._at < (len(self._buffer) if end is None else end)

    def take(self, length: int) -> bytes:
        self._require(length)
        start, self._at = self._at, self._at + length
        return self._buffer[start : self._at]

    def byte(self) -> int:
        self._require(1)
        self._at += 1
        return self._buffer[self._at - 1]

    def varint32(self) -> int:
        """A varint as Java's int: negative where its 32nd bit is set."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        byte = self.byte()
        if byte & 0xF0:
            raise WireError(f"Greater than 32-bit varint at position {self._at - 1}")
        value |= byte << 28
        return value - 2**32 if value >= 2**31 else value

    def varint64(self) -> int:
        """A varint as Java's long: negative where its 64th bit is set."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            if shift == 63 and byte & 0xF0:
                raise WireError(f"Greater than 64-bit varint at position {self._at - 1}")
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        value &= 2**64 - 1
        return value - 2**64 if value >= 2**63 else value

    def fixed64(self) -> int:
        """Eight bytes as a signed number, little endian."""
        return int.from_bytes(self.take(8), "little", signed=True)

    def boolean(self) -> bool:
        value = self.byte()
        if value > 1:
            raise WireError(f"Malformed: invalid boolean value at byte {self._at}")
        return value == 1

    def length(self) -> int:
        """The length before a delimited field, checked against what is left."""
        length = self.varint32()
        self._require(length)
        return length

    def delimited(self) -> bytes:
        return self.take(self.length())

    def text(self) -> str:
        return self.delimited().decode("utf-8", "replace")

    def skip(self, key: int) -> None:
        """Pass over the value of a field that is not known."""
        kind = key & 7
        if kind == VARINT:
            while self.byte() >= 0x80:
                pass
        elif kind == FIXED64:
            self._move(8)
        elif kind == DELIMITED:
            self._move(self.varint32())
        elif kind == FIXED32:
            self._move(4)
        else:
            raise WireError(f"Malformed: invalid wireType {kind} at byte {self._at}")

    def fields(self, length: int) -> Iterator[int]:
        """Keys of the fields of a message; whoever iterates reads or skips each value."""
        end = self._at + length
        while self.more(end):
            yield self.varint32()

    def _move(self, count: int) -> None:
        if not 0 <= count <= len(self._buffer) - self._at:
            target, limit = self._at + count, len(self._buffer)
            raise WireError(f"newPosition > limit: ({target} > {limit})")
        self._at += count

    def _require(self, count: int) -> None:
        left = len(self._buffer) - self._at
        if not 0 <= count <= left:
            raise WireError(f"Truncated: length {count} > bytes available {left}")
