"""HTTP endpoints that take spans: Zipkin's, OTLP's and Jaeger's."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..http import decompress, read_raw
from ..intake import receipt
from ..server import Server
from ..signal import Malformed

_ACCEPTED = 202
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
    ]


class ZipkinCollector:
    """``/api/v2/spans`` and ``/api/v1/spans``, with the order of checks that Zipkin has."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def version_2(self, request: Request) -> Response:
        proto = _media_type(request) == "application/x-protobuf"
        return await self._accept(request, "zipkin.v2.proto3" if proto else "zipkin.v2.json")

    async def version_1(self, request: Request) -> Response:
        thrift = _media_type(request) == "application/x-thrift"
        return await self._accept(request, "zipkin.v1.thrift" if thrift else "zipkin.v1.json")

    async def _accept(self, request: Request, fmt: str) -> Response:
        try:
            body = self._unzipped(request, await read_raw(request, self._server))
            if body not in (b"", b"[]"):
                check_list(fmt, body)
                tenant = self._server.tenant(request)
                await self._server.intake.accept("spans", fmt, body, receipt(tenant))
        except Malformed as error:
            return PlainTextResponse(str(error), 400)
        return Response(status_code=_ACCEPTED)

    def _unzipped(self, request: Request, body: bytes) -> bytes:
        """The body, gunzipped if the header speaks of gzip.

        Zipkin does not look at other encodings; zstd is what our own clients send.
        """
        encoding = request.headers.get("content-encoding", "")
        if encoding == "zstd":
            return decompress(body, encoding, self._server.config.body_max_decompressed)
        if "gzip" not in encoding:
            return body
        try:
            body = decompress(body, "gzip", self._server.config.body_max_decompressed)
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
    if fmt == "zipkin.v2.json" and b'yAnnotations"' in body:
        raise Malformed(f"Expected a {name} encoded list, but received: JSON_V1\n")
    if fmt == "zipkin.v1.json" and (b'Endpoint"' in body or b'"tags"' in body):
        raise Malformed(f"Expected a {name} encoded list, but received: JSON_V2\n")


_FORMAT_NAMES = {
    "zipkin.v2.json": "JSON_V2",
    "zipkin.v2.proto3": "PROTO3",
    "zipkin.v1.json": "JSON_V1",
    "zipkin.v1.thrift": "THRIFT",
}


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
