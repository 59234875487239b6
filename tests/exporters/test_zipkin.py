"""Zipkin's two formats: the fields, what has no field, and hostile values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporters.destination import Deadline
from exporters.ledger import Ledger
from exporters.records import DEBUG, SHARED, EventRecord, LinkRecord, Resource, losses_of
from exporters.sender import Limits
from exporters.zipkin import ZipkinDestination
from exporters.zipkin_json import ZipkinEncoder


def model(record: Any) -> dict[str, Any]:
    (parsed,) = json.loads(ZipkinEncoder().encode([record]))
    assert isinstance(parsed, dict)
    return parsed


def test_fields_of_the_model(span: Any) -> None:
    """Ids in hex, times in microseconds, everything where Zipkin expects it."""
    record = span(
        kind=2,
        parent_id=7,
        tags={"peer.service": "Stock", "network.peer.address": "10.1.2.3", "server.port": 80},
        events=[EventRecord(1_700_000_000_200_000_000, "cache miss", None)],
        flags=1 | DEBUG | SHARED,
    )
    assert model(record) == {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "id": "b7ad6b7169203331",
        "parentId": "0000000000000007",
        "name": "get /basket",
        "kind": "CLIENT",
        "timestamp": 1_700_000_000_123_456,
        "duration": 12_345,
        "localEndpoint": {"serviceName": "shop", "ipv4": "10.0.0.7"},
        "remoteEndpoint": {"serviceName": "stock", "ipv4": "10.1.2.3", "port": 80},
        "annotations": [{"timestamp": 1_700_000_000_200_000, "value": "cache miss"}],
        "tags": {
            "peer.service": "Stock",
            "network.peer.address": "10.1.2.3",
            "server.port": "80",
        },
        "debug": True,
        "shared": True,
    }


def test_tags_are_text(span: Any) -> None:
    """Numbers, booleans and lists become their JSON text."""
    tags = {"i": 1, "f": 1.5, "t": True, "n": False, "l": ["a", "b"], "s": "x", "big": 10**30}
    assert model(span(tags=tags))["tags"] == {
        "i": "1",
        "f": "1.5",
        "t": "true",
        "n": "false",
        "l": '["a","b"]',
        "s": "x",
        "big": str(10**30),
    }


def test_what_zipkin_has_no_field_for_is_a_tag(span: Any) -> None:
    """Status, scope, tracestate, links, and the resource's attributes."""
    record = span(
        status=2,
        status_text="out of stock",
        scope="lib",
        tracestate="a=b",
        links=[LinkRecord(1, 2, "", {"k": 1})],
        resource=Resource("shop", {"host.ip": "10.0.0.7", "deployment.environment": "prod"}),
    )
    tags = model(record)["tags"]
    assert tags["error"] == "out of stock"
    assert tags["otel.status_code"] == "ERROR"
    assert tags["otel.scope.name"] == "lib"
    assert tags["w3c.tracestate"] == "a=b"
    assert json.loads(tags["otel.links"]) == [
        {"traceId": "0" * 31 + "1", "spanId": "0" * 15 + "2", "attributes": {"k": 1}}
    ]
    assert tags["deployment.environment"] == "prod"


@pytest.mark.parametrize(
    ("status", "text", "given", "error"),
    [
        (2, "", None, "true"),
        (2, "bad", None, "bad"),
        (2, "", "timeout", "timeout"),
        (1, "", None, None),
    ],
)
def test_error_tag(span: Any, status: int, text: str, given: str | None, error: Any) -> None:
    """An error always has the tag "error"; what the application said there is kept."""
    tags = {"error": given} if given else None
    assert model(span(status=status, status_text=text, tags=tags))["tags"].get("error") == error


def test_the_remote_of_a_server_is_its_client(span: Any) -> None:
    """server.address names the called side only on the calling side."""
    tags = {"server.address": "shop.example", "client.address": "10.9.9.9"}
    assert model(span(kind=1, tags=tags))["remoteEndpoint"] == {"ipv4": "10.9.9.9"}
    assert model(span(kind=2, tags=tags))["remoteEndpoint"] == {"serviceName": "shop.example"}
    assert "remoteEndpoint" not in model(span(kind=0, tags=tags))


def test_an_event_with_attributes_is_its_json(span: Any) -> None:
    """As OpenTelemetry's specification for Zipkin has it."""
    record = span(events=[EventRecord(0, "retry", {"attempt": 2})])
    assert json.loads(model(record)["annotations"][0]["value"]) == {"retry": {"attempt": 2}}


def test_losses_are_tags(span: Any) -> None:
    """What a span lost to its limits is told under OpenTelemetry's names, and only then."""
    lossy, whole = json.loads(
        ZipkinEncoder().encode([span(losses=losses_of(tags=3, events=0, links=1, cut=7)), span()])
    )
    assert lossy["tags"] == {
        "otel.dropped_attributes_count": "3",
        "otel.dropped_links_count": "1",
        "lookout.cut_values_count": "7",
    }
    assert "tags" not in whole


@pytest.mark.parametrize("number", [2**64, 10**30])
def test_large_integers_do_not_spoil_a_batch(span: Any, number: int) -> None:
    """They arrive as digits in tags; a time that 64 bits cannot hold is left out."""
    bad = span(
        tags={"n": number, "l": [1, number]},
        start_ns=number * 1000,
        duration_ns=number * 1000,
        events=[EventRecord(number * 1000, "e", None), EventRecord(5_000, "f", None)],
    )
    found, other = json.loads(ZipkinEncoder().encode([bad, span()]))
    assert found["tags"] == {"n": str(number), "l": f'[1,"{number}"]'}
    assert "timestamp" not in found
    assert "duration" not in found
    assert found["annotations"] == [{"timestamp": 5, "value": "f"}]
    assert other["timestamp"] > 0
    protobuf = pytest.importorskip("exporters.zipkin_proto3")
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    spans = protobuf.list_of_spans().FromString(
        protobuf.ZipkinProtobufEncoder().encode([bad, span()])
    )
    assert len(spans.spans) == 2


def test_zero_durations_last_a_microsecond(span: Any) -> None:
    """Zipkin takes 0 for unknown."""
    assert model(span(duration_ns=0))["duration"] == 1


def test_hostile_values_are_cleaned(span: Any) -> None:
    """A lone surrogate in one span costs neither it nor its neighbours."""
    body = ZipkinEncoder().encode([span(tags={"k": "\ud800"}), span(name="\udfff"), span()])
    spans = json.loads(body)
    assert [each["name"] for each in spans] == ["get /basket", "�", "get /basket"]
    assert spans[0]["tags"] == {"k": "�"}


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_destination_speaks_both_formats(receiver: Any, span: Any, encoding: Any) -> None:
    """An address may name the path, and the content type tells the format."""
    if encoding == "protobuf":
        pytest.importorskip("google.protobuf")
    destination = ZipkinDestination(
        receiver.url + "/api/v2/spans", encoding=encoding, limits=Limits(linger_s=0.01)
    )
    destination.open(Ledger("shop"))
    destination.accept([span(tags={"k": "v"})])
    assert destination.shutdown(Deadline(5))
    (request,) = receiver.requests
    assert request.path == "/api/v2/spans"
    assert "X-Lookout-Ledger" not in request.headers
    if encoding == "json":
        assert request.headers["Content-Type"] == "application/json"
        assert request.json[0]["tags"] == {"k": "v"}
    else:
        assert request.headers["Content-Type"] == "application/x-protobuf"
        assert request.body.startswith(b"\x0a")


def test_protobuf_says_the_same_as_json(span: Any) -> None:
    """The collector reads both formats to the same spans."""
    pytest.importorskip("google.protobuf")
    zipkin_json = pytest.importorskip("lookout_server.ingest.zipkin_json")
    zipkin_proto3 = pytest.importorskip("lookout_server.ingest.zipkin_proto3")
    from exporters.zipkin_proto3 import ZipkinProtobufEncoder

    records = [
        span(),
        span(kind=2, parent_id=5, tags={"peer.service": "db", "server.port": 5432, "n": 1}),
        span(kind=1, flags=1 | SHARED, tags={"client.address": "::1"}, status=2),
        span(events=[EventRecord(10**18, "e", None)], flags=1 | DEBUG, name="\ud800"),
    ]
    one = zipkin_json.decode(ZipkinEncoder().encode(records))
    other = zipkin_proto3.decode(ZipkinProtobufEncoder().encode(records))
    for name in one.__slots__:
        assert list_of(getattr(one, name)) == list_of(getattr(other, name)), name


def list_of(column: Any) -> Any:
    return column.tolist() if hasattr(column, "tolist") else column
