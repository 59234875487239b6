"""What the reading of Kafka is made of, without a broker."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from lookout_server.config import ServerConfig
from lookout_server.decoding.decoder import Decoder
from lookout_server.ingest import kafka_client
from lookout_server.ingest.kafka_formats import metric_format, parse_topic, span_format
from lookout_server.ingest.kafka_progress import Progress, waiting
from lookout_server.intake import JournalIntake
from lookout_server.journal import Entry, Journal, Origin
from lookout_server.placing import SAMPLED_OUT
from lookout_server.reconcile import Reconciliation
from lookout_server.self_metrics import SelfMetrics
from lookout_server.signal import Malformed, Receipt
from lookout_server.spans.signal import SpanSignal


@pytest.mark.parametrize(
    ("body", "fmt"),
    [
        (b'[{"traceId":"1","id":"1","localEndpoint":{}}]', "zipkin.v2.json"),
        (b'[{"traceId":"1","id":"1"}]', "zipkin.v2.json"),
        (b'[{"traceId":"1","id":"1","binaryAnnotations":[]}]', "zipkin.v1.json"),
        (b'[{"annotations":[{"endpoint":{"serviceName":"a"}}]}]', "zipkin.v1.json"),
        (b"\x0a\x10\x0a\x08", "zipkin.v2.proto3"),
        (b"\x0c\x00\x00\x00\x01", "zipkin.v1.thrift"),
        (b'{"resourceSpans":[]}', "otlp.traces.json"),
    ],
)
def test_format_of_spans(body: bytes, fmt: str) -> None:
    """The first bytes tell the encoding, as in Zipkin's own Kafka collector."""
    assert span_format(body) == (fmt, body)


def test_single_spans() -> None:
    """A span that is in no list is read as a list of one."""
    assert span_format(b'{"id":"1"}') == ("zipkin.v2.json", b'[{"id":"1"}]')
    thrift = b"\x0a\x00\x01" + bytes(8) + b"\x00"
    assert span_format(thrift) == ("zipkin.v1.thrift", b"\x0c\x00\x00\x00\x01" + thrift)


@given(st.binary(max_size=40))
def test_any_bytes(body: bytes) -> None:
    """Whatever comes has a format or is malformed; nothing else is raised."""
    for detect in (span_format, metric_format):
        try:
            fmt, _ = detect(body)
        except Malformed as error:
            assert str(error)
        else:
            assert fmt


def test_topics() -> None:
    """A topic may name its encoding; an unknown one is refused with those there are."""
    topic = parse_topic("otlp_spans:otlp_proto", "spans")
    assert (topic.name, topic.detect(b"x")) == ("otlp_spans", ("otlp.traces.protobuf", b"x"))
    assert parse_topic("m", "metrics").detect(b" {}")[0] == "otlp_json"
    with pytest.raises(ValueError, match="otlp_proto, otlp_json, remote_write"):
        parse_topic("m:avro", "metrics")


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=30), st.integers(0, 30))
def test_commit_never_passes_what_is_not_stored(
    taken: list[tuple[int, bool]], written: int
) -> None:
    """The offset to commit is that of the first message that is not stored, or the end."""
    progress = Progress()
    for offset, (seq, kept) in enumerate(taken):
        slot = progress.expect(offset)
        slot.seq = seq if kept else None
    stored = [kept and seq <= written for seq, kept in taken]
    first = stored.index(False) if False in stored else len(stored)
    assert progress.advance(written) == (first or None)
    assert waiting([progress]) == len(taken) - first


def test_zipkin_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zipkin's variables configure the same; without brokers Kafka is off."""
    assert ServerConfig().kafka_bootstrap_servers == []
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092")
    monkeypatch.setenv("KAFKA_TOPIC", "spans")
    monkeypatch.setenv("KAFKA_GROUP_ID", "zipkin")
    config = ServerConfig()
    assert config.kafka_bootstrap_servers == ["one:9092", "two:9092"]
    assert (config.kafka_span_topics, config.kafka_group_id) == (["spans"], "zipkin")


def test_security() -> None:
    """SASL is passed on; half of it is refused."""
    given: dict[str, Any] = {
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_mechanism": "SCRAM-SHA-256",
        "kafka_sasl_username": "shop",
    }
    with pytest.raises(ValueError, match="kafka_sasl_password"):
        kafka_client.security(ServerConfig(**given))
    options = kafka_client.security(ServerConfig(**given, kafka_sasl_password=SecretStr("secret")))
    assert options == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "shop",
        "sasl_plain_password": "secret",
    }
    options = kafka_client.security(ServerConfig(kafka_security_protocol="SSL"))
    assert options["ssl_context"].check_hostname


def append(journal: Journal, entry: Entry) -> int:
    """The number of an entry, once it is kept."""
    kept: Future[int] = Future()
    journal.append(entry, lambda seq, _: kept.set_result(seq))
    return kept.result(10)


def test_places_are_remembered(tmp_path: Path) -> None:
    """The journal knows after a restart what it took from a queue, until told otherwise."""
    journal = Journal(tmp_path / "journal.sqlite")
    for position in range(3):
        entry = Entry("spans", "f", b"x", Receipt("t", 1, {}), origin=Origin("a/0", position, 9))
        assert append(journal, entry) == position + 1
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert again.taken() == {Origin("a/0", n, 9): n + 1 for n in range(3)}
    again.drop_taken("a/0", 2)
    again.close()
    last = Journal(tmp_path / "journal.sqlite")
    assert set(last.taken()) == {Origin("a/0", 2, 9)}
    last.close()


async def test_what_is_left_out_is_counted_once(tmp_path: Path) -> None:
    """A message the sample rate leaves nothing of is counted when it comes, not when again."""
    config, journal = ServerConfig(collector_sample_rate=0), Journal(tmp_path / "journal.sqlite")
    metrics, accounts = SelfMetrics(), Reconciliation()
    decoder = Decoder({"spans": SpanSignal(config).decode})
    intake = JournalIntake(config, journal, {}, decoder, metrics, accounts)
    process = accounts.report("t", '{"process": "p", "service": "shop", "created": 1, "sent": 1}')
    body = b'[{"traceId":"1","id":"1"}]'
    entry = Entry("spans", "zipkin.v2.json", body, Receipt("t", 1, {}), process)
    for _ in range(2):
        assert await intake.take(Origin("a/0", 7, 9), entry) == 0
    assert accounts.accounts("t")["p"].missing == 0
    assert metrics.dropped.labels("spans", SAMPLED_OUT)._value.get() == 1
    intake.acknowledged("a/0", 8)
    assert await intake.take(Origin("a/0", 7, 9), entry) == 0  # no longer remembered
    assert accounts.accounts("t")["p"].dropped_here == {SAMPLED_OUT: 2}
    journal.close()
