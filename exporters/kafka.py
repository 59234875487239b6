"""Spans to Kafka, through aiokafka.

Each message is a JSON list of the spans of one trace that finished together (Zipkin v2, what
Zipkin's own Kafka collector and Lookout's read); its key is the trace id, so all of a trace goes
to one partition, in order. The producer is idempotent: a retry makes no second message.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec

from .backlog import Backlog
from .ledger import TOO_LARGE
from .parcel import Parcel, Refused, Unavailable
from .records import SpanRecord
from .sender import Limits, Sender
from .zipkin import LEDGER_HEADER
from .zipkin_json import CONTENT_TYPE, ZipkinEncoder

_SPANS = "spans"
_READY = "ready"  # a body that is one message as it is


_Message = tuple[bytes | None, bytes]


class _TraceOf(msgspec.Struct, rename="camel"):
    trace_id: str


class KafkaTransport:
    """One idempotent producer on an event loop of its own, run by whoever delivers."""

    def __init__(
        self, brokers: Sequence[str], topic: str, compression: str | None, options: dict[str, Any]
    ) -> None:
        import aiokafka

        self._aiokafka = aiokafka
        self._brokers = brokers
        self._topic = topic
        self._compression = compression
        self._options = options
        self._encoder = ZipkinEncoder()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._producer: Any = None
        # aiokafka's own limit counts a few bytes more than the value.
        self._largest = int(options.get("max_request_size", 1_048_576)) - 4_096
        self._body = b""  # of the parcel being delivered
        self._to_send: deque[_Message] = deque()
        self._on_the_way: list[tuple[_Message, asyncio.Future[Any]]] = []

    def encode(self, records: Sequence[SpanRecord]) -> tuple[bytes, int]:
        return (self._encoder.encode(records) if records else b""), 0

    def parcel(self, body: bytes) -> tuple[bytes, str, Mapping[str, str]]:
        return body, self._topic, {"kind": _SPANS}

    def split(self, parcel: Parcel) -> Sequence[Parcel]:
        if parcel.count < 2:
            return ()
        spans = msgspec.json.decode(parcel.body, type=list[msgspec.Raw])
        middle = len(spans) // 2
        return [
            replace(parcel, body=msgspec.json.encode(part), count=len(part))
            for part in (spans[:middle], spans[middle:])
        ]

    def deliver(self, parcel: Parcel, ledger: str, timeout_s: float) -> int:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        self._take_up(parcel)
        try:
            self._loop.run_until_complete(
                asyncio.wait_for(self._deliver(parcel, ledger), timeout_s)
            )
        except (TimeoutError, OSError, self._aiokafka.errors.KafkaError) as error:
            raise Unavailable(_text(error)) from None
        self._body = b""
        return 0

    def _take_up(self, parcel: Parcel) -> None:
        """Begin with a parcel, or go on with it: what is on its way already is not sent again."""
        if parcel.body == self._body:
            return
        messages = _messages(parcel)
        largest = max((len(value) for _, value in messages), default=0)
        if largest > self._largest:
            raise Refused(f"a message of {largest} bytes; Kafka takes {self._largest}", TOO_LARGE)
        self._body = parcel.body
        self._to_send = deque(messages)
        self._on_the_way = []

    def close(self) -> None:
        self._drop_producer()
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def after_fork(self) -> None:
        _INHERITED.append((self._loop, self._producer))
        self._loop = None
        self._producer = None
        self._body = b""

    async def _deliver(self, parcel: Parcel, ledger: str) -> None:
        producer = await self._started()
        headers = [("content-type", parcel.headers.get("Content-Type", CONTENT_TYPE).encode())]
        if ledger and parcel.count:
            headers.append((LEDGER_HEADER.lower(), ledger.encode()))
        while self._to_send:
            key, value = self._to_send[0]
            future = await producer.send(parcel.path, value, key=key, headers=headers)
            self._on_the_way.append(((key, value), future))
            self._to_send.popleft()
        # wait() rather than gather(): running out of time must not cancel what is on its way.
        await asyncio.wait([future for _, future in self._on_the_way])
        failed = [(message, f.exception()) for message, f in self._on_the_way if f.exception()]
        self._on_the_way = []
        if failed:
            self._to_send.extend(message for message, _ in failed)
            assert failed[0][1] is not None
            raise failed[0][1]

    async def _started(self) -> Any:
        if self._producer is None:
            producer = self._aiokafka.AIOKafkaProducer(
                bootstrap_servers=list(self._brokers),
                enable_idempotence=True,
                compression_type=self._compression,
                **self._options,
            )
            try:
                await producer.start()
            except BaseException:
                with contextlib.suppress(Exception):
                    await producer.stop()
                raise
            self._producer = producer
        return self._producer

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None and self._loop is not None:
            with contextlib.suppress(Exception):
                self._loop.run_until_complete(asyncio.wait_for(producer.stop(), 2.0))


_INHERITED: list[Any] = []


class KafkaDestination(Sender):
    """Produces to ``topic`` of the cluster that ``brokers`` belong to.

    ``options`` go to ``aiokafka.AIOKafkaProducer`` (security, acks, sizes). Raises ImportError
    without the extra "kafka".
    """

    def __init__(
        self,
        brokers: str | Sequence[str] = "127.0.0.1:9092",
        *,
        topic: str = "zipkin",
        name: str = "kafka",
        compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = "gzip",
        spill: str | os.PathLike[str] | None = None,
        spill_bytes: int = 256_000_000,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        # A message holds one trace; brokers take 1 MB unless told otherwise.
        limits = limits if limits is not None else Limits(batch_bytes=900_000)
        listed = brokers.split(",") if isinstance(brokers, str) else brokers
        transport = KafkaTransport(listed, topic, compression, options)
        backlog = Backlog(limits.memory_bytes, spill, spill_bytes)
        super().__init__(name, transport, limits=limits, backlog=backlog)

    def post(
        self, topic: str, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Produce a ready body, of metrics, as one message. Never blocks."""
        key = (headers or {}).get("key", "")
        self._put(body, topic, {"kind": _READY, "key": key, "Content-Type": content_type})


def _messages(parcel: Parcel) -> list[_Message]:
    if parcel.headers.get("kind") == _READY:
        return [(parcel.headers.get("key", "").encode() or None, parcel.body)]
    traces: dict[str, list[msgspec.Raw]] = {}
    for raw in msgspec.json.decode(parcel.body, type=list[msgspec.Raw]):
        trace_id = msgspec.json.decode(raw, type=_TraceOf).trace_id
        traces.setdefault(trace_id, []).append(raw)
    return [(key.encode(), msgspec.json.encode(spans)) for key, spans in traces.items()]


def _text(error: BaseException) -> str:
    name, text = type(error).__name__, str(error)  # aiokafka's errors begin with their name
    return text if text.startswith(name) else f"{name} {text}".strip()
