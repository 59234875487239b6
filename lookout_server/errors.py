"""Answers to what handlers raise, for the protocols without an error format of their own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from .http import Refused
from .signal import Malformed
from .store.port import StoreError, StoreLimit, StoreUnavailable

log = logging.getLogger("lookout.http")

Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _malformed(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 400)


async def _limit(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"the query ran into a limit: {error}", 503)


async def _unavailable(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"the database is not available: {error}", 503, {"Retry-After": "5"})


async def _store(request: Request, error: Exception) -> Response:
    log.error("%s %s: %s", request.method, request.url.path, error)
    return PlainTextResponse("the database failed on this request", 500)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server's error middleware raises it again, and the log gets the traceback.
    return PlainTextResponse("internal error", 500)


HANDLERS: Mapping[Any, Handler] = {
    Refused: _refused,
    Malformed: _malformed,
    ClientDisconnect: _gone,
    StoreLimit: _limit,
    StoreUnavailable: _unavailable,
    StoreError: _store,
    Exception: _unexpected,
}
