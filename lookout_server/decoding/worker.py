"""What the second process does: read a body, pack its rows, compress it, send both back."""

from __future__ import annotations

import gc
import socket
from contextlib import suppress
from typing import Protocol

import msgspec

from ..compressed import compress
from ..signal import Malformed, Receipt
from ..spans.reading import SpanReader
from .frames import Envelope, Frame, Inbox, Kind, Settings, framed
from .span_rows import SpanSource

_envelopes = msgspec.msgpack.Decoder(Envelope)


class Source(Protocol):
    """Rows of one signal as they are sent."""

    def answer(self, fmt: str, body: bytes, receipt: Receipt) -> tuple[bytes, bytes]:
        """News and rows of a body. Raises Malformed."""


class Worker:
    """Answers one frame after the other."""

    def __init__(self, settings: Settings) -> None:
        self._sources: dict[str, Source] = {
            "spans": SpanSource(SpanReader(settings.collector_sample_rate))
        }

    def answer(self, frame: Frame) -> bytes:
        """The frame that answers a body."""
        envelope = _envelopes.decode(frame.first)
        receipt = Receipt(envelope.tenant, envelope.received_ms, envelope.hints)
        try:
            source = self._sources[envelope.signal]
            news, rows = source.answer(envelope.format, frame.second, receipt)
            return framed(Kind.ROWS, news, rows, compress(frame.second) or b"")
        except Malformed as error:
            with suppress(UnicodeEncodeError):
                return framed(Kind.MALFORMED, str(error).encode())
        except Exception:  # a bug of ours, or rows that have no such form
            pass
        return framed(Kind.FAILED)


def work(descriptor: int, settings: str) -> None:
    """Answer what comes through the socket, until its other end is closed."""
    worker = Worker(msgspec.json.decode(settings, type=Settings))
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as in the collector
    inbox = Inbox()
    with socket.socket(fileno=descriptor) as collector, suppress(ConnectionError):
        collector.sendall(framed(Kind.READY))
        while count := collector.recv_into(inbox.room()):
            inbox.add(count)
            while (frame := inbox.take()) is not None:
                collector.sendall(worker.answer(frame))
