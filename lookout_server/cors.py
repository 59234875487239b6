"""Which web pages may use the query API: the answers Zipkin's server gives.

Starlette's middleware says ``Vary: Origin`` in every answer; Zipkin's only where the origin was
allowed by name, and a cache in front of a query API should not be split for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PATHS = re.compile(r"/(zipkin/|prometheus/)?api/v[12]/.*")
_METHODS = "GET,POST"
_HEADERS = "content-type,authorization,x-scope-orgid"
#: What pages may read of an answer beyond its body: where the next page of traces begins.
_EXPOSED = "X-Lookout-Next-Cursor"


class QueryCors:
    """CORS for the paths under ``/api``: GET and POST, no credentials; nothing without origins."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._any = "*" in origins
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        granted = self._granted(scope) if scope["type"] == "http" else None
        if granted is None:
            await self._app(scope, receive, send)
        elif _is_preflight(scope):
            await Response(status_code=204, headers=granted)(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send, granted))

    def _granted(self, scope: Scope) -> dict[str, str] | None:
        """The headers to answer with; None where the page's origin is not allowed."""
        origin = Headers(scope=scope).get("origin")
        if origin is None or not _PATHS.fullmatch(scope["path"]):
            return None
        headers = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _HEADERS,
            "Access-Control-Expose-Headers": _EXPOSED,
        }
        if self._any:
            return {"Access-Control-Allow-Origin": "*", **headers}
        if origin in self._origins:
            return {"Access-Control-Allow-Origin": origin, "Vary": "origin", **headers}
        return None


def _is_preflight(scope: Scope) -> bool:
    asked = "access-control-request-method" in Headers(scope=scope)
    return scope["method"] == "OPTIONS" and asked


def _with_headers(send: Send, granted: dict[str, str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in granted.items():
                if name == "Vary":
                    headers.add_vary_header(value)
                else:
                    headers[name] = value
        await send(message)

    return sending
