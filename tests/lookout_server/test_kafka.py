"""Topics of a real Kafka broker through real collectors: everything is stored, and once."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporters.destination import Deadline
from exporters.kafka import KafkaDestination
from exporters.ledger import Ledger
from exporters.records import Resource
from exporters.sender import Limits

from ..kafka_broker import KafkaBroker
from .serving import Serve, Serving, rows

aiokafka = pytest.importorskip("aiokafka")


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic, and group, of the test's own."""
    return str(request.node.name)


def settings(broker: KafkaBroker, topic: str, **more: str) -> dict[str, str]:
    """Environment of a collector that reads the topic."""
    return {
        "LOOKOUT_KAFKA_BOOTSTRAP_SERVERS": broker.address,
        "LOOKOUT_KAFKA_SPAN_TOPICS": topic,
        "LOOKOUT_KAFKA_GROUP_ID": topic,
        "LOOKOUT_KAFKA_SESSION_TIMEOUT": "2s",
        **more,
    }


def span(number: int) -> dict[str, Any]:
    return {
        "traceId": f"{number:016x}",
        "id": f"{number:016x}",
        "name": "work",
        "timestamp": time.time_ns() // 1000,
        "duration": 10,
        "localEndpoint": {"serviceName": "shop"},
    }


def messages(numbers: Sequence[int]) -> list[bytes]:
    """One message a span, as Zipkin's sender makes them."""
    return [json.dumps([span(number)]).encode() for number in numbers]


def produce(
    broker: KafkaBroker,
    topic: str,
    bodies: Sequence[bytes],
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Send messages, spread over the partitions, and wait for the broker's word."""

    async def send() -> None:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=broker.address, enable_idempotence=True, request_timeout_ms=20_000
        )
        await producer.start()
        try:
            kept = [
                await producer.send(topic, body, key=str(n).encode(), headers=list(headers))
                for n, body in enumerate(bodies)
            ]
            await asyncio.gather(*kept)
        finally:
            await producer.stop()

    asyncio.run(send())


class Stream(threading.Thread):
    """Sends spans until it is ended."""

    def __init__(self, broker: KafkaBroker, topic: str) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self._place = broker, topic
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.wait(0.2):  # at a pace any machine follows
            produce(*self._place, messages(range(self.sent + 1, self.sent + 101)))
            self.sent += 100

    def end(self) -> None:
        self._ending.set()
        self.join(30)


def lag(serving: Serving) -> dict[str, float]:
    """Lag by topic and partition, as /metrics has it."""
    found = {}
    for line in serving.request("/metrics")[2].splitlines():
        if line.startswith("lookout_collector_kafka_lag{"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def read_all(serving: Serving, partitions: int = 4) -> bool:
    """Whether the collector has so many partitions and committed all of them."""
    lags = lag(serving)
    return len(lags) == partitions and not any(lags.values())


COUNTS = "SELECT low, count() AS n FROM spans GROUP BY low"


def stored(*data_dirs: Path) -> Counter[int]:
    """How often each span is in the databases of collectors that ended."""
    found: Counter[int] = Counter()
    with ThreadPoolExecutor() as pool:
        for answer in pool.map(lambda place: rows(place, COUNTS), data_dirs):
            for row in answer:
                found[row["low"]] += row["n"]
    return found


SHOP = Resource("shop", {})


@dataclass
class Finished:
    """A finished span, as the exporters take it."""

    span_id: int
    trace_id: int = 0
    parent_id: int = 0
    name: str = "work"
    kind: int = 0
    start_ns: int = 0
    duration_ns: int = 10_000
    tags: Any = None
    events: Any = None
    links: Any = None
    status: int = 0
    status_text: str = ""
    flags: int = 1
    tracestate: str = ""
    resource: Resource = SHOP
    scope: str = ""
    rpc_id: str = "0"
    baggage: Any = None

    def __post_init__(self) -> None:
        self.trace_id = self.span_id
        self.start_ns = time.time_ns()


def otlp() -> bytes:
    """A count of five orders, of now: an instant query looks five minutes back."""
    point = {"timeUnixNano": str(time.time_ns()), "asInt": "5"}
    total = {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]}
    service = {"key": "service.name", "value": {"stringValue": "shop"}}
    resource = {
        "resource": {"attributes": [service]},
        "scopeMetrics": [{"metrics": [{"name": "orders", "sum": total}]}],
    }
    return json.dumps({"resourceMetrics": [resource]}).encode()


def test_every_encoding_and_nothing_malformed(broker: KafkaBroker, topic: str, serve: Serve,
                                              tmp_path: Path) -> None:  # fmt: skip
    """Zipkin's and gzipped messages are stored once; malformed ones are counted and passed."""
    produce(broker, topic, [*messages(range(1, 101)), b"x", b'[{"traceId": 1}]', b"\xff\xff\xff"])
    produce(broker, topic, [gzip.compress(b) for b in messages(range(101, 111))],
            [("content-encoding", b"gzip")])  # fmt: skip
    produce(broker, topic, [json.dumps(span(111)).encode()])  # not in a list
    serving = serve(env=settings(broker, topic))
    serving.eventually(lambda: read_all(serving))
    assert serving.metric(f'lookout_collector_kafka_malformed_total{{topic="{topic}"}}') == 3
    assert serving.metric(f'lookout_collector_kafka_messages_total{{topic="{topic}"}}') == 114
    assert serving.metric("lookout_collector_kafka_rebalances_total") >= 1
    assert serving.metric("lookout_collector_kafka_connected") == 1
    assert serving.terminate() == 0
    assert stored(tmp_path / "data") == Counter(range(1, 112))


def values(serving: Serving, query: str) -> list[str]:
    """What an instant query answers, without the times."""
    answer = json.loads(serving.request(f"/api/v1/query?query={query}")[2])
    return [one["value"][1] for one in answer["data"]["result"]]


def test_our_exporter_and_metrics(broker: KafkaBroker, topic: str, serve: Serve) -> None:
    """Spans and metrics our exporter sends can be queried, and its ledger adds up."""
    metric_topic = f"{topic}-metrics"
    serving = serve(
        env=settings(broker, topic, LOOKOUT_KAFKA_METRIC_TOPICS=metric_topic, LOOKOUT_RETENTION="0")
    )
    destination = KafkaDestination(broker.address, topic=topic, limits=Limits(linger_s=0.01))
    ledger = Ledger("shop")
    destination.open(ledger)
    ledger.create(20)
    destination.accept([Finished(number) for number in range(1, 21)])
    destination.post(metric_topic, otlp(), "application/json")
    destination.shutdown(Deadline(10))
    serving.eventually(lambda: read_all(serving, 8))
    traces = json.loads(serving.request("/api/v2/traces?serviceName=shop&limit=100")[2])
    assert len(traces) == 20
    # Messages of spans come in as many pieces as their batches: those of metrics may be read later.
    serving.eventually(lambda: values(serving, "orders_total") == ["5"])
    account = json.loads(serving.request("/api/v1/lookout/ledger")[2])
    assert '"stored":20' in json.dumps(account, separators=(",", ":"))


@pytest.mark.slow
def test_broker_restarted(broker: KafkaBroker, topic: str, serve: Serve, tmp_path: Path) -> None:
    """What comes before and after the broker died is stored once, with a line for each change."""
    produce(broker, topic, messages(range(1, 51)))
    serving = serve(env=settings(broker, topic))
    serving.eventually(lambda: read_all(serving))
    broker.kill()
    serving.eventually(lambda: serving.metric("lookout_collector_kafka_connected") == 0)
    broker.start()
    produce(broker, topic, messages(range(51, 101)))
    serving.eventually(
        lambda: (
            serving.metric(f'lookout_collector_kafka_messages_total{{topic="{topic}"}}') >= 100
            and read_all(serving)
        ),
        30,
    )
    assert serving.terminate() == 0
    assert stored(tmp_path / "data") == Counter(range(1, 101))
    assert len([line for line in serving.lines if "trying again" in line]) == 1


@pytest.mark.slow
def test_two_collectors_share(
    broker: KafkaBroker, topic: str, serve: Serve, tmp_path: Path
) -> None:
    """Partitions move when a collector joins and when one leaves; every span is stored once."""
    places = [tmp_path / "one", tmp_path / "two"]
    stream = Stream(broker, topic)
    stream.start()
    one = serve(data_dir=places[0], env=settings(broker, topic))
    one.eventually(lambda: len(lag(one)) == 4)
    two = serve(data_dir=places[1], env=settings(broker, topic))
    two.eventually(lambda: len(lag(one)) == 2 and len(lag(two)) == 2)
    assert one.terminate() == 0
    two.eventually(lambda: len(lag(two)) == 4)
    stream.end()
    two.eventually(lambda: read_all(two))
    assert two.terminate() == 0
    assert stored(*places) == Counter(range(1, stream.sent + 1))


HELD = """
import aiokafka, aiokafka.errors

async def commit(self, offsets=None):
    raise aiokafka.errors.RequestTimedOutError("held back")

aiokafka.AIOKafkaConsumer.commit = commit
"""


@pytest.fixture
def held_back(tmp_path: Path) -> dict[str, str]:
    """Environment of a collector none of whose commits reaches the broker."""
    place = tmp_path / "held"
    place.mkdir()
    (place / "sitecustomize.py").write_text(HELD)
    return {"PYTHONPATH": os.pathsep.join([str(place), *filter(None, [os.getenv("PYTHONPATH")])])}


@pytest.mark.slow
def test_killed(
    broker: KafkaBroker, topic: str, serve: Serve, held_back: dict[str, str], tmp_path: Path
) -> None:
    """kill -9 between taking and committing: what Kafka gives again is not stored twice."""
    taken = f'lookout_collector_kafka_messages_total{{topic="{topic}"}}'
    # Killed with everything taken and nothing stored, then with everything stored too.
    for number, seconds in enumerate(("30s", "0.1s"), 1):
        produce(broker, topic, messages(range(number * 1000 - 999, number * 1000 + 1)))
        serving = serve(env=settings(broker, topic, LOOKOUT_BATCH_SECONDS=seconds, **held_back))
        # Nothing was ever committed: a new process is given what the one before it had, too.
        serving.eventually(lambda: serving.metric(taken) >= number * 1000)  # noqa: B023
        serving.eventually(lambda: sum(lag(serving).values()) == number * 1000)  # noqa: B023
        if number == 2:
            last = f"/api/v2/trace/{2000:016x}"
            serving.eventually(lambda: serving.request(last)[0] == 200)  # noqa: B023
        serving.kill()
    serving = serve(env=settings(broker, topic))
    serving.eventually(lambda: read_all(serving))
    assert serving.metric(taken) == 2000
    assert serving.terminate() == 0
    assert stored(tmp_path / "data") == Counter(range(1, 2001))
