"""Topics of spans and metrics, read by a consumer group; off unless there are brokers.

A message goes the way of a request's body: decoded, journalled, written. Its offset is committed
when ClickHouse has it, so that the topic keeps what a lost disk would lose. The journal remembers
the offsets it holds and that are not committed, in the transaction that keeps the message: what
Kafka gives again after a crash is recognised, and stored once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..http import Overloaded
from ..server import Service
from . import kafka_client
from .kafka_formats import parse_topic
from .kafka_messages import Messages, source
from .kafka_metrics import KafkaMetrics
from .kafka_progress import Progress, Slot, waiting

if TYPE_CHECKING:
    from ..collector import Collector

log = logging.getLogger("lookout.kafka")

_MESSAGES_AT_ONCE = 500
#: Messages taken and not committed: beyond it nothing is fetched until ClickHouse has some.
_MAX_WAITING = 20_000
_COMMIT_SECONDS = 0.5
_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 3.0
_AGAIN_SECONDS = 1.0
#: A rebalance waits for a member at most this part of its time.
_FINISH_SECONDS = kafka_client.REBALANCE_SECONDS * 0.6
_STOP_SECONDS = 10.0


def services(collector: Collector) -> list[Service]:
    """The consumer, where brokers are named. Raises ValueError for topics that are none."""
    return [KafkaIngest(collector)] if collector.config.kafka_bootstrap_servers else []


class KafkaIngest:
    """See :class:`lookout_server.server.Service`."""

    def __init__(self, collector: Collector) -> None:
        config = collector.config
        topics = [parse_topic(text, "spans") for text in config.kafka_span_topics]
        topics += [parse_topic(text, "metrics") for text in config.kafka_metric_topics]
        self._topics = {topic.name: topic for topic in topics}
        if len(self._topics) < len(topics):
            raise ValueError("a Kafka topic is named twice")
        self._collector = collector
        self._metrics = KafkaMetrics(collector.metrics)
        self._messages = Messages(collector, self._topics, self._metrics)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said = ""  # the trouble that was logged last

    async def start(self) -> None:
        """Begin to read; brokers may come later. Raises ValueError without aiokafka."""
        try:
            import aiokafka  # noqa: F401
        except ModuleNotFoundError:
            raise ValueError(
                "kafka_bootstrap_servers needs aiokafka: pip install 'lookout-telemetry[kafka]'"
            ) from None
        kafka_client.security(self._collector.config)  # raises what is wrong with the settings
        # It logs every attempt; what changes is logged here.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Take nothing more; have what was taken stored and committed."""
        self._stopping.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=_FINISH_SECONDS + _STOP_SECONDS)
            if not done:
                self._task.cancel()
                with suppress(asyncio.CancelledError):
                    await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._read()
            except Exception as error:  # whatever it is, it is said once and tried again
                self._trouble(f"{type(error).__name__}: {error}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _AGAIN_SECONDS)

    async def _read(self) -> None:
        instance = f"lookout-{self._collector.journal.identity}"
        consumer = kafka_client.consumer(self._collector.config, instance)
        reader = Reader(consumer, self._collector, self._messages, self._metrics, self._stopping)
        try:
            await _unless(self._stopping, consumer.start())
            if not self._stopping.is_set():
                consumer.subscribe(list(self._topics), listener=reader.listener())
                watch = asyncio.create_task(self._watch(reader))
                try:
                    await reader.run()
                finally:
                    watch.cancel()
        finally:
            self._metrics.lag = {}
            with suppress(Exception):
                await asyncio.wait_for(consumer.stop(), _ANSWER_SECONDS)

    async def _watch(self, reader: Reader) -> None:
        """Measure the lag, and notice when the brokers do not answer."""
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(reader.measure(), _ANSWER_SECONDS)
            except Exception as error:
                self._trouble(f"the brokers do not answer: {type(error).__name__} {error}".strip())
            else:
                self._fine()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _LOOK_SECONDS)

    def _trouble(self, text: str) -> None:
        if not self._said:
            log.warning("%s; trying again", text)
        self._said = text
        self._metrics.connected = False

    def _fine(self) -> None:
        if not self._metrics.connected:
            log.info("reading %s", ", ".join(self._topics))
        self._said = ""
        self._metrics.connected = True


class Reader:
    """One consumer from its start to its end (event loop only)."""

    def __init__(
        self,
        consumer: Any,
        collector: Collector,
        messages: Messages,
        metrics: KafkaMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self._consumer = consumer
        self._collector = collector
        self._messages = messages
        self._metrics = metrics
        self._stopping = stopping
        self._partitions: dict[Any, Progress] = {}
        self._taking = asyncio.Lock()
        self._leaving = asyncio.Event()  # partitions are being taken away
        self._committed_at = 0.0
        self._epoch = 0  # how often partitions were taken away

    async def run(self) -> None:
        """Take and commit until the collector stops."""
        while not self._stopping.is_set():
            if waiting(self._partitions.values()) < _MAX_WAITING:
                await self._take()
            else:
                await asyncio.sleep(_COMMIT_SECONDS / 10)
            if time.monotonic() - self._committed_at >= _COMMIT_SECONDS:
                await self._commit()
        await self._finish()

    async def _take(self) -> None:
        epoch, records = await _unless(self._stopping, self._fetch()) or (0, {})
        async with self._taking:
            if epoch != self._epoch:
                return  # they are given again, to whoever has the partitions now
            tasks = []
            for partition, messages in records.items():
                progress = self._partitions.setdefault(partition, Progress())
                tasks += [self._take_one(progress.expect(m.offset), m) for m in messages]
            await asyncio.gather(*tasks)

    async def _fetch(self) -> tuple[int, Any]:
        """Messages, and in which epoch they were ours: aiokafka gives none while it changes."""
        records = await self._consumer.getmany(timeout_ms=200, max_records=_MESSAGES_AT_ONCE)
        return self._epoch, records

    async def _take_one(self, slot: Slot, message: Any) -> None:
        """Have a message kept; one that never is holds up the commit, and is given again."""
        while not (self._leaving.is_set() or self._stopping.is_set()):
            try:
                slot.seq = await self._messages.take(message)
                return
            except Overloaded as overloaded:
                await self._pause(overloaded.retry_after or _AGAIN_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Back-pressure: nothing is fetched either, since all wait for these messages."""
        ends = [asyncio.create_task(e.wait()) for e in (self._leaving, self._stopping)]
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    async def _commit(self) -> None:
        """Commit what ClickHouse has; what fails is committed the next time."""
        from aiokafka.errors import KafkaError

        self._committed_at = time.monotonic()
        partitions = dict(self._partitions)
        offsets = {
            partition: offset
            for partition, progress in partitions.items()
            if (offset := progress.advance(self._written(partition))) is not None
        }
        if not offsets:
            return
        try:
            await asyncio.wait_for(self._consumer.commit(offsets), _ANSWER_SECONDS)
        except (KafkaError, TimeoutError) as error:
            log.debug("not committed: %s", error)
            return
        for partition, offset in offsets.items():
            partitions[partition].committed = offset
            self._collector.intake.acknowledged(source(partition), offset)

    def _written(self, partition: Any) -> int:
        return self._collector.writers[self._messages.signal(partition.topic)].written

    async def _finish(self) -> None:
        """Have what was taken stored and committed; gives up after a while."""
        try:
            async with asyncio.timeout(_FINISH_SECONDS), self._taking:
                while any(p.kept() > self._written(tp) for tp, p in self._partitions.items()):
                    for signal in self._collector.writers:
                        await self._collector.settle(signal)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log.warning("partitions are given away with messages not stored yet")
        await self._commit()

    async def measure(self) -> None:
        """Ask for the ends of the partitions. Raises what the client raises."""
        partitions = self._consumer.assignment()
        if not partitions:  # whether the brokers are there can be told all the same
            await self._consumer.topics()
        ends = await self._consumer.end_offsets(list(partitions)) if partitions else {}
        lag: dict[tuple[str, int], int] = {}
        for partition, end in ends.items():
            with suppress(TimeoutError):  # during a rebalance nobody knows
                async with asyncio.timeout(_ANSWER_SECONDS / 5):
                    done = await self._done(partition)
                    lag[partition.topic, partition.partition] = max(0, end - done)
        self._metrics.lag = lag

    async def _done(self, partition: Any) -> int:
        """The offset committed, or the first there is where none was."""
        progress = self._partitions.get(partition)
        if progress is not None and progress.committed is not None:
            return progress.committed
        committed = await self._consumer.committed(partition)
        if committed is None:
            committed = (await self._consumer.beginning_offsets([partition]))[partition]
        return int(committed)

    def listener(self) -> Any:
        """What aiokafka is to call when partitions come and go."""
        from aiokafka.abc import ConsumerRebalanceListener

        reader = self

        class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
            async def on_partitions_revoked(self, revoked: Any) -> None:
                await reader.revoked()

            async def on_partitions_assigned(self, assigned: Any) -> None:
                reader.assigned()

        return Listener()

    async def revoked(self) -> None:
        """Finish with all partitions: what comes of them from here on may be another's."""
        self._epoch += 1
        self._leaving.set()
        try:
            await self._finish()
        finally:
            self._leaving.clear()
            self._partitions.clear()

    def assigned(self) -> None:
        """Partitions were dealt out; where reading begins was committed before."""
        self._metrics.rebalances.inc()


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, Any]) -> Any:
    """What the work gives, or None when the collector stops before."""
    doing = asyncio.create_task(work)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait([doing, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if doing.done():
        return doing.result()
    doing.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await doing
    return None
