"""Spans and metrics through a real Kafka broker: once, in the order of their key."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporters.backoff import Backoff
from exporters.destination import Deadline
from exporters.json_digest import JsonDigest
from exporters.kafka import KafkaDestination
from exporters.ledger import Ledger
from exporters.retention import Retention
from exporters.rolling_log import RollingLog
from exporters.sender import Limits
from exporters.work import BIZ

from ..kafka_broker import KafkaBroker

aiokafka = pytest.importorskip("aiokafka")


@pytest.fixture
def destination(broker: KafkaBroker, request: pytest.FixtureRequest) -> Iterator[Any]:
    topic = request.node.name
    made = KafkaDestination(
        broker.address,
        topic=topic,
        limits=Limits(linger_s=0.01, batch_records=100, timeout_s=2.0),
        request_timeout_ms=30_000,
    )
    made._backoff = Backoff(0.1, 0.5)
    ledger = Ledger("shop")
    made.open(ledger)
    made.test_ledger = ledger  # type: ignore[attr-defined]
    made.topic = topic  # type: ignore[attr-defined]
    yield made
    made.shutdown(Deadline(5))


def send(destination: Any, records: list[Any]) -> None:
    destination.test_ledger.create(len(records))
    destination.accept(records)


def consume(broker: KafkaBroker, topic: str, count: int) -> list[Any]:
    """Messages of a topic until ``count`` spans, or as many bodies, are there, and no more come."""

    async def read() -> list[Any]:
        consumer = aiokafka.AIOKafkaConsumer(
            topic, bootstrap_servers=broker.address, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            messages: list[Any] = []
            found = 0
            quiet = 0
            while quiet < 2:
                batch = await consumer.getmany(timeout_ms=1_000 if found < count else 200)
                for part in batch.values():
                    messages += part
                found = sum(size(message) for message in messages)
                quiet = 0 if batch else quiet + 1
            return messages
        finally:
            await consumer.stop()

    return asyncio.run(asyncio.wait_for(read(), 60))


def size(message: Any) -> int:
    body = json.loads(message.value)
    return len(body) if isinstance(body, list) else 1


def test_spans_arrive_once_in_the_order_of_their_key(
    broker: KafkaBroker, destination: Any, span: Any
) -> None:
    """The key is the trace id; the spans of a trace stay in order and come once."""
    records = [span(trace_id=1 + n % 7, span_id=n) for n in range(1, 1001)]
    send(destination, records)
    assert destination.flush(Deadline(30))
    messages = consume(broker, destination.topic, 1000)
    by_trace: dict[str, list[int]] = {}
    for message in sorted(messages, key=lambda m: (m.partition, m.offset)):
        for each in json.loads(message.value):
            assert each["traceId"] == message.key.decode()
            by_trace.setdefault(each["traceId"], []).append(int(each["id"], 16))
    assert sorted(n for ids in by_trace.values() for n in ids) == list(range(1, 1001))
    assert all(ids == sorted(ids) for ids in by_trace.values())
    headers = dict(messages[0].headers)
    assert headers["content-type"] == b"application/json"
    assert json.loads(headers["x-lookout-ledger"])["created"] == 1000
    report = destination.test_ledger.report("kafka")
    assert report.balanced
    assert report.acknowledged == 1000


def test_metrics_are_messages_as_they_are(broker: KafkaBroker, destination: Any) -> None:
    """A posted body is one message, with the key it was given."""
    for number in range(3):
        body = json.dumps({"n": number}).encode()
        destination.post(destination.topic, body, "application/json", {"key": "shop"})
    assert destination.flush(Deadline(30))
    messages = consume(broker, destination.topic, 3)
    assert [json.loads(message.value)["n"] for message in messages] == [0, 1, 2]
    assert {message.key for message in messages} == {b"shop"}


def test_too_large_messages_are_split(broker: KafkaBroker, destination: Any, span: Any) -> None:
    """A trace larger than a message is sent in parts; a span larger than one is counted."""
    records = [span(span_id=n, tags={"blob": "x" * 300_000}) for n in range(1, 6)]
    send(destination, records)
    send(destination, [span(span_id=9, tags={"blob": "x" * 1_500_000})])
    assert destination.flush(Deadline(30))
    messages = consume(broker, destination.topic, 5)
    ids = [int(each["id"], 16) for message in messages for each in json.loads(message.value)]
    assert sorted(ids) == [1, 2, 3, 4, 5]
    assert destination.test_ledger.report("kafka").dropped == {"too_large": 1}


def test_nothing_is_lost_when_the_broker_is_killed(
    broker: KafkaBroker, destination: Any, span: Any, wait_until: Any
) -> None:
    """Broker killed and started again in the middle: every span is there, none twice."""
    records = [span(trace_id=1 + n % 5, span_id=n) for n in range(1, 2001)]
    send(destination, records[:1000])
    wait_until(lambda: destination.account.acknowledged >= 100, 30)
    broker.kill()
    send(destination, records[1000:])
    wait_until(lambda: destination.down, 30)
    broker.start()
    wait_until(lambda: destination.account.acknowledged == 2000, 60)
    messages = consume(broker, destination.topic, 2000)
    ids = [int(each["id"], 16) for message in messages for each in json.loads(message.value)]
    assert sorted(ids) == list(range(1, 2001))
    assert destination.test_ledger.report("kafka").balanced


def ids_in(messages: list[Any]) -> list[int]:
    return [int(each["id"], 16) for message in messages for each in json.loads(message.value)]


def test_the_opentelemetry_sdk_exports_to_it(broker: KafkaBroker, request: Any) -> None:
    """The plain SDK with our exporter: its spans are in the topic, with the trace id as key."""
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    from exporters.opentelemetry import KafkaSpanExporter

    topic = request.node.name
    exporter = KafkaSpanExporter(broker.address, topic=topic, limits=Limits(linger_s=0.01))
    provider = trace.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("order") as span:
        pass
    assert provider.force_flush(20_000)
    provider.shutdown()
    (message,) = consume(broker, topic, 1)
    assert message.key.decode() == f"{span.get_span_context().trace_id:032x}"
    assert json.loads(message.value)[0]["name"] == "order"


@pytest.mark.slow
@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_logs_are_shipped_to_it(
    broker: KafkaBroker, request: Any, span: Any, tmp_path: Path, compress: Any
) -> None:
    """`lookout ship` to Kafka: through rolling, compression, a new process each time and a broker
    that is killed, every line of the logs is in the topic, those of a quiet broker once.
    """
    if compress == "zstd":
        pytest.importorskip("cramjam")
    topic = request.node.name.replace("[", ".").replace("]", "")
    logs = tmp_path / "logs"
    retention = Retention(compress=compress)
    log = RollingLog(logs / "biz-digest.log", max_bytes=20_000)
    digest = JsonDigest()
    numbers = iter(range(1, 10_000))

    def write(count: int) -> None:
        for _ in range(count):
            log.write(digest.encode(BIZ, [span(span_id=next(numbers))]))
        retention.tidy(log.path)

    def ship(*options: str) -> subprocess.Popen[bytes]:
        target = f"kafka://{broker.address}/{topic}"
        return subprocess.Popen(
            [sys.executable, "-m", "lookout_server", "ship", str(logs), "--to", target, *options],
            cwd=Path(__file__).parents[2],
        )

    for _ in range(3):
        write(150)
        assert ship("--once").wait(60) == 0
    assert sorted(ids_in(consume(broker, topic, 450))) == list(range(1, 451))
    assert len(list(logs.glob(f"*.{'gz' if compress == 'gzip' else 'zst'}"))) >= 5
    running = ship("--poll", "0.05")
    try:
        write(100)
        broker.kill()
        write(150)
        broker.start()
        write(100)
        found: set[int] = set()
        for _ in range(20):
            found = set(ids_in(consume(broker, topic, 800)))
            if len(found) == 800:
                break
    finally:
        running.terminate()
        assert running.wait(60) == 0
    assert found == set(range(1, 801))


def test_a_broker_that_is_not_there_is_waited_for(span: Any, closed_port: int) -> None:
    """Without a broker spans wait, and the exit keeps its deadline."""
    made = KafkaDestination(f"127.0.0.1:{closed_port}", limits=Limits(timeout_s=1.0))
    ledger = Ledger("shop")
    made.open(ledger)
    ledger.create(1)
    made.accept([span()])
    assert not made.shutdown(Deadline(1.0))
    assert ledger.report("kafka").dropped == {"shutdown": 1}
