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

_API = re.compile(r"/(zipkin/|prometheus/)?api/v[12]/.*")
_ZIPKIN_QUERIES = re.compile(
    r"/(zipkin/)?api/v2/(services|spans|remoteServices|traces|trace/[^/]*|traceMany|dependencies"
    r"|autocompleteKeys|autocompleteValues)"
)
_PROMETHEUS = re.compile(r"/(prometheus/)?api/v1/.*")
_METHODS = "GET,POST"
#: Without origins named, a page of anywhere may ask, but send neither a token nor a tenant.
_PLAIN_HEADERS = "content-type"
_HEADERS = "content-type,authorization,x-scope-orgid"
#: What pages may read of an answer beyond its body: where the next page of traces begins.
_EXPOSED = "X-Lookout-Next-Cursor, X-Lookout-Linked"


class QueryCors:
    """CORS with GET and POST and without credentials.

    Without a setting any page may use Zipkin's query API, which is Zipkin's default, and nothing
    else: no ingest, PromQL, ledger or administration. ``origins`` are those whose pages may use
    all paths under ``/api``; an empty list switches everything off.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str] | None) -> None:
        self._app = app
        self._zipkin_only = origins is None
        self._any = origins is None or "*" in origins
        self._origins = frozenset(origins or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        granted = self._granted(scope)
        preflight = granted is not None and _is_preflight(scope)
        app = _NO_CONTENT if preflight or _asks_prometheus(scope) else self._app
        await app(scope, receive, send if granted is None else _with_headers(send, granted))

    def _granted(self, scope: Scope) -> dict[str, str] | None:
        """The headers to answer with; None where the page's origin is not allowed."""
        origin = Headers(scope=scope).get("origin")
        if origin is None or not self._covers(scope):
            return None
        headers = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _PLAIN_HEADERS if self._zipkin_only else _HEADERS,
            "Access-Control-Expose-Headers": _EXPOSED,
        }
        if self._any:
            return {"Access-Control-Allow-Origin": "*", **headers}
        if origin in self._origins:
            return {"Access-Control-Allow-Origin": origin, "Vary": "origin", **headers}
        return None

    def _covers(self, scope: Scope) -> bool:
        if not self._zipkin_only:
            return _API.fullmatch(scope["path"]) is not None
        # A POST to /api/v2/spans is no query: it brings spans.
        return _ZIPKIN_QUERIES.fullmatch(scope["path"]) is not None and _method(scope) in _SAFE


_SAFE = ("GET", "HEAD")
_NO_CONTENT = Response(status_code=204)


def _method(scope: Scope) -> str:
    """The request's method; of a preflight that of the request it asks for."""
    if _is_preflight(scope):
        return Headers(scope=scope)["access-control-request-method"]
    return str(scope["method"])


def _is_preflight(scope: Scope) -> bool:
    asked = "access-control-request-method" in Headers(scope=scope)
    return scope["method"] == "OPTIONS" and asked


def _asks_prometheus(scope: Scope) -> bool:
    """Whether it is OPTIONS on Prometheus' API, which has 204 for it whoever asks.

    Without the headers a page may do no more for it, but a proxy in front can add them.
    """
    return scope["method"] == "OPTIONS" and _PROMETHEUS.fullmatch(scope["path"]) is not None


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
