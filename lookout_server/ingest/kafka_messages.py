"""From a Kafka message to the journal."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..http import Overloaded, Refused, decompress
from ..intake import receipt
from ..journal import Entry, Origin
from ..reconcile import LEDGER_HEADER
from ..security import TENANT_HEADER, tenant_of
from ..signal import Malformed
from .kafka_formats import Topic
from .kafka_metrics import KafkaMetrics

if TYPE_CHECKING:
    from ..collector import Collector

log = logging.getLogger("lookout.kafka")

_SAY_AGAIN_SECONDS = 10.0


class Messages:
    """Takes messages one by one; what is malformed is counted and passed over."""

    def __init__(
        self, collector: Collector, topics: Mapping[str, Topic], metrics: KafkaMetrics
    ) -> None:
        self._collector = collector
        self._config = collector.config
        self._topics = topics
        self._metrics = metrics
        self._said = float("-inf")  # when a malformed message was logged last

    def signal(self, topic: str) -> str:
        """What a topic holds: spans or metrics."""
        return self._topics[topic].signal

    async def take(self, message: Any) -> int:
        """The journal's number of a ConsumerRecord; 0 where there is nothing to store.

        Raises Overloaded when the message is to be taken later.
        """
        try:
            seq = await self._take(message)
        except Overloaded:
            raise
        except (Malformed, Refused) as error:
            self._skip(message, str(error))
            seq = 0
        except Exception as error:  # a decoder's bug must not stop the partition
            self._skip(message, f"{type(error).__name__}: {error}")
            seq = 0
        self._metrics.messages.labels(message.topic).inc()
        return seq

    async def _take(self, message: Any) -> int:
        headers = {name.lower(): value.decode("latin-1") for name, value in message.headers}
        topic = self._topics[message.topic]
        fmt, body = topic.detect(self._plain(message.value or b"", headers))
        tenant = self._tenant(headers)
        process = ""
        if LEDGER_HEADER in headers and topic.signal == "spans":
            process = self._collector.reconciliation.report(tenant, headers[LEDGER_HEADER])
        origin = Origin(source(message), message.offset, message.timestamp)
        entry = Entry(topic.signal, fmt, body, receipt(tenant), process)
        return await self._collector.intake.take(origin, entry)

    def _plain(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        encoding = headers.get("content-encoding", "")
        if encoding in ("", "identity"):
            return body
        try:
            return decompress(body, encoding, self._config.body_max_decompressed)
        except KeyError:
            raise Malformed(f"content-encoding {encoding!r} is not supported") from None

    def _tenant(self, headers: Mapping[str, str]) -> str:
        if self._config.multitenancy and headers.get(TENANT_HEADER):
            return tenant_of(headers)
        return self._config.kafka_tenant

    def _skip(self, message: Any, reason: str) -> None:
        self._metrics.malformed.labels(message.topic).inc()
        now = time.monotonic()
        if now - self._said >= _SAY_AGAIN_SECONDS:
            self._said = now
            log.warning(
                "skipped %s/%d at %d: %s",
                message.topic, message.partition, message.offset, reason.strip()[:500],
            )  # fmt: skip


def source(partition: Any) -> str:
    """The name of a partition in the journal."""
    return f"kafka/{partition.topic}/{partition.partition}"
