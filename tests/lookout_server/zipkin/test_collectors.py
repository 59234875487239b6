"""Spans over HTTP and gRPC as real clients send them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from lookout_server.config import load
from lookout_server.http import Overloaded
from lookout_server.ingest.grpc_server import GrpcServer
from lookout_server.middleware import Admission
from lookout_server.store.embedded import EmbeddedStore

from .collector import PlainCollector

SPAN = '[{"traceId":"1","id":"2","name":"a","timestamp":1700006400000000}]'


@pytest.fixture
def collector(store: EmbeddedStore) -> PlainCollector:
    return PlainCollector(store, load())


@pytest.fixture
async def client(collector: PlainCollector, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(collector.app())
    headers = {"X-Scope-OrgID": tenant}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://collector", headers=headers
    ) as opened:
        yield opened


async def names(client: httpx.AsyncClient, trace_id: str = "1") -> list[str]:
    answer = await client.get(f"/api/v2/trace/{trace_id}")
    return sorted(s.get("name", "") for s in answer.json()) if answer.status_code == 200 else []


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (b"", {}, 202, ""),
        (b"[]", {"Content-Type": "text/plain"}, 202, ""),
        (b"\n[]", {}, 202, ""),
        (b"null", {}, 400, "Expected a JSON_V2 encoded list\n"),
        (b"x", {"Content-Encoding": "gzip"}, 400, "Cannot gunzip spans"),
        (gzip.compress(b""), {"Content-Encoding": "x-gzip"}, 400, "Cannot gunzip spans"),
        (b'[{"binaryAnnotations":[]}]', {}, 400,
         "Expected a JSON_V2 encoded list, but received: JSON_V1\n"),
    ],
)  # fmt: skip
async def test_checks_in_the_order_of_zipkin(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, text: str
) -> None:
    """Gunzip, emptiness, first byte, other version: each answers as a Zipkin server does."""
    answer = await client.post("/api/v2/spans", content=body, headers=headers)
    assert (answer.status_code, answer.text) == (status, text)


async def test_tenants_do_not_see_each_other(
    collector: PlainCollector, client: httpx.AsyncClient
) -> None:
    """What one tenant posts no endpoint shows to another, whose own is unharmed."""
    await client.post("/api/v2/spans", content=SPAN.replace('"a"', '"theirs"').encode())
    own = {"X-Scope-OrgID": f"{client.headers['X-Scope-OrgID']}-other"}
    window = "endTs=1700006400000&lookback=60000"
    paths = ["services", f"traces?{window}", f"dependencies?{window}", "spans?serviceName=a"]
    for path in paths:
        assert (await client.get(f"/api/v2/{path}", headers=own)).json() == []
    assert (await client.get("/api/v2/trace/1", headers=own)).status_code == 404
    assert (await client.get("/api/v2/traceMany?traceIds=1,2", headers=own)).json() == []
    assert await names(client) == ["theirs"]


def otlp_request() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=b"\0" * 15 + b"\1", span_id=b"\2" * 8, name="kept")
    spans.add(name="no ids")
    return request


async def test_otlp_tells_of_partial_success(client: httpx.AsyncClient) -> None:
    """Protobuf and JSON answers name how many spans were refused and why; the rest is stored."""
    headers = {"Content-Type": "application/x-protobuf"}
    body = otlp_request().SerializeToString()
    answer = await client.post("/v1/traces", content=body, headers=headers)
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_spans) == (200, 1)
    assert "is not valid" in partial.error_message
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x"}]}]}]}'
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/v1/traces", content=body, headers=headers)
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    assert await names(client) == ["kept"]


async def test_otlp_refuses_with_a_status(client: httpx.AsyncClient) -> None:
    """A body that is no request gets 400 and a google.rpc.Status; another type 415."""
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/v1/traces", content=b"{", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    answer = await client.post("/v1/traces", content=b"", headers={"Content-Type": "text/csv"})
    assert answer.status_code == 415


@pytest.fixture
async def channel(collector: PlainCollector, tenant: str) -> AsyncIterator[Any]:
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed (extra otlp)")
    server = GrpcServer(collector, "127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened
    await server.stop()


@pytest.fixture
def metadata(tenant: str) -> Iterator[list[tuple[str, str]]]:
    yield [("x-scope-orgid", tenant)]


async def test_otlp_over_grpc(
    channel: Any, client: httpx.AsyncClient, metadata: list[tuple[str, str]]
) -> None:
    """An Export call is stored under its tenant, and tells of what was refused."""
    export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    answer = await export(otlp_request().SerializeToString(), metadata=metadata)
    assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 1
    assert await names(client) == ["kept"]


async def test_grpc_refuses_what_is_malformed(
    channel: Any, metadata: list[tuple[str, str]]
) -> None:
    """A message that is none gets INVALID_ARGUMENT with the reason."""
    import grpc

    export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(b"\xff", metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_grpc_calls_are_bounded(collector: PlainCollector) -> None:
    """Messages over the memory of all messages get UNAVAILABLE: to be sent again."""
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed (extra otlp)")
    server = GrpcServer(collector, "127.0.0.1:0")
    await server.start()
    try:
        with server._budget.share() as others:
            others.expect(collector.config.inflight_max)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
                call = opened.unary_unary("/zipkin.proto3.SpanService/Report")
                with pytest.raises(grpc.aio.AioRpcError, match="inflight_max") as caught:
                    await call(bytes(1000))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop()


async def test_zipkin_over_grpc(
    channel: Any, client: httpx.AsyncClient, metadata: list[tuple[str, str]]
) -> None:
    """Zipkin's Report takes a ListOfSpans, also an empty one, and answers an empty message."""
    report = channel.unary_unary("/zipkin.proto3.SpanService/Report")
    span = b"\x0a\x08" + b"\0" * 7 + b"\1" + b"\x1a\x08" + b"\0" * 7 + b"\2" + b"\x2a\x01a"
    assert await report(b"\x0a" + bytes([len(span)]) + span, metadata=metadata) == b""
    assert await report(b"", metadata=metadata) == b""
    assert await names(client) == ["a"]


GZIP = {"Content-Encoding": "gzip"}


async def test_inflated_bytes_count_as_memory(store: EmbeddedStore) -> None:
    """What a gzip body inflates to is held against the budget of all bodies."""
    app = PlainCollector(store, load()).app()
    transport = httpx.ASGITransport(Admission(app, 1_000_000))
    gate = asyncio.Event()
    body = gzip.compress(b"[" + b" " * 900_000 + b"]")

    async def slowly() -> AsyncIterator[bytes]:
        yield bytes(200_000)
        await gate.wait()

    async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
        slow = asyncio.create_task(client.post("/api/v2/spans", content=slowly()))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="inflight_max"):
            for _ in range(100):  # until the slow one has sent its first part
                await client.post("/api/v2/spans", content=body, headers=GZIP)
        gate.set()
        assert (await slow).status_code == 400
