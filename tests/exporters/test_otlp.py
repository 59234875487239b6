"""OTLP in protobuf and JSON, over HTTP and gRPC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest

from exporters.backoff import Backoff
from exporters.destination import Deadline
from exporters.ledger import Ledger
from exporters.otlp import OtlpGrpcDestination, OtlpHttpDestination
from exporters.otlp_encoding import OtlpJson, OtlpProtobuf
from exporters.records import REMOTE_PARENT, EventRecord, LinkRecord, Resource, losses_of
from exporters.sender import Limits

json_format = pytest.importorskip("google.protobuf.json_format")
trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

QUICK = Limits(linger_s=0.01, timeout_s=5.0)


@pytest.fixture
def rich(span: Any) -> Any:
    """A span that has everything."""
    return span(
        kind=2,
        parent_id=7,
        tags={
            "s": "x",
            "i": 1,
            "f": 1.5,
            "b": True,
            "l": ["a", "b"],
            "big": 10**30,
            "bad": "\ud800",
            "nan": float("nan"),
        },
        events=[EventRecord(10**18, "retry", {"attempt": 2})],
        links=[LinkRecord(1, 2, "a=b", {"k": "v"})],
        status=2,
        status_text="no",
        scope="lib",
        tracestate="v=1",
        flags=1 | REMOTE_PARENT,
    )


def test_protobuf_has_everything(rich: Any) -> None:
    """Each field is where the protocol has it."""
    request = trace_service.ExportTraceServiceRequest.FromString(OtlpProtobuf().encode([rich]))
    (resource_spans,) = request.resource_spans
    attributes = {a.key: a.value.string_value for a in resource_spans.resource.attributes}
    assert attributes == {"service.name": "shop", "host.ip": "10.0.0.7"}
    (scope_spans,) = resource_spans.scope_spans
    assert scope_spans.scope.name == "lib"
    (span,) = scope_spans.spans
    assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert (span.span_id.hex(), span.parent_span_id.hex()) == ("b7ad6b7169203331", "0" * 15 + "7")
    assert (span.kind, span.trace_state, span.flags) == (3, "v=1", 0x301)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 12_345_678
    values = {a.key: a.value for a in span.attributes}
    assert (values["s"].string_value, values["i"].int_value) == ("x", 1)
    assert (values["f"].double_value, values["b"].bool_value) == (1.5, True)
    assert [v.string_value for v in values["l"].array_value.values] == ["a", "b"]
    assert (values["big"].string_value, values["bad"].string_value) == (str(10**30), "�")
    assert (span.events[0].name, span.events[0].attributes[0].value.int_value) == ("retry", 2)
    assert (span.links[0].trace_state, span.links[0].span_id[-1]) == ("a=b", 2)
    assert (span.status.code, span.status.message) == (2, "no")


def test_losses_have_their_fields(span: Any) -> None:
    """What a span lost to its limits is told in the fields OTLP has for it, in both encodings."""
    pytest.importorskip("opentelemetry.proto", reason="the extra otlp is not installed")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    record = span(losses=losses_of(tags=3, events=2**40, links=1, cut=7))
    request = ExportTraceServiceRequest.FromString(OtlpProtobuf().encode([record]))
    sent = request.resource_spans[0].scope_spans[0].spans[0]
    counts = sent.dropped_attributes_count, sent.dropped_events_count, sent.dropped_links_count
    assert counts == (3, 2**32 - 1, 1)
    request = json.loads(OtlpJson().encode([record]))
    said = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert said["droppedAttributesCount"] == 3
    assert said["droppedEventsCount"] == 2**32 - 1
    assert said["droppedLinksCount"] == 1
    request = json.loads(OtlpJson().encode([span()]))
    said = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert not [name for name in said if name.startswith("dropped")]


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**30])
def test_large_integers_are_text_and_times_are_bounded(span: Any, number: int) -> None:
    """An integer beyond 64 bits arrives as its digits, also in a list; no time spoils a batch."""
    pytest.importorskip("opentelemetry.proto", reason="the extra otlp is not installed")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    record = span(
        tags={"n": number, "l": [1, number]},
        start_ns=number,
        events=[EventRecord(number, "e", {"n": number})],
    )
    request = ExportTraceServiceRequest.FromString(OtlpProtobuf().encode([record]))
    sent = request.resource_spans[0].scope_spans[0].spans[0]
    values = {pair.key: pair.value for pair in sent.attributes}
    assert values["n"].string_value == str(number)
    assert values["l"].array_value.values[1].string_value == str(number)
    assert sent.start_time_unix_nano == min(max(0, number), 2**64 - 1)
    said = json.loads(OtlpJson().encode([record]))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert said["attributes"][0]["value"] == {"stringValue": str(number)}
    assert said["startTimeUnixNano"] == str(sent.start_time_unix_nano)


def test_json_says_the_same_as_protobuf(rich: Any, span: Any) -> None:
    """Read by protobuf's own JSON reader, both forms are the same message."""
    other = span(resource=Resource("other"), scope="x")
    records = [rich, span(), other]
    expected = trace_service.ExportTraceServiceRequest.FromString(OtlpProtobuf().encode(records))
    written = json.loads(OtlpJson().encode(records))
    for group in written["resourceSpans"]:  # OTLP writes ids in hex, protobuf's JSON in base64
        for scope in group["scopeSpans"]:
            for each in scope["spans"]:
                rebase(each)
                for link in each.get("links", ()):
                    rebase(link)
    read = json_format.ParseDict(written, trace_service.ExportTraceServiceRequest())
    assert json_format.MessageToDict(read) == json_format.MessageToDict(expected)


def rebase(holder: dict[str, Any]) -> None:
    import base64

    for key in ("traceId", "spanId", "parentSpanId"):
        if key in holder:
            holder[key] = base64.b64encode(bytes.fromhex(holder[key])).decode()


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_http(receiver: Any, spans: Any, encoding: Any) -> None:
    """Spans arrive at /v1/traces in the content type asked for."""
    destination = OtlpHttpDestination(
        receiver.url + "/v1/traces", encoding=encoding, limits=QUICK, headers={"x-key": "1"}
    )
    ledger = Ledger("shop")
    destination.open(ledger)
    ledger.create(3)
    destination.accept(spans(3))
    assert destination.shutdown(Deadline(5))
    (request,) = receiver.requests
    assert (request.path, request.headers["x-key"]) == ("/v1/traces", "1")
    assert request.headers["Content-Type"] == f"application/{'x-' * (encoding != 'json')}{encoding}"
    assert ledger.report("otlp").acknowledged == 3


class Service:
    """An OTLP/gRPC receiver that answers as told."""

    def __init__(self) -> None:
        import grpc

        self.grpc = grpc
        self.requests: list[Any] = []
        self.metadata: dict[str, str] = {}
        self.answers: list[Any] = []
        handler = grpc.method_handlers_generic_handler(
            "opentelemetry.proto.collector.trace.v1.TraceService",
            {
                "Export": grpc.unary_unary_rpc_method_handler(
                    self.export,
                    request_deserializer=trace_service.ExportTraceServiceRequest.FromString,
                    response_serializer=lambda answer: answer.SerializeToString(),
                )
            },
        )
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((handler,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def export(self, request: Any, context: Any) -> Any:
        self.metadata = dict(context.invocation_metadata())
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, self.grpc.StatusCode):
            context.abort(answer, "as told")
        self.requests.append(request)
        return answer or trace_service.ExportTraceServiceResponse()

    @property
    def ids(self) -> list[int]:
        return [
            int(span.span_id.hex(), 16)
            for request in self.requests
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def service() -> Iterator[Service]:
    pytest.importorskip("grpc")
    started = Service()
    yield started
    started.server.stop(0).wait(5)


@pytest.fixture
def grpc_rig(service: Service) -> Iterator[tuple[Any, Ledger]]:
    destination = OtlpGrpcDestination(
        f"http://127.0.0.1:{service.port}", limits=QUICK, token="secret"
    )
    destination._backoff = Backoff(0.01, 0.02)
    ledger = Ledger("shop")
    destination.open(ledger)
    yield destination, ledger
    destination.shutdown(Deadline(2))


def test_grpc(service: Service, grpc_rig: Any, spans: Any) -> None:
    """Spans arrive by gRPC with the token; UNAVAILABLE is waited out."""
    destination, ledger = grpc_rig
    service.answers = [service.grpc.StatusCode.UNAVAILABLE, None]
    ledger.create(5)
    destination.accept(spans(5))
    while not destination.flush(Deadline(5)):
        pass
    assert service.ids == [1, 2, 3, 4, 5]
    assert service.metadata["authorization"] == "Bearer secret"
    assert (ledger.report("otlp-grpc").acknowledged, ledger.report("otlp-grpc").dropped) == (5, {})


def test_the_opentelemetry_sdk_exports_by_grpc(service: Service) -> None:
    """Its spans arrive, each once, through the exporter that ``lookout_otlp_grpc`` names."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from exporters.opentelemetry import OtlpGrpcSpanExporter

    exporter = OtlpGrpcSpanExporter(f"http://127.0.0.1:{service.port}", limits=QUICK)
    provider = sdk.TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("checkout").start_as_current_span("order") as span:
        pass
    assert provider.force_flush(5_000)
    provider.shutdown()
    assert service.ids == [span.get_span_context().span_id]


def test_grpc_refusal(service: Service, grpc_rig: Any, spans: Any) -> None:
    """INVALID_ARGUMENT is final and counted."""
    destination, ledger = grpc_rig
    service.answers = [service.grpc.StatusCode.INVALID_ARGUMENT]
    ledger.create(5)
    destination.accept(spans(5))
    assert destination.flush(Deadline(5))
    assert ledger.report("otlp-grpc").dropped == {"refused": 5}


def test_partial_success(service: Service, grpc_rig: Any, spans: Any) -> None:
    """What the receiver says it rejected is counted as refused, the rest as acknowledged."""
    destination, ledger = grpc_rig
    answer = trace_service.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    service.answers = [answer]
    ledger.create(5)
    destination.accept(spans(5))
    assert destination.flush(Deadline(5))
    report = ledger.report("otlp-grpc")
    assert report.balanced
    assert (report.acknowledged, report.dropped) == (3, {"refused": 2})
