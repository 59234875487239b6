"""OTLP over gRPC (traces and metrics), and Zipkin's SpanService, on a port of their own.

Messages are not parsed here: their bytes go the way of a body over HTTP.
Source: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc, zipkin.proto of zipkin-api.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..http import BodyBudget, Refused
from ..intake import receipt
from ..server import Server
from ..signal import Malformed

log = logging.getLogger("lookout.grpc")

_STOP_SECONDS = 5.0
_Unary = Callable[[bytes, Any], Awaitable[bytes]]


class GrpcServer:
    """Needs grpcio (the extra ``otlp``). See :class:`lookout_server.server.Service`."""

    def __init__(self, server: Server, listen: str) -> None:
        self._server = server
        self._listen = listen
        self._grpc: Any = None
        # As much again as bodies over HTTP may take.
        self._budget = BodyBudget(server.config.inflight_max)
        self.port = 0  # once it is started

    async def start(self) -> None:
        """Serve. Raises ValueError without grpcio, OSError where the port cannot be had."""
        try:
            import grpc
        except ModuleNotFoundError:
            raise ValueError(
                "otlp_grpc_listen needs grpcio: pip install 'lookout-telemetry[otlp]'"
            ) from None
        limit = ("grpc.max_receive_message_length", self._server.config.body_max_decompressed)
        # Without this a second collector would silently share the port.
        self._grpc = grpc.aio.server(
            options=[limit, ("grpc.so_reuseport", 0)],
            maximum_concurrent_rpcs=self._server.config.connections_max,
        )
        self._grpc.add_generic_rpc_handlers(self._handlers(grpc))
        try:
            self.port = self._grpc.add_insecure_port(self._listen)
        except RuntimeError:
            raise OSError(f"cannot listen on {self._listen} for gRPC") from None
        await self._grpc.start()
        log.info("OTLP over gRPC on port %d", self.port)

    async def stop(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(_STOP_SECONDS)

    def _handlers(self, grpc: Any) -> list[Any]:
        def service(name: str, method: str, call: _Unary) -> Any:
            handler = grpc.unary_unary_rpc_method_handler(self._guarded(grpc, call))
            return grpc.method_handlers_generic_handler(name, {method: handler})

        collector = "opentelemetry.proto.collector"
        return [
            service(f"{collector}.trace.v1.TraceService", "Export", self._traces),
            service(f"{collector}.metrics.v1.MetricsService", "Export", self._metrics),
            service("zipkin.proto3.SpanService", "Report", self._zipkin),
        ]

    def _guarded(self, grpc: Any, call: _Unary) -> _Unary:
        """The call, with refusals as gRPC's status codes."""

        async def guarded(message: bytes, context: Any) -> bytes:
            try:
                return await call(message, context)
            except Malformed as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except Refused as refused:
                code = getattr(grpc.StatusCode, _CODES.get(refused.status, "UNAVAILABLE"))
                await context.abort(code, str(refused))
            raise AssertionError("abort raises")

        return guarded

    async def _traces(self, message: bytes, context: Any) -> bytes:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        rows = await self._accept("spans", "otlp.traces.protobuf", message, context)
        response = trace_service_pb2.ExportTraceServiceResponse()
        if rows is not None and rows.refused:
            response.partial_success.rejected_spans = rows.refused
            response.partial_success.error_message = rows.refusal
        return response.SerializeToString()

    async def _metrics(self, message: bytes, context: Any) -> bytes:
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

        rows = await self._accept("metrics", "otlp_protobuf", message, context)
        response = metrics_service_pb2.ExportMetricsServiceResponse()
        if rows is not None and rows.problems:
            rejected = sum(problem.samples for problem in rows.problems)
            texts = [problem.text for problem in rows.problems if problem.text]
            response.partial_success.rejected_data_points = rejected
            response.partial_success.error_message = "; ".join(texts)
        return response.SerializeToString()

    async def _zipkin(self, message: bytes, context: Any) -> bytes:
        await self._accept("spans", "zipkin.v2.proto3", message, context)
        return b""  # an empty ReportResponse

    async def _accept(self, signal: str, fmt: str, message: bytes, context: Any) -> Any:
        headers = dict(context.invocation_metadata())
        tenant = self._server.authorize(headers, "write")
        if not message:
            return None
        with self._budget.share() as share:
            share.expect(len(message))
            return await self._server.intake.accept(signal, fmt, message, receipt(tenant))


_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
}
