"""The WSGI middleware, under Flask and under bare WSGI applications."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, abort
from werkzeug.test import Client

from exporters.records import STATUS_ERROR
from tracer.api import start_span
from tracer.context import current_span
from tracer.instrumentation.wsgi import WsgiMiddleware
from tracer.span import Span

flask_app = Flask("shop")


@flask_app.get("/items/<int:number>")
def item(number: int) -> str:
    with start_span("inside"):
        return str(number)


@flask_app.get("/missing")
def missing() -> str:
    abort(404)


@flask_app.get("/broken")
def broken() -> str:
    raise ValueError("on purpose")


flask_client = Client(WsgiMiddleware(flask_app.wsgi_app, exclude=["/metrics"]))


def ask(path: str, **headers: str) -> str:
    """The body of an answer, read to its end and closed, as servers do."""
    with flask_client.get(path, headers=headers) as response:
        return str(response.get_data(as_text=True))


class Body:
    """An iterable with a close, as WSGI servers get from applications."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks, self.closed = iter(chunks), 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with start_span("chunk"):
            chunk = next(self.chunks)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self) -> None:
        self.closed += 1


def call(body: Any) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return body

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http"}
    return WsgiMiddleware(app)(environ, lambda status, headers, exc_info=None: None)


def test_a_flask_request_is_named_by_its_rule(spans: list[Span]) -> None:
    """Method and rule name the span; the handler's spans are its children."""
    assert ask("/items/7?x=1") == "7"
    inside, server = spans
    assert server.name == "GET /items/<int:number>"
    assert inside.parent_id == server.span_id
    assert server.tags is not None
    assert server.tags["url.path"] == "/items/7"
    assert server.tags["url.query"] == "x=1"
    assert server.tags["http.response.status_code"] == 200


def test_the_caller_s_trace_goes_on(spans: list[Span]) -> None:
    """W3C and B3 headers are understood."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    ask("/items/7", traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    ask("/items/7", b3=f"{trace_id}-b7ad6b7169203331-1")
    servers = [span for span in spans if span.name.startswith("GET")]
    assert [f"{span.trace_id:032x}" for span in servers] == [trace_id, trace_id]
    assert [f"{span.parent_id:016x}" for span in servers] == ["b7ad6b7169203331"] * 2


def test_only_server_errors_are_errors(spans: list[Span]) -> None:
    """A 404 is no error; an exception that Flask turns into a 500 is one."""
    ask("/missing")
    ask("/broken")
    assert [(span.name, span.status == STATUS_ERROR) for span in spans] == [
        ("GET /missing", False),
        ("GET /broken", True),
    ]


def test_the_exception_behind_a_500_of_flask_s_is_recorded(spans: list[Span]) -> None:
    """Flask answers for the view: the span has the exception's type, message and stack."""
    ask("/broken")
    (server,) = spans
    assert server.tags is not None
    assert server.tags["error.type"] == "ValueError"
    assert server.tags["http.response.status_code"] == 500
    (event,) = server.events or ()
    told = event.attributes or {}
    assert told["exception.type"] == "ValueError" and told["exception.message"] == "on purpose"
    assert "in broken" in str(told["exception.stacktrace"])
    assert not told.get("exception.escaped")


def test_an_exception_that_flask_passes_on_is_recorded_once(
    spans: list[Span], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tests and debug mode it reaches the middleware too."""
    monkeypatch.setitem(flask_app.config, "PROPAGATE_EXCEPTIONS", True)
    with pytest.raises(ValueError, match="on purpose"):
        ask("/broken")
    assert len(spans[0].events or ()) == 1


def test_a_handled_exception_is_no_error(spans: list[Span]) -> None:
    """What an error handler answers well is no failure; an environ keeps no exception."""
    app = Flask("calm")
    app.add_url_rule("/", view_func=broken)
    app.register_error_handler(500, lambda error: ("all is well", 200))
    kept: list[Any] = []

    def outer(environ: Any, start_response: Any) -> Any:
        kept.append(environ)
        return WsgiMiddleware(app.wsgi_app)(environ, start_response)

    with Client(outer).get("/") as response:
        assert response.status_code == 200
    assert spans[0].status != STATUS_ERROR and not spans[0].events
    assert "lookout.error" not in kept[0]


def test_an_application_may_say_what_failed(spans: list[Span]) -> None:
    """Any framework's error handler can hand its exception over in the environ."""

    def app(environ: Any, start_response: Any) -> Any:
        environ["lookout.error"] = KeyError("stock")
        start_response("503 Service Unavailable", [])
        return []

    with Client(WsgiMiddleware(app)).get("/"):
        pass
    assert spans[0].tags is not None and spans[0].tags["error.type"] == "KeyError"


def test_the_span_lasts_until_the_iterable_is_closed(spans: list[Span]) -> None:
    """Work done while the body is read is inside the span, and close is passed on."""
    body = Body(b"a", b"b")
    result = call(body)
    assert next(result) == b"a" and next(result) == b"b"
    assert not current_span().is_recording()
    result.close()
    assert body.closed == 1
    server = spans[-1]
    assert server.name == "GET"
    assert {span.parent_id for span in spans[:-1]} == {server.span_id}


def test_a_client_that_goes_away_ends_the_span(spans: list[Span]) -> None:
    """A body closed before its end finishes the span all the same."""
    result = call(Body(b"a", b"b"))
    next(result)
    result.close()
    assert [span.name for span in spans] == ["chunk", "GET"]


def test_an_exception_in_the_body_is_recorded_and_passed_on(spans: list[Span]) -> None:
    """What the iterable raises marks the span, and the server still sees it."""
    result = call(Body(b"a", ValueError("on purpose")))
    next(result)
    with pytest.raises(ValueError, match="on purpose"):
        next(result)
    result.close()
    server = spans[-1]
    assert server.status == STATUS_ERROR
    assert server.tags is not None and server.tags["error.type"] == "ValueError"
    assert server.events is not None
    assert (server.events[0].attributes or {})["exception.escaped"] is True
    assert [span.name for span in spans].count("GET") == 1


def test_the_observers_hear_of_every_request(
    requests_seen: list[tuple[str, dict[str, Any]]], spans: list[Span]
) -> None:
    """Method, route and status are the tags of the duration metric."""
    ask("/items/7")
    assert requests_seen == [
        ("server", {"http.request.method": "GET", "url.scheme": "http",
                    "http.route": "/items/<int:number>", "http.response.status_code": 200}),
    ]  # fmt: skip
