"""Answers of OTLP over HTTP, for any signal.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..http import Refused
from ..signal import Malformed

JSON, PROTOBUF = "application/json", "application/x-protobuf"
_INVALID_ARGUMENT, _UNAVAILABLE = 3, 14
_MESSAGE_BYTES = 4096


def media_type(request: Request) -> str:
    """The type a body is said to be, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(kind: str) -> Response:
    """The answer to a type that OTLP does not know (415)."""
    return PlainTextResponse(
        f"unsupported Content-Type {kind!r}; expected {PROTOBUF} or {JSON}\n", 415
    )


def answer(kind: str, response: Any, partial: dict[str, str] | None) -> Response:
    """Success, in the type of the request: a protobuf message, or its partial success as JSON."""
    if kind == JSON:
        return Response(
            orjson.dumps({"partialSuccess": partial} if partial else {}), media_type=JSON
        )
    return Response(response.SerializeToString(), media_type=PROTOBUF)


def failure(kind: str, error: Malformed | Refused) -> Response:
    """A ``google.rpc.Status`` in the type of the request."""
    malformed = isinstance(error, Malformed)
    status = 400 if isinstance(error, Malformed) else error.status
    code = _INVALID_ARGUMENT if malformed else _UNAVAILABLE
    text = str(error)
    body = orjson.dumps({"code": code, "message": text}) if kind == JSON else _status(code, text)
    headers = {} if isinstance(error, Malformed) else error.headers()
    return Response(body, status, media_type=kind, headers=headers)


def _status(code: int, message: str) -> bytes:
    """The protobuf form: its code in field 1, its message in field 2."""
    text = message.encode()[:_MESSAGE_BYTES]
    return bytes([0x08, code, 0x12, len(text) & 0x7F | 0x80, len(text) >> 7]) + text
