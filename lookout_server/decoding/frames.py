"""What goes between the collector and the process that decodes for it: frames of three parts."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

_HEAD: Final = struct.Struct("<B3xIIIQ")  # kind, the bytes of each part, number
_ROOM: Final = 2**20


class Kind(IntEnum):
    """What a frame is, and what its parts are."""

    DECODE = 1  # an Envelope, the body
    READY = 2  # to be sent bodies; which code it runs
    ROWS = 3  # news of what rows refer to, the rows, the compressed body where there is one
    MALFORMED = 4  # the text of it
    FAILED = 5  # the decoder raised something else: who asked may see for itself


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """What a decoder is told beside the body; see :class:`lookout_server.signal.Receipt`."""

    signal: str
    format: str
    tenant: str
    received_ms: int
    hints: dict[str, Any]


class Settings(msgspec.Struct):
    """What the collector's configuration says about decoding."""

    collector_sample_rate: float = 1.0
    label_names_max: int = 128
    label_name_bytes_max: int = 1024
    label_value_bytes_max: int = 8192


class Frame(NamedTuple):
    kind: Kind
    first: bytes
    second: bytes
    third: bytes
    number: int  # of the body; its answer has the same


def framed(
    kind: Kind, first: bytes = b"", second: bytes = b"", third: bytes = b"", number: int = 0
) -> bytes:
    """A frame as it is sent."""
    head = _HEAD.pack(kind, len(first), len(second), len(third), number)
    return b"".join((head, first, second, third))


class Inbox:
    """Bytes that came, until they are whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray(_ROOM)
        self._start = 0
        self._end = 0

    def room(self) -> memoryview:
        """Where the next bytes go: as much as the frame that has begun needs, at least."""
        needed, size = self._needed(), len(self._buffer)
        if self._end == size or needed > size - self._start:
            held = bytes(memoryview(self._buffer)[self._start : self._end])
            if needed > size:
                self._buffer = bytearray(needed)
            self._buffer[: len(held)] = held
            self._start, self._end = 0, len(held)
        return memoryview(self._buffer)[self._end :]

    def add(self, count: int) -> None:
        """So many bytes were put there."""
        self._end += count

    def take(self) -> Frame | None:
        """The next frame, once all of it is there."""
        if self._end - self._start < self._needed():
            return None
        kind, *sizes, number = _HEAD.unpack_from(self._buffer, self._start)
        at = self._start + _HEAD.size
        parts = []
        view = memoryview(self._buffer)
        for size in sizes:
            parts.append(bytes(view[at : at + size]))
            at += size
        self._start = at
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._buffer) > _ROOM:
                view.release()
                self._buffer = bytearray(_ROOM)
        first, second, third = parts
        return Frame(Kind(kind), first, second, third, number)

    def _needed(self) -> int:
        """Bytes of the frame that has begun."""
        if self._end - self._start < _HEAD.size:
            return _HEAD.size
        _, first, second, third, _ = _HEAD.unpack_from(self._buffer, self._start)
        return int(_HEAD.size + first + second + third)
