"""What the second process does: read a body, pack its rows, compress it, send both back."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from ..compressed import compress
from ..signal import Malformed, Receipt
from ..spans.reading import SpanReader
from .code import CODE
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
        self._settings = settings
        self._sources: dict[str, Source] = {}

    def answer(self, frame: Frame) -> bytes:
        """The frame that answers a body."""
        try:
            envelope = _envelopes.decode(frame.first)
            compressed = compress(frame.second) or b""  # nothing may fail once words were told
            source = self._sources.get(envelope.signal) or self._source(envelope.signal)
            receipt = Receipt(envelope.tenant, envelope.received_ms, envelope.hints)
            news, rows = source.answer(envelope.format, frame.second, receipt)
        except Malformed as error:
            return _refused(error, frame.number)
        except Exception:  # a bug of ours, or rows that have no such form
            return framed(Kind.FAILED, number=frame.number)
        try:
            return framed(Kind.ROWS, news, rows, compressed, frame.number)
        except MemoryError:
            del self._sources[envelope.signal]  # the next answer tells all words anew
            return framed(Kind.FAILED, number=frame.number)

    def _source(self, signal: str) -> Source:
        """Made when its first body comes: only then is what it imports in memory."""
        made = _SOURCES[signal](self._settings)
        self._sources[signal] = made
        return made


def _refused(error: Malformed, number: int) -> bytes:
    try:
        return framed(Kind.MALFORMED, str(error).encode(), number=number)
    except UnicodeEncodeError:
        return framed(Kind.FAILED, number=number)


def _spans(settings: Settings) -> Source:
    return SpanSource(SpanReader(settings.collector_sample_rate))


def _metrics(settings: Settings) -> Source:
    from ..metrics.reading import MetricReader
    from ..metrics.series import LabelLimits
    from .metric_rows import MetricSource

    limits = LabelLimits(
        settings.label_names_max, settings.label_name_bytes_max, settings.label_value_bytes_max
    )
    return MetricSource(MetricReader(limits))


_SOURCES: Final[Mapping[str, Callable[[Settings], Source]]] = {"spans": _spans, "metrics": _metrics}


def work(descriptor: int, settings: str) -> None:
    """Answer what comes through the socket, until its other end is closed."""
    worker = Worker(msgspec.json.decode(settings, type=Settings))
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as in the collector
    inbox = Inbox()
    with socket.socket(fileno=descriptor) as collector, suppress(ConnectionError):
        collector.sendall(framed(Kind.READY, CODE.encode()))
        while count := collector.recv_into(inbox.room()):
            inbox.add(count)
            while (frame := inbox.take()) is not None:
                collector.sendall(worker.answer(frame))
