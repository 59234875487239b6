"""Middleware for WSGI applications: one server span for each request, to the last byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from exporters.records import TagValue

from ..context import use_span
from ..kinds import SpanKind
from . import errors, http
from .exchange import Exchange
from .routes import wsgi_route
from .server import start_server_span

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]


class WsgiMiddleware:
    """Wraps a WSGI application.

    The span is current while the application runs and while its iterable is read, and lasts
    until the server closes the iterable. It fails with the exception that leaves the application,
    that Flask or Django answers 500 for, or that another application says by
    ``environ["lookout.error"]`` as it does.

    :param exclude: paths that are passed on untraced, with everything below them.
    """

    def __init__(self, app: WsgiApp, *, exclude: Iterable[str] = ()) -> None:
        self.app = app
        self._exclude = tuple(exclude)
        errors.watch()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if any(path == item or path.startswith(f"{item}/") for item in self._exclude):
            return self.app(environ, start_response)
        exchange = _exchange(environ)
        environ[errors.ERROR] = None  # may be said; taken away, as tracebacks refer to the environ

        def answered(status: str, headers: Any, *more: Any) -> Any:
            # Only now: Flask forgets the request when the application returns.
            exchange.routed(wsgi_route(environ))
            exchange.answered(_status_code(status), environ.pop(errors.ERROR, None))
            return start_response(status, headers, *more)

        try:
            with use_span(exchange.span):
                body = self.app(environ, answered)
        except BaseException as error:
            environ.pop(errors.ERROR, None)
            exchange.failed(error)
            exchange.routed(wsgi_route(environ))
            exchange.end()
            raise
        return _Body(body, exchange)


class _Body:
    """The application's iterable: read with the span current, ended when it is closed."""

    def __init__(self, body: Iterable[bytes], exchange: Exchange) -> None:
        self._body, self._exchange = body, exchange
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        try:
            with use_span(self._exchange.span):
                if self._chunks is None:
                    self._chunks = iter(self._body)
                return next(self._chunks)
        except StopIteration:
            self._exchange.end()
            raise
        except BaseException as error:
            self._exchange.failed(error)
            self._exchange.end()
            raise

    def close(self) -> None:
        """What the server calls in the end, also when the client has gone."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                with use_span(self._exchange.span):
                    close()
        finally:
            self._exchange.end()


def _status_code(status: str) -> int:
    digits = status[:3]
    return int(digits) if digits.isdigit() else 0


def _exchange(environ: Environ) -> Exchange:
    method = environ.get("REQUEST_METHOD") or "GET"
    scheme = environ.get("wsgi.url_scheme") or "http"
    tags: dict[str, TagValue] = {
        **http.method_tags(method),
        "url.scheme": scheme,
        "url.path": f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}",
        **_optional_tags(environ),
    }
    headers = _headers(environ)
    name = http.span_name(method, None)
    return Exchange(
        "server", method, scheme, start_server_span(name, SpanKind.SERVER, headers, tags)
    )


def _optional_tags(environ: Environ) -> dict[str, TagValue]:
    found: dict[str, TagValue] = {}
    for key, tag in (
        ("QUERY_STRING", "url.query"),
        ("REMOTE_ADDR", "client.address"),
        ("SERVER_NAME", "server.address"),
        ("HTTP_USER_AGENT", "user_agent.original"),
    ):
        if environ.get(key):
            found[tag] = environ[key]
    if str(environ.get("SERVER_PORT", "")).isdigit():
        found["server.port"] = int(environ["SERVER_PORT"])
    protocol = str(environ.get("SERVER_PROTOCOL", ""))
    if protocol.startswith("HTTP/"):
        found["network.protocol.version"] = protocol[5:]
    return found


def _headers(environ: Environ) -> dict[str, str]:
    return {
        key[5:].replace("_", "-").lower(): str(value)
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
