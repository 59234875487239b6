"""Middleware for ASGI applications: one server span for each HTTP request and WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from exporters.records import TagValue

from ..context import use_span
from ..kinds import SpanKind
from ..span import Span
from . import errors, http
from .exchange import Exchange
from .lifespan import lifespan
from .routes import asgi_route
from .server import start_server_span

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiMiddleware:
    """Wraps an ASGI 3 application.

    The span lasts until the last byte of the response is handed to the server; background tasks
    that run after it are children of the finished span. A streamed response is one span.
    It fails with the exception that leaves the application, that Django answers 500 for, or that is
    said as ``scope["lookout.error"]`` by one that does.

    When the application has answered ``lifespan.shutdown``, what is finished is flushed before the
    server hears of it, within the exit timeout: uvicorn ends itself by SIGTERM then, and nothing
    that runs at exit runs. An application without lifespan gets one for this.

    :param exclude: paths that are passed on untraced, with everything below them
        (``"/metrics"`` also excludes ``/metrics/x``).
    """

    def __init__(self, app: AsgiApp, *, exclude: Iterable[str] = ()) -> None:
        self.app = app
        self._exclude = tuple(exclude)
        errors.watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(self.app, scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket") or self._excluded(scope.get("path", "")):
            await self.app(scope, receive, send)
            return
        exchange = _exchange(scope)
        scope[errors.ERROR] = None  # may be said; taken away, as tracebacks refer to the scope
        # Not ``with span:``: what still runs after the response stays below the finished span.
        with use_span(exchange.span):
            try:
                await self.app(scope, receive, _watching(exchange, scope, send))
            except BaseException as error:
                exchange.failed(error)
                raise
            finally:
                scope.pop(errors.ERROR, None)
                exchange.routed(asgi_route(scope))
                exchange.end()

    def _excluded(self, path: str) -> bool:
        return any(path == item or path.startswith(f"{item}/") for item in self._exclude)


def _exchange(scope: Scope) -> Exchange:
    headers = _Headers(scope.get("headers") or ())
    method = scope.get("method") or "GET"
    scheme = scope.get("scheme") or ("ws" if scope["type"] == "websocket" else "http")
    return Exchange("server", method, scheme, _start(scope, headers, method, scheme))


def _start(scope: Scope, headers: _Headers, method: str, scheme: str) -> Span:
    tags: dict[str, TagValue] = {
        **http.method_tags(method),
        "url.scheme": scheme,
        "url.path": scope.get("path", ""),
    }
    if scope.get("query_string"):
        tags["url.query"] = scope["query_string"].decode("latin-1")
    if scope.get("http_version"):
        tags["network.protocol.version"] = scope["http_version"]
    if scope.get("client"):
        tags["client.address"] = scope["client"][0]
    if scope.get("server"):
        tags["server.address"], port = scope["server"][0], scope["server"][1]
        if port is not None:
            tags["server.port"] = port
    if agent := headers.get("user-agent"):
        tags["user_agent.original"] = agent
    return start_server_span(http.span_name(method, None), SpanKind.SERVER, headers, tags)


def _watching(exchange: Exchange, scope: Scope, send: Send) -> Send:
    async def watched(message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            exchange.answered(message["status"], scope.pop(errors.ERROR, None))
        elif kind == "websocket.accept":
            exchange.answered(101)
        await send(message)
        last = kind == "http.response.body" and not message.get("more_body")
        # After a 5xx the exception behind it is likely to follow; it says more than the status.
        if last and (exchange.status or 0) < 500:
            exchange.routed(asgi_route(scope))
            exchange.end()

    return watched


class _Headers(Mapping[str, str]):
    """ASGI's list of byte pairs as a mapping of lower-case names; repeated ones are joined."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self._values[key] = f"{self._values[key]},{text}" if key in self._values else text

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
