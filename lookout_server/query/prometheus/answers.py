"""The envelope of API answers: success with data, warnings and infos, or an error by type."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .errors import QueryError
from .render import dumps

_JSON = "application/json"
#: Smaller answers are not worth compressing.
_GZIP_BYTES = 1024
#: Fast: level 1 makes 1/12 of wide results, level 6 takes four times as long for 1/15.
_GZIP_LEVEL = 1
#: Answers larger than this are sent while they are still being rendered.
_STREAM_BYTES = 1_000_000
#: Warnings and infos shown of each.
SHOWN = 10


class NotFound(QueryError):
    """There is no such thing."""

    error_type: ClassVar[str] = "not_found"
    status: ClassVar[int] = 404


class Unavailable(QueryError):
    """Switched off or not ready. Prometheus has no status of its own for it and answers 500."""

    error_type: ClassVar[str] = "unavailable"
    status: ClassVar[int] = 500


def success(
    request: Request,
    data: bytes | Iterable[bytes],
    warnings: Sequence[str] = (),
    infos: Sequence[str] = (),
) -> Response:
    """``{"status":"success","data":...}`` around rendered data.

    Of data in pieces only the first are taken here: a wide answer is streamed, so that its JSON is
    never in memory as a whole.
    """
    pieces = chain(
        [b'{"status":"success","data":'],
        [data] if isinstance(data, bytes) else data,
        [b',"warnings":' + dumps(list(warnings)) if warnings else b""],
        [b',"infos":' + dumps(list(infos)) if infos else b""],
        [b"}"],
    )
    begun, size = [], 0
    for piece in pieces:
        begun.append(piece)
        size += len(piece)
        if size > _STREAM_BYTES:
            return _streamed(request, chain(begun, pieces))
    return compressed(request, b"".join(begun), _JSON)


def _streamed(request: Request, pieces: Iterator[bytes]) -> Response:
    headers = {"Vary": "Accept-Encoding"}
    if _accepts_gzip(request.headers.get("accept-encoding", "")):
        pieces = _gzipped(pieces)
        headers["Content-Encoding"] = "gzip"
    return StreamingResponse(pieces, media_type=_JSON, headers=headers)


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def failure(error: QueryError) -> Response:
    """``{"status":"error","errorType":...,"error":...}`` with the status of its type."""
    body = {"status": "error", "errorType": error.error_type, "error": str(error)}
    return Response(dumps(body), error.status, media_type=_JSON)


def compressed(request: Request, body: bytes, media_type: str) -> Response:
    """A body, compressed if the client takes that."""
    headers = {"Vary": "Accept-Encoding"}
    accepted = request.headers.get("accept-encoding", "")
    if len(body) >= _GZIP_BYTES and _accepts_gzip(accepted):
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=media_type, headers=headers)


def _accepts_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        if coding in ("gzip", "*"):
            return "q=0" not in parameters
    return False
