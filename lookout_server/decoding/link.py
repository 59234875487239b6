"""The collector's end of the socket: bodies out, rows back in the same order (event loop)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import msgspec

from ..signal import Malformed, Receipt, Rows
from .code import CODE
from .frames import Envelope, Frame, Inbox, Kind, framed

#: Bodies under way take no more than this; a larger one stays in the collector.
_MOST_BYTES: Final = 8 * 2**20

_envelopes = msgspec.msgpack.Encoder()


class Decoded(NamedTuple):
    """What became of a body."""

    rows: Rows
    #: The body as the journal keeps it, where that was seen to.
    compressed: bytes | None = None


class Mirror(Protocol):
    """Rows of one signal as they come from one process, in the order of its answers."""

    def rows(self, news: bytes, encoded: bytes, receipt: Receipt) -> Rows:
        """What the process decoded."""


class Failed(Exception):
    """It cannot be sent there, or the decoder raised what is no Malformed."""


class Lost(Exception):
    """The process ended before it answered."""

    def __init__(self, suspect: bool) -> None:
        super().__init__()
        #: The body may be why: it was the next to be answered.
        self.suspect = suspect


@dataclass(slots=True, eq=False)
class _Asked:
    number: int
    signal: str
    receipt: Receipt
    size: int
    future: asyncio.Future[Decoded]


class Link(asyncio.BufferedProtocol):
    """Bodies under way to one process. For ``loop.create_connection``."""

    def __init__(self, mirrors: dict[str, Mirror], gone: Callable[[], None]) -> None:
        """``gone`` is called at its end, before those who wait are told."""
        loop = asyncio.get_running_loop()
        self.bytes_waiting = 0
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        #: Why it ended, where that was found out on this side.
        self.error = ""
        self._loop = loop
        self._mirrors = mirrors
        self._gone = gone
        self._number = 0
        self._waiting: deque[_Asked] = deque()
        self._inbox = Inbox()
        self._transport: asyncio.Transport | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._moved = time.monotonic()

    @property
    def waiting(self) -> int:
        """Bodies under way."""
        return len(self._waiting)

    @property
    def still(self) -> float:
        """Seconds since a body was answered, or asked for when none was under way."""
        return time.monotonic() - self._moved

    def takes(self, signal: str, size: int) -> bool:
        """Whether there is room for a body of this size."""
        return signal in self._mirrors and self.bytes_waiting + size <= _MOST_BYTES

    def ask(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> asyncio.Future[Decoded]:
        """Have a body decoded. The future raises Malformed, Failed or Lost."""
        number = self._number = self._number + 1
        asked = _Asked(number, signal, receipt, len(body), self._loop.create_future())
        if self._transport is None or self.closed.done():
            asked.future.set_exception(Lost(False))
            return asked.future
        try:
            frame = _question(asked, fmt, body)
        except Exception:  # what no envelope can hold; nothing waits for an answer yet
            asked.future.set_exception(Failed())
            return asked.future
        if not self._waiting:
            self._moved = time.monotonic()
        self._waiting.append(asked)
        self.bytes_waiting += asked.size
        self._transport.write(frame)
        return asked.future

    async def drained(self) -> None:
        """Wait until everything is answered."""
        if self._waiting:
            idle = self._loop.create_future()
            self._idle.append(idle)
            await idle

    def close(self) -> None:
        """Have the process end. What is not answered is lost."""
        if self._transport is not None:
            self._transport.abort()

    # -- called by the loop --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._inbox.room()

    def buffer_updated(self, nbytes: int) -> None:
        self._inbox.add(nbytes)
        try:
            while (frame := self._inbox.take()) is not None:
                self._came(frame)
        except Exception as error:  # nothing that follows can be trusted
            self.error = f"{type(error).__name__}: {error}"
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        self.bytes_waiting = 0
        for place, asked in enumerate(self._waiting):
            _resolve(asked.future, Lost(suspect=place == 0))
        self._waiting.clear()
        self._tell_idle()
        for future in (self.ready, self.closed):
            if not future.done():
                future.set_result(None)

    def _came(self, frame: Frame) -> None:
        if frame.kind is not Kind.READY:
            self._answered(frame)
        elif (code := frame.first.decode()) == CODE:
            self.ready.set_result(None)
        else:
            raise ImportError(f"it runs {code}, and the collector {CODE}: restart the collector")

    def _answered(self, frame: Frame) -> None:
        asked = self._waiting[0]
        if frame.number != asked.number:
            raise ValueError(f"answer {frame.number} came where {asked.number} was expected")
        result = self._result(asked, frame)
        self._waiting.popleft()  # only now: what cannot be read ends the link with it in front
        self._moved = time.monotonic()
        self.bytes_waiting -= asked.size
        _resolve(asked.future, result)
        if not self._waiting:
            self._tell_idle()

    def _result(self, asked: _Asked, frame: Frame) -> Decoded | Exception:
        if frame.kind is Kind.ROWS:
            rows = self._mirrors[asked.signal].rows(frame.first, frame.second, asked.receipt)
            return Decoded(rows, frame.third or None)
        if frame.kind is Kind.MALFORMED:
            return Malformed(frame.first.decode())
        return Failed()

    def _tell_idle(self) -> None:
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        self._idle.clear()


def _question(asked: _Asked, fmt: str, body: bytes) -> bytes:
    told = asked.receipt
    envelope = Envelope(asked.signal, fmt, told.tenant, told.received_ms, dict(told.hints))
    return framed(Kind.DECODE, _envelopes.encode(envelope), body, number=asked.number)


def _resolve(future: asyncio.Future[Decoded], result: Decoded | Exception) -> None:
    if future.done():  # cancelled
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
