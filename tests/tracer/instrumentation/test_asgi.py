"""The ASGI middleware, under Starlette and under bare ASGI applications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from exporters.records import SERVER, STATUS_ERROR
from tracer.api import start_span
from tracer.context import current_span
from tracer.instrumentation.asgi import AsgiMiddleware
from tracer.span import Span

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def item(request: Request) -> Response:
    with start_span("inside"):
        await asyncio.sleep(0)
    return PlainTextResponse(request.path_params["id"])


async def teapot(request: Request) -> Response:
    return PlainTextResponse("short and stout", status_code=418)


async def unwell(request: Request) -> Response:
    return PlainTextResponse("no", status_code=503)


async def broken(request: Request) -> Response:
    raise ValueError("on purpose")


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(3):
            with start_span(f"chunk {number}"):
                yield b"x"

    return StreamingResponse(chunks())


async def later(request: Request) -> Response:
    async def work() -> None:
        with start_span("background"):
            await asyncio.sleep(0)

    return PlainTextResponse("ok", background=BackgroundTask(work))


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


app = AsgiMiddleware(
    Starlette(
        routes=[
            Route("/items/{id}", item),
            Mount("/shop", routes=[Route("/items/{id}", item)]),
            Route("/teapot", teapot),
            Route("/unwell", unwell),
            Route("/broken", broken),
            Route("/stream", stream),
            Route("/later", later),
            Route("/metrics", teapot),
            WebSocketRoute("/echo/{room}", echo),
        ]
    ),
    exclude=["/metrics"],
)


async def get(path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        return await client.get(path, headers=headers)


def server_span(spans: list[Span]) -> Span:
    (found,) = [span for span in spans if span.kind == SERVER]
    return found


async def test_a_request_is_one_server_span_named_by_its_route(spans: list[Span]) -> None:
    """Method and template name the span; the path and the host are tags."""
    await get("/items/42?color=red")
    span = server_span(spans)
    assert span.name == "GET /items/{id}"
    assert span.tags is not None
    assert span.tags["http.route"] == "/items/{id}"
    assert span.tags["url.path"] == "/items/42"
    assert span.tags["url.query"] == "color=red"
    assert span.tags["http.response.status_code"] == 200
    assert span.tags["server.address"] == "shop.test"


async def test_a_mounted_route_has_its_whole_template(spans: list[Span]) -> None:
    """The mount's path stands before the route's."""
    await get("/shop/items/42")
    assert server_span(spans).name == "GET /shop/items/{id}"


async def test_an_unknown_path_never_names_a_span(spans: list[Span]) -> None:
    """Without a route the name is the method alone: paths would be names without end."""
    await get("/no/such/path/4711")
    assert server_span(spans).name == "GET"


async def test_the_handler_runs_in_the_request_s_span(spans: list[Span]) -> None:
    """Spans started by the handler are children of the server span, in the caller's trace."""
    await get("/items/42", traceparent=PARENT)
    inside = next(span for span in spans if span.name == "inside")
    span = server_span(spans)
    assert inside.parent_id == span.span_id
    assert f"{span.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{span.parent_id:016x}" == "b7ad6b7169203331"
    assert not current_span().is_recording()


async def test_an_unsampled_caller_is_not_overruled(spans: list[Span]) -> None:
    """Sampled 0 in the caller's header means no spans here."""
    await get("/items/42", traceparent=PARENT[:-1] + "0")
    assert spans == []


@pytest.mark.parametrize(
    ("path", "status", "error"), [("/teapot", 418, False), ("/unwell", 503, True)]
)
async def test_only_server_errors_are_errors(
    spans: list[Span], path: str, status: int, error: bool
) -> None:
    """A 4xx is the caller's fault, a 5xx is ours."""
    await get(path)
    span = server_span(spans)
    assert span.tags is not None
    assert span.tags["http.response.status_code"] == status
    assert (span.status == STATUS_ERROR) is error
    assert ("error.type" in span.tags) is error


async def test_an_exception_is_recorded_and_passed_on(spans: list[Span]) -> None:
    """The exception's type marks the span, and the server still sees the exception."""
    with pytest.raises(ValueError, match="on purpose"):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://t"
        ) as client:
            await client.get("/broken")
    span = server_span(spans)
    assert span.status == STATUS_ERROR
    assert span.tags is not None and span.tags["error.type"] == "ValueError"
    assert span.name == "GET /broken"


async def test_a_streamed_response_is_one_span_to_its_last_byte(spans: list[Span]) -> None:
    """The chunks' spans are children, and all end before the server span."""
    await get("/stream")
    assert [span.name for span in spans] == ["chunk 0", "chunk 1", "chunk 2", "GET /stream"]
    assert {span.parent_id for span in spans[:3]} == {spans[3].span_id}


async def test_background_tasks_do_not_prolong_the_request(spans: list[Span]) -> None:
    """The server span ends with the response; what runs after it is still its child."""
    await get("/later")
    assert [span.name for span in spans] == ["GET /later", "background"]
    assert spans[1].parent_id == spans[0].span_id


async def test_excluded_paths_make_no_spans(
    spans: list[Span], requests_seen: list[tuple[str, dict[str, Any]]]
) -> None:
    """/metrics is neither traced nor counted, nor is what lies below it."""
    assert (await get("/metrics")).status_code == 418
    await get("/metrics/x")
    assert spans == [] and requests_seen == []
    await get("/metricsx")
    assert len(spans) == 1


def test_a_websocket_is_one_span(spans: list[Span]) -> None:
    """From the handshake to the close."""
    with TestClient(app) as client, client.websocket_connect("/echo/blue") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
    span = server_span(spans)
    assert span.name == "GET /echo/{room}"
    assert span.tags is not None and span.tags["http.response.status_code"] == 101


async def test_a_client_that_goes_away_ends_the_span(spans: list[Span]) -> None:
    """Cancellation in the middle of a response finishes the span, once."""

    async def hanging(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        started.set()

    started = asyncio.Event()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    task = asyncio.create_task(AsgiMiddleware(hanging)(scope, receive, send))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [span.name for span in spans] == ["GET"]
    assert spans[0].tags is not None and spans[0].tags["error.type"] == "CancelledError"


async def test_the_observers_hear_of_every_request(
    spans: list[Span], requests_seen: list[tuple[str, dict[str, Any]]]
) -> None:
    """Sampled or not, each request is told once with the tags of its metric."""
    await get("/items/42", traceparent=PARENT[:-1] + "0")
    await get("/unwell")
    assert requests_seen == [
        ("server", {"http.request.method": "GET", "url.scheme": "http",
                    "http.route": "/items/{id}", "http.response.status_code": 200}),
        ("server", {"http.request.method": "GET", "url.scheme": "http", "http.route": "/unwell",
                    "http.response.status_code": 503, "error.type": "503"}),
    ]  # fmt: skip


async def test_a_strange_method_cannot_invent_names(
    spans: list[Span], requests_seen: list[tuple[str, dict[str, Any]]]
) -> None:
    """An unknown method is HTTP in the name, _OTHER in the metric, and itself in a tag."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        await client.request("BREW", "/nowhere")
    span = server_span(spans)
    assert span.name == "HTTP"
    assert span.tags is not None and span.tags["http.request.method_original"] == "BREW"
    assert requests_seen[0][1]["http.request.method"] == "_OTHER"
