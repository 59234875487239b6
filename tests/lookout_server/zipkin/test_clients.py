"""Tracing clients people have already, sending to a running collector as they are."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from py_zipkin.encoding._types import Encoding, Kind
from py_zipkin.transport import SimpleHTTPTransport
from py_zipkin.zipkin import zipkin_span

from .running import serving

TENANT = {"X-Scope-OrgID": "clients"}


@pytest.fixture(scope="module")
def grpc_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, grpc_address: str) -> Iterator[str]:
    """A collector that tells tenants apart, with OTLP over gRPC."""
    env = {"LOOKOUT_OTLP_GRPC_LISTEN": grpc_address}
    with serving(tmp_path_factory.mktemp("clients"), env=env) as base_url:
        yield base_url


class TenantTransport(SimpleHTTPTransport):
    """py_zipkin's own transport, naming the tenant as a proxy would."""

    def __init__(self, base_url: str) -> None:
        super().__init__("", 0)
        self._base_url = base_url

    def send(self, payload: str | bytes) -> None:
        body = payload.encode() if isinstance(payload, str) else payload
        path, content_type = self._get_path_content_type(body)
        headers = TENANT | {"Content-Type": content_type}
        answer = httpx.post(self._base_url + path, content=body, headers=headers)
        assert answer.status_code == 202, answer.text


def ask(url: str, path: str, **parameters: Any) -> Any:
    answer = httpx.get(f"{url}/api/v2/{path}", params=parameters, headers=TENANT)
    assert answer.status_code == 200, answer.text
    return answer.json()


def one_trace(url: str, service: str) -> dict[str, dict[str, Any]]:
    """The spans of the service's only trace by name."""
    (trace,) = ask(url, "traces", serviceName=service)
    return {span["name"]: span for span in trace}


@pytest.mark.parametrize(
    "encoding",
    [Encoding.V1_JSON, Encoding.V2_JSON, Encoding.V2_PROTO3],
    ids=lambda encoding: encoding.value,
)
def test_py_zipkin(url: str, encoding: Encoding) -> None:
    """Kinds, parents, tags, annotations, remote endpoints and times arrive in each encoding."""
    service = encoding.value.lower()
    began = time.time()
    serving_span = zipkin_span(
        service_name=service, span_name="Get /", transport_handler=TenantTransport(url),
        sample_rate=100, encoding=encoding, kind=Kind.SERVER, host="10.1.2.3", port=8080,
        binary_annotations={"http.path": "/ü"}, use_128bit_trace_id=True,
    )  # fmt: skip
    calling = zipkin_span(service_name=service, span_name="query", kind=Kind.CLIENT)
    with serving_span, calling as inner:
        inner.add_annotation("sent")
        inner.add_sa_binary_annotation(port=5432, service_name="Db", host="10.1.2.4")
        inner.update_binary_annotations({"error": "late"})
    spans = one_trace(url, service)
    root, child = spans["get /"], spans["query"]
    assert (root["kind"], root["tags"]) == ("SERVER", {"http.path": "/ü"})
    assert root["localEndpoint"] == {"serviceName": service, "ipv4": "10.1.2.3", "port": 8080}
    assert (child["kind"], child["parentId"]) == ("CLIENT", root["id"])
    assert child["remoteEndpoint"] == {"serviceName": "db", "ipv4": "10.1.2.4", "port": 5432}
    assert [note["value"] for note in child["annotations"]] == ["sent"]
    assert began <= root["timestamp"] / 1e6 <= child["timestamp"] / 1e6 <= time.time()
    assert 0 < child["duration"] <= root["duration"] <= (time.time() - began) * 1e6
    assert ask(url, "remoteServices", serviceName=service) == ["db"]
    found = ask(url, "traces", serviceName=service, annotationQuery="error=late")
    assert [trace[0]["traceId"] for trace in found] == [root["traceId"]]


def otlp_http(url: str, grpc_address: str) -> SpanExporter:
    return OTLPSpanExporter(f"{url}/v1/traces", headers=TENANT, compression=Compression.Gzip)


def otlp_grpc(url: str, grpc_address: str) -> SpanExporter:
    module = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
        reason="opentelemetry-exporter-otlp-proto-grpc is not installed",
    )
    headers = [(name.lower(), value) for name, value in TENANT.items()]
    exporter: SpanExporter = module.OTLPSpanExporter(grpc_address, insecure=True, headers=headers)
    return exporter


@pytest.mark.parametrize("make", [otlp_http, otlp_grpc])
def test_opentelemetry(url: str, grpc_address: str, make: Any) -> None:
    """Spans of OpenTelemetry's SDK are found by service, tag and error, as its mapping says."""
    service = make.__name__.replace("_", "-")
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(make(url, grpc_address)))
    tracer = provider.get_tracer("shop", "1.2")
    with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER) as root:
        link = Link(root.get_span_context())
        attributes: dict[str, Any] = {"peer.service": "Db", "db.rows": 3, "cached": False}
        with tracer.start_as_current_span(
            "query", kind=SpanKind.CLIENT, attributes=attributes, links=[link]
        ) as child:
            child.add_event("sent")
            child.set_status(Status(StatusCode.ERROR, "late"))
    provider.shutdown()
    spans = one_trace(url, service)
    assert spans["get /"]["traceId"] == f"{root.get_span_context().trace_id:032x}"
    assert spans["get /"]["kind"] == "SERVER"
    query = spans["query"]
    assert (query["kind"], query["parentId"]) == ("CLIENT", spans["get /"]["id"])
    assert query["remoteEndpoint"]["serviceName"] == "db"
    wanted = {"db.rows": "3", "cached": "false", "error": "late", "otel.scope.name": "shop"}
    assert wanted.items() <= query["tags"].items()
    assert any("sent" in note["value"] for note in query["annotations"])
    assert ask(url, "traces", serviceName=service, annotationQuery="error and db.rows=3")


def test_pages_learn_their_settings_before_they_have_a_tenant(url: str) -> None:
    """Both places of config.json are open where tenants are told apart, and queries are not."""
    for path in ("/config.json", "/zipkin/config.json"):
        answer = httpx.get(url + path)
        assert (answer.status_code, answer.json()["queryLimit"]) == (200, 10)
    refused = httpx.get(f"{url}/zipkin/api/v2/services")
    assert refused.status_code == 401 and re.search("X-Scope-OrgID", refused.text)
