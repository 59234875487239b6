"""HTTP endpoints that take spans: Zipkin's, OTLP's and Jaeger's."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..http import Refused, read_body, read_raw, unpacked
from ..intake import receipt
from ..server import Server, Service
from ..signal import Malformed
from . import otlp_http
from .grpc_server import GrpcServer
from .otlp_http import media_type

_ACCEPTED = Response(status_code=202)
_LENGTH_DELIMITED_FIELD_1 = 0x0A
#: Which list a first byte may begin: JSON, thrift (a list of structs, or a string), protobuf.
_FIRST_BYTES = b"[\x0c\x0b"


def routes(server: Server) -> list[BaseRoute]:
    """Routes of every protocol of spans over HTTP."""
    if not server.config.collector_http_enabled:
        return []
    zipkin = ZipkinCollector(server)
    return [
        Route("/api/v2/spans", zipkin.version_2, methods=["POST"]),
        Route("/api/v1/spans", zipkin.version_1, methods=["POST"]),
        Route("/v1/traces", OtlpTraces(server).export, methods=["POST"]),
        Route("/api/traces", JaegerCollector(server).accept, methods=["POST"]),
    ]


def services(server: Server) -> list[Service]:
    """The gRPC port, if it is asked for."""
    listen = server.config.otlp_grpc_listen
    return [GrpcServer(server, listen)] if listen else []


class ZipkinCollector:
    """``/api/v2/spans`` and ``/api/v1/spans``, with the order of checks that Zipkin has."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def version_2(self, request: Request) -> Response:
        proto = media_type(request) == "application/x-protobuf"
        return await self._accept(request, "zipkin.v2.proto3" if proto else "zipkin.v2.json")

    async def version_1(self, request: Request) -> Response:
        thrift = media_type(request) == "application/x-thrift"
        return await self._accept(request, "zipkin.v1.thrift" if thrift else "zipkin.v1.json")

    async def _accept(self, request: Request, fmt: str) -> Response:
        try:
            body = await self._unzipped(request, await read_raw(request, self._server))
            if body not in (b"", b"[]"):
                check_list(fmt, body)
                tenant = self._server.tenant(request)
                await self._server.intake.accept("spans", fmt, body, receipt(tenant))
        except Malformed as error:
            return PlainTextResponse(str(error), 400)
        return _ACCEPTED

    async def _unzipped(self, request: Request, body: bytes) -> bytes:
        """The body, gunzipped if the header speaks of gzip.

        Zipkin does not look at other encodings; zstd is what our own clients send.
        """
        encoding = request.headers.get("content-encoding", "")
        if encoding == "zstd":
            return await unpacked(request, body, encoding, self._server)
        if "gzip" not in encoding:
            return body
        try:
            body = await unpacked(request, body, "gzip", self._server)
        except Malformed:
            body = b""
        if not body:
            raise Malformed("Cannot gunzip spans")
        return body


def check_list(fmt: str, body: bytes) -> None:
    """Raises Malformed for what does not begin as any list of spans, or is of the other version."""
    name = _FORMAT_NAMES[fmt]
    proto = body[0] == _LENGTH_DELIMITED_FIELD_1 and body[1:2] not in (b"", b"\0")
    if not proto and body[0] not in _FIRST_BYTES:
        raise Malformed(f"Expected a {name} encoded list\n")
    # Of the two ways to search, backwards is twice as fast, and most bodies have no capital A.
    if fmt == "zipkin.v2.json" and b"A" in body and body.rfind(b'yAnnotations"') >= 0:
        raise Malformed(f"Expected a {name} encoded list, but received: JSON_V1\n")
    if fmt == "zipkin.v1.json" and (b'Endpoint"' in body or b'"tags"' in body):
        raise Malformed(f"Expected a {name} encoded list, but received: JSON_V2\n")


_FORMAT_NAMES = {
    "zipkin.v2.json": "JSON_V2",
    "zipkin.v2.proto3": "PROTO3",
    "zipkin.v1.json": "JSON_V1",
    "zipkin.v1.thrift": "THRIFT",
}


class OtlpTraces:
    """``/v1/traces``: OTLP over HTTP, protobuf and JSON."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def export(self, request: Request) -> Response:
        kind = media_type(request)
        if kind not in _OTLP_FORMATS:
            return otlp_http.unsupported(kind)
        try:
            body = await read_body(request, self._server)
            tenant = self._server.tenant(request)
            rows = await self._server.intake.accept(
                "spans", _OTLP_FORMATS[kind], body, receipt(tenant)
            )
        except (Malformed, Refused) as error:
            return otlp_http.failure(kind, error)
        return self._answer(kind, rows)

    def _answer(self, kind: str, rows: Any) -> Response:
        # Loaded when OTLP is used: protobuf alone would double the collector's start.
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        response = trace_service_pb2.ExportTraceServiceResponse()
        if not rows.refused:
            return otlp_http.answer(kind, response, None)
        response.partial_success.rejected_spans = rows.refused
        response.partial_success.error_message = rows.refusal
        partial = {"rejectedSpans": str(rows.refused), "errorMessage": rows.refusal}
        return otlp_http.answer(kind, response, partial)


_OTLP_FORMATS = {
    otlp_http.PROTOBUF: "otlp.traces.protobuf",
    otlp_http.JSON: "otlp.traces.json",
}


class JaegerCollector:
    """``/api/traces``: batches of Jaeger's thrift, as its clients send them over HTTP."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def accept(self, request: Request) -> Response:
        kind = media_type(request)
        if kind not in _JAEGER_TYPES:
            known = " or ".join(_JAEGER_TYPES)
            return PlainTextResponse(f"unsupported Content-Type {kind!r}; expected {known}\n", 415)
        body = await read_body(request, self._server)
        tenant = self._server.tenant(request)
        await self._server.intake.accept("spans", "jaeger.thrift", body, receipt(tenant))
        return _ACCEPTED


_JAEGER_TYPES = ("application/x-thrift", "application/vnd.apache.thrift.binary")
