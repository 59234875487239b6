"""``POST /api/v1/write``: Prometheus remote write 1.0 and 2.0.

Statuses and texts are those of Prometheus' receiver (``storage/remote/write_handler.go``): 204
when all was taken, 400 when something never can be (the rest is kept; the sender must not retry),
415 for another message or compression, 429 or 503 with Retry-After when nothing was kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..http import Refused, hold, read_raw
from ..intake import receipt
from ..metrics.rows import MetricRows, Problem
from ..server import Server
from ..signal import Malformed
from .remote_write import check_length

_PROTOBUF = "application/x-protobuf"
#: ``proto=`` parameter of the Content-Type -> format.
_MESSAGES = {
    "prometheus.WriteRequest": "remote_write",
    "io.prometheus.write.v2.Request": "remote_write_v2",
}


def remote_write_routes(server: Server) -> list[BaseRoute]:
    """The route, for this server."""

    async def write(request: Request) -> Response:
        try:
            fmt = message_format(request.headers.get("content-type", ""))
            _check_encoding(request.headers.get("content-encoding", ""))
        except Refused as refused:
            return refused.response()
        try:
            body = await read_raw(request, server)
            size = check_length(body, server.config.body_max_decompressed)
            hold(request, len(body) + size)
            rows = await server.intake.accept("metrics", fmt, body, receipt(server.tenant(request)))
        except Malformed as error:
            return PlainTextResponse(f"{error}\n", 400, _written(None, fmt))
        except Refused as refused:
            return PlainTextResponse(
                f"{refused}\n", refused.status, {**refused.headers(), **_written(None, fmt)}
            )
        assert isinstance(rows, MetricRows)
        return _answer(rows, fmt)

    return [Route("/api/v1/write", write, methods=["POST"])]


def message_format(content_type: str) -> str:
    """The format a Content-Type names. Raises Refused (415)."""
    kind, *parameters = (content_type.strip() or _PROTOBUF).split(";")
    if kind != _PROTOBUF:
        raise Refused(
            415,
            f"expected {_PROTOBUF} as the first (media) part, got {content_type} content-type\n",
        )
    for parameter in parameters:
        pair = parameter.strip().split("=")
        if len(pair) != 2:
            raise Refused(
                415,
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be"
                f" key-values, got {parameter} in {content_type} content-type\n",
            )
        if pair[0] == "proto":
            if pair[1] not in _MESSAGES:
                known = ", ".join(_MESSAGES)
                raise Refused(
                    415,
                    f"got {content_type} content type; unknown type for remote write protobuf "
                    f"message {pair[1]}, supported: {known}\n",
                )
            return _MESSAGES[pair[1]]
    return "remote_write"


def _check_encoding(encoding: str) -> None:
    # Absent means snappy all the same: clients of 1.0 left it out.
    if encoding and encoding.lower() != "snappy":
        raise Refused(
            415,
            f"{encoding} encoding (compression) is not accepted by this server; "
            "only snappy is acceptable\n",
        )


def _answer(rows: MetricRows, fmt: str) -> Response:
    told = problems_to_tell(rows.problems, fmt)
    headers = _written(rows, fmt)
    if told:
        return PlainTextResponse("\n".join(told) + "\n", 400, headers)
    return Response(status_code=204, headers=headers)


def problems_to_tell(problems: Iterable[Problem], fmt: str) -> list[str]:
    """What the sender must hear of. With 1.0, series with invalid labels are left out silently."""
    return [
        f"{problem.text} ({problem.samples} samples not taken)"
        for problem in problems
        if fmt != "remote_write" or problem.reason != "invalid_labels"
    ]


def _written(rows: MetricRows | None, fmt: str) -> Mapping[str, str]:
    """What was taken, as 2.0 demands in every answer."""
    if fmt != "remote_write_v2":
        return {}
    prefix = "X-Prometheus-Remote-Write"
    return {
        f"{prefix}-Samples-Written": str(rows.samples if rows else 0),
        f"{prefix}-Histograms-Written": str(len(rows.histograms) if rows else 0),
        f"{prefix}-Exemplars-Written": str(len(rows.exemplars) if rows else 0),
    }
