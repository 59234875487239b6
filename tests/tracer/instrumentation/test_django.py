"""Django below our WSGI and ASGI middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from exporters.records import STATUS_ERROR
from tracer.instrumentation.asgi import AsgiMiddleware
from tracer.instrumentation.wsgi import WsgiMiddleware
from tracer.span import Span

pytest.importorskip("django", reason="Django")

from .django_site import configure


def _by_wsgi(path: str) -> int:
    from django.core.handlers.wsgi import WSGIHandler

    configure()
    transport = httpx.WSGITransport(WsgiMiddleware(WSGIHandler()))
    with httpx.Client(transport=transport, base_url="http://shop") as client:
        return client.get(path).status_code


def _by_asgi(path: str) -> int:
    from django.core.handlers.asgi import ASGIHandler

    configure()
    transport = httpx.ASGITransport(AsgiMiddleware(ASGIHandler()))

    async def ask() -> int:
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return (await client.get(path)).status_code

    return asyncio.run(ask())


Ask = Callable[[str], int]
both = pytest.mark.parametrize("ask", [_by_wsgi, _by_asgi])


@both
def test_the_route_names_the_span(ask: Ask, spans: list[Span]) -> None:
    """``GET /items/<int:number>/``, not the path of this one request."""
    assert ask("/items/5/") == 200
    (span,) = spans
    assert span.name == "GET /items/<int:number>/"
    assert span.tags is not None and span.tags["http.route"] == "/items/<int:number>/"


@both
def test_an_exception_django_answers_is_an_error(ask: Ask, spans: list[Span]) -> None:
    """A view that raises becomes a 500, and the span an error with a regular expression's route and
    the exception, its stack down to the view."""
    assert ask("/old/broken") == 500
    (span,) = spans
    assert (span.name, span.status) == ("GET /old/broken$", STATUS_ERROR)
    assert span.tags is not None and span.tags["error.type"] == "ValueError"
    (event,) = span.events or ()
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "on purpose"
    assert "in broken" in str(event.attributes["exception.stacktrace"])
    assert event.attributes["exception.escaped"] is False


@both
def test_a_page_that_is_not_found_is_no_exception(ask: Ask, spans: list[Span]) -> None:
    """What Django answers with less than 500 leaves no event."""
    assert ask("/nothing") == 404
    assert not spans[0].events


@both
def test_a_path_without_a_route_names_nothing(ask: Ask, spans: list[Span]) -> None:
    """404: only the method, so that scanners cannot invent names."""
    assert ask("/nothing") == 404
    assert spans[0].name == "GET"
