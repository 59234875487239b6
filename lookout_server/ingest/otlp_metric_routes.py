"""OTLP/HTTP metrics: ``/v1/metrics``, and ``/api/v1/otlp/v1/metrics`` where Prometheus has it.

What cannot be stored is told as partial success, with the rest kept.
Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import orjson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..http import Refused, read_body
from ..intake import receipt
from ..metrics.rows import MetricRows
from ..server import Server
from ..signal import Malformed

_FORMATS = {"application/x-protobuf": "otlp_protobuf", "application/json": "otlp_json"}
_INVALID_ARGUMENT, _UNAVAILABLE = 3, 14
_MESSAGE_BYTES = 4096


def otlp_metric_routes(server: Server) -> list[BaseRoute]:
    """The routes, for this server."""

    async def export(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        fmt = _FORMATS.get(kind)
        if fmt is None:
            known = " or ".join(_FORMATS)
            return Response(
                f"unsupported Content-Type {kind!r}; expected {known}\n",
                415,
                media_type="text/plain",
            )
        try:
            body = await read_body(request, server)
            accepted = receipt(server.tenant(request))
            rows = await server.intake.accept("metrics", fmt, body, accepted)
        except Malformed as error:
            return _failure(kind, 400, _INVALID_ARGUMENT, str(error))
        except Refused as refused:
            answer = _failure(kind, refused.status, _UNAVAILABLE, str(refused))
            answer.headers.update(refused.headers())
            return answer
        assert isinstance(rows, MetricRows)
        return _answer(kind, rows)

    paths = ("/v1/metrics", "/api/v1/otlp/v1/metrics")
    return [Route(path, export, methods=["POST"]) for path in paths]


def _answer(kind: str, rows: MetricRows) -> Response:
    rejected = sum(problem.samples for problem in rows.problems)
    message = "; ".join(problem.text for problem in rows.problems if problem.text)
    if kind == "application/json":
        partial = {"rejectedDataPoints": str(rejected), "errorMessage": message}
        body = orjson.dumps({"partialSuccess": partial} if rejected or message else {})
        return Response(body, media_type=kind)
    response = ExportMetricsServiceResponse()
    if rejected or message:
        response.partial_success.rejected_data_points = rejected
        response.partial_success.error_message = message
    return Response(response.SerializeToString(), media_type=kind)


def _failure(kind: str, status: int, code: int, message: str) -> Response:
    if kind == "application/json":
        body = orjson.dumps({"code": code, "message": message})
    else:
        body = _status(code, message)
    return Response(body, status, media_type=kind)


def _status(code: int, message: str) -> bytes:
    """A ``google.rpc.Status``: its code in field 1, its message in field 2."""
    text = message.encode()[:_MESSAGE_BYTES]
    return bytes([0x08, code, 0x12, len(text) & 0x7F | 0x80, len(text) >> 7]) + text
