"""protobuf, thrift, v1, OTLP and Jaeger: what is in a body comes out, whatever bytes come in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from lookout_server.ingest import jaeger, otlp_traces, zipkin_proto3, zipkin_v1
from lookout_server.ingest.span_formats import FORMATS, decoder
from lookout_server.query.zipkin.render import span_json
from lookout_server.signal import Malformed
from lookout_server.spans.columns import SpanColumns

from .test_zipkin_json import listed
from .thrift_writer import Value, field, i16, i32, i64, list_of, string, struct


@pytest.mark.parametrize("fmt", FORMATS)
@given(body=st.binary(max_size=120))
def test_no_body_breaks_a_decoder(fmt: str, body: bytes) -> None:
    """Any bytes in any format are spans or Malformed, never another error."""
    with suppress(Malformed):
        decoder(fmt)(body)


@pytest.mark.parametrize("fmt", ["zipkin.v2.proto3", "otlp.traces.protobuf"])
@given(data=st.data())
def test_no_damage_breaks_a_protobuf_decoder(fmt: str, data: st.DataObject) -> None:
    """A well-formed body with a few bytes changed is spans or Malformed."""
    good = bytearray(
        PROTO3_SPAN if fmt == "zipkin.v2.proto3" else otlp_request().SerializeToString()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Malformed):
        decoder(fmt)(bytes(good))


def otlp_request() -> ExportTraceServiceRequest:
    span = Span(
        trace_id=bytes(range(16)),
        span_id=b"\1" * 8,
        parent_span_id=b"\2" * 8,
        name="Get /Users",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=1_700_000_000_000_000_999,
        end_time_unix_nano=1_700_000_000_000_250_999,
        trace_state="a=b",
        attributes=[
            KeyValue(key="server.address", value=AnyValue(string_value="DB")),
            KeyValue(key="server.port", value=AnyValue(int_value=5432)),
            KeyValue(key="ok", value=AnyValue(bool_value=True)),
            KeyValue(key="neg", value=AnyValue(int_value=-1)),
            KeyValue(
                key="list",
                value=AnyValue(array_value=ArrayValue(values=[AnyValue(double_value=1.5)])),
            ),
        ],
        events=[
            Span.Event(time_unix_nano=1_700_000_000_000_001_000, name="plain"),
            Span.Event(
                time_unix_nano=1_700_000_000_000_002_000,
                name="rich",
                attributes=[KeyValue(key="k", value=AnyValue(string_value="v"))],
            ),
        ],
        links=[Span.Link(trace_id=b"\3" * 16, span_id=b"\4" * 8, trace_state="x=y")],
        status=Status(code=Status.STATUS_CODE_ERROR, message="boom"),
    )
    resource = ResourceSpans()
    resource.resource.attributes.append(
        KeyValue(key="service.name", value=AnyValue(string_value="Shop"))
    )
    resource.resource.attributes.append(KeyValue(key="host", value=AnyValue(string_value="h1")))
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "lib", "1.0"
    scope.spans.append(span)
    return ExportTraceServiceRequest(resource_spans=[resource])


EXPECTED_OTLP = {
    "services": ["shop"],
    "names": ["get /users"],
    "remote": ["||5432|db"],
    "durations": [250],
    "timestamps": [1_700_000_000_000_000],
    "annotation_values": ["plain", '"rich":{"k":"v"}'],
    "refused": 0,
}
EXPECTED_TAGS = {
    "host": "h1",
    "otel.scope.name": "lib",
    "otel.scope.version": "1.0",
    "server.address": "DB",
    "server.port": "5432",
    "ok": "true",
    "neg": "-1",
    "list": "[1.5]",
    "otlp.link.0": f"{'03' * 16}|{'04' * 8}|x=y|{{}}",
    "w3c.tracestate": "a=b",
    "otel.status_code": "ERROR",
    "error": "boom",
}


def tags(columns: SpanColumns) -> dict[str, str]:
    return dict(zip(columns.tag_keys, columns.tag_values, strict=True))


def test_otlp_protobuf_keeps_everything() -> None:
    """Names, times, peer, attributes of all types, events, links, status and scope are stored."""
    columns = otlp_traces.decode_protobuf(otlp_request().SerializeToString())
    found = listed(columns)
    assert {name: found[name] for name in EXPECTED_OTLP} == EXPECTED_OTLP
    assert tags(columns) == EXPECTED_TAGS


def test_otlp_json_is_the_same() -> None:
    """The JSON form, with hex ids, numbers as text and enums by name, gives the same columns."""
    body = """{"resourceSpans": [{"resource": {"attributes": [
        {"key": "service.name", "value": {"stringValue": "Shop"}},
        {"key": "host", "value": {"stringValue": "h1"}}]},
      "scopeSpans": [{"scope": {"name": "lib", "version": "1.0"}, "spans": [{
        "traceId": "000102030405060708090a0b0c0d0e0f", "spanId": "0101010101010101",
        "parentSpanId": "0202020202020202", "name": "Get /Users", "kind": "SPAN_KIND_CLIENT",
        "startTimeUnixNano": "1700000000000000999", "endTimeUnixNano": 1700000000000250999,
        "traceState": "a=b", "unknown": {"x": 1},
        "attributes": [
          {"key": "server.address", "value": {"stringValue": "DB"}},
          {"key": "server.port", "value": {"intValue": "5432"}},
          {"key": "ok", "value": {"boolValue": true}},
          {"key": "neg", "value": {"intValue": -1}},
          {"key": "list", "value": {"arrayValue": {"values": [{"doubleValue": 1.5}]}}}],
        "events": [
          {"timeUnixNano": "1700000000000001000", "name": "plain"},
          {"timeUnixNano": "1700000000000002000", "name": "rich",
           "attributes": [{"key": "k", "value": {"stringValue": "v"}}]}],
        "links": [{"traceId": "03030303030303030303030303030303", "spanId": "0404040404040404",
                   "traceState": "x=y"}],
        "status": {"code": 2, "message": "boom"}}]}]}]}"""
    protobuf = otlp_traces.decode_protobuf(otlp_request().SerializeToString())
    assert listed(otlp_traces.decode_json(body.encode())) == listed(protobuf)


def test_otlp_refuses_single_spans() -> None:
    """A span without a trace id is left out and told of; its neighbours are stored."""
    request = otlp_request()
    request.resource_spans[0].scope_spans[0].spans.add(name="no ids")
    columns = otlp_traces.decode_protobuf(request.SerializeToString())
    assert (len(columns), columns.refused) == (1, 1)
    assert "expected 16 and 8 bytes" in columns.refusal


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[]", "expected an object"),
        (b'{"resourceSpans": 1}', "expected list"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}', "hexadecimal"),
        (b"{", "is not JSON"),
    ],
)
def test_otlp_json_says_what_is_wrong(body: bytes, text: str) -> None:
    """A malformed JSON request is refused with the reason."""
    with pytest.raises(Malformed, match=text):
        otlp_traces.decode_json(body)


PROTO3_SPAN = bytes.fromhex(
    "0a4f0a107180c278b62e8f6a216a2aea45d08fc912080000000000000001"
    "1a0800000000000000022001"
    "2a03474554"
    "3100809695250a0600"
    "38b0ae15"
    "420e0a0846726f6e74656e6412027f00"
    "60016801"
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\x0a\x05abc", "Truncated: length 5 > bytes available 3"),
        (b"\x0a\x02\x0a\x00", "traceId == null"),
        (b"\x0a\x04\x0a\x02\x00\x01", "Missing : id"),
        (b"\x0a\x80\x80\x80\x80\x80\x80", "Greater than 32-bit varint at position 5"),
        (b"\x0a\x0a\x0a\x02\x00\x01\x1a\x02\x00\x01\x3f\x01", "Malformed"),
        (b"\x0a\x0a\x0a\x02\x00\x01\x1a\x02\x00\x00zz", "newPosition > limit: (134 > 12)"),
    ],
)
def test_proto3_refuses_in_the_words_of_zipkin(body: bytes, text: str) -> None:
    """Broken protobuf is refused as by a Zipkin server."""
    with pytest.raises(Malformed) as caught:
        zipkin_proto3.decode(body)
    assert str(caught.value) == f"{text} reading List<Span> from proto3"


def test_v1_span_of_client_and_server_becomes_two() -> None:
    """Both sides in one v1 span are two v2 spans, the server's shared and with its own times."""
    web, db = '{"serviceName":"web"}', '{"serviceName":"db","port":1}'
    notes = ",".join(
        f'{{"timestamp":{t},"value":"{v}","endpoint":{e}}}'
        for t, v, e in ((10, "cs", web), (12, "sr", db), (15, "ss", db), (20, "cr", web))
    )
    body = f'[{{"traceId":"1","id":"2","name":"Get","annotations":[{notes}]}}]'
    client, server = map(span_json, zipkin_v1.read_json(body.encode()))
    ids = {"traceId": "0000000000000001", "id": "0000000000000002", "name": "get"}
    assert client == ids | {
        "kind": "CLIENT", "timestamp": 10, "duration": 10, "localEndpoint": {"serviceName": "web"}
    }  # fmt: skip
    assert server == ids | {
        "kind": "SERVER", "timestamp": 12, "duration": 3, "shared": True,
        "localEndpoint": {"serviceName": "db", "port": 1},
    }  # fmt: skip


def test_v1_thrift_span() -> None:
    """A thrift span with an endpoint, a tag and an unknown field is read."""
    endpoint = struct(field(1, i32(0x7F000001)), field(2, i16(-1)), field(3, string("Web")))
    annotation = struct(field(1, i64(5)), field(2, string("sr")), field(3, endpoint))
    tag = struct(field(1, string("k")), field(2, string("v")), field(3, i32(6)), field(4, endpoint))
    span = struct(
        field(1, i64(-1)), field(3, string("Get")), field(4, i64(2)),
        field(6, list_of(annotation)), field(8, list_of(tag)), field(99, list_of(i64(1))),
        field(12, i64(1)),
    )  # fmt: skip
    (found,) = map(span_json, zipkin_v1.read_thrift(list_of(span).body))
    assert found == {
        "traceId": "0000000000000001ffffffffffffffff",
        "id": "0000000000000002",
        "kind": "SERVER",
        "name": "get",
        "timestamp": 5,
        "localEndpoint": {"serviceName": "web", "ipv4": "127.0.0.1", "port": 65535},
        "tags": {"k": "v"},
        "shared": True,
    }


def test_jaeger_batch() -> None:
    """Process, kind, peer, typed tags, logs and references of a Jaeger span are kept."""
    tag: Callable[..., Value] = lambda key, *value: struct(field(1, string(key)), *value)  # noqa: E731
    process = struct(
        field(1, string("Shop")), field(2, list_of(tag("host", field(3, string("h")))))
    )
    log = struct(field(1, i64(7)), field(2, list_of(tag("event", field(3, string("hit"))))))
    reference = struct(field(1, i32(1)), field(2, i64(9)), field(3, i64(0)), field(4, i64(8)))
    span = struct(
        field(1, i64(1)), field(2, i64(0)), field(3, i64(2)), field(4, i64(3)),
        field(5, string("Op")), field(6, list_of(reference)), field(7, i32(3)),
        field(8, i64(100)), field(9, i64(20)),
        field(10, list_of(
            tag("span.kind", field(3, string("client"))),
            tag("peer.service", field(3, string("DB"))),
            tag("rows", field(6, i64(5))),
        )),
        field(11, list_of(log)),
    )  # fmt: skip
    batch = struct(field(1, process), field(2, list_of(span)))
    (found,) = map(span_json, jaeger.read_batch(batch.body))
    assert found == {
        "traceId": "0000000000000001",
        "parentId": "0000000000000003",
        "id": "0000000000000002",
        "kind": "CLIENT",
        "name": "op",
        "timestamp": 100,
        "duration": 20,
        "localEndpoint": {"serviceName": "shop"},
        "remoteEndpoint": {"serviceName": "db"},
        "annotations": [{"timestamp": 7, "value": "hit"}],
        "tags": {
            "host": "h",
            "peer.service": "DB",
            "rows": "5",
            "jaeger.link.0": "follows_from|00000000000000000000000000000009|0000000000000008",
        },
        "debug": True,
    }


@given(st.text(max_size=130), st.text(max_size=130))
def test_attributes_of_any_length(key: str, value: str) -> None:
    """A text attribute is read whole, whichever way its length takes."""
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    )
    span.attributes.add(key=key).value.string_value = value
    found = otlp_traces.decode_protobuf(request.SerializeToString())
    assert dict(zip(found.tag_keys, found.tag_values, strict=True)) == {key: value}


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_old_field_breaks_the_decoder(scope: bytes, span: bytes) -> None:
    """Spans under the name before version 0.15 are read, or the body is Malformed."""

    def field_of(tag: bytes, content: bytes) -> bytes:
        return tag + bytes((len(content),)) + content

    library = field_of(b"\x0a", scope) + field_of(b"\x12", span)
    body = field_of(b"\x0a", field_of(b"\xc2\x3e", library))
    with suppress(Malformed):
        otlp_traces.decode_protobuf(body)
