"""httpx, requests, urllib3 and aiohttp, against a real server on this machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import requests
import urllib3

from exporters.records import CLIENT, STATUS_ERROR
from exporters.suppression import suppressed
from tracer.api import start_span
from tracer.instrumentation import CLIENTS, instrument, uninstrument
from tracer.span import Span


class Handler(BaseHTTPRequestHandler):
    """Answers the status in the path; remembers the headers; ``/go`` redirects."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        if self.path == "/go":
            self.send_response(302)
            self.send_header("Location", "/200")
        else:
            self.send_response(int(self.path.strip("/").partition("?")[0]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Handler.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    instrument()
    Handler.seen = []
    yield
    uninstrument()


def with_httpx(url: str) -> int:
    with httpx.Client(follow_redirects=True) as client:
        return client.get(url).status_code


def with_async_httpx(url: str) -> int:
    async def ask() -> int:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            return (await client.get(url)).status_code

    return asyncio.run(ask())


def with_requests(url: str) -> int:
    with requests.Session() as session:
        return session.get(url).status_code


def with_urllib3(url: str) -> int:
    retries = urllib3.Retry(connect=0, redirect=3)
    with urllib3.PoolManager(retries=retries) as pool:
        return pool.request("GET", url).status


def with_aiohttp(url: str) -> int:
    aiohttp = pytest.importorskip("aiohttp")

    async def ask() -> int:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return int(response.status)

    return asyncio.run(ask())


every_client = pytest.mark.parametrize(
    "ask", [with_httpx, with_async_httpx, with_requests, with_urllib3, with_aiohttp]
)
Ask = Callable[[str], int]


@every_client
def test_a_request_is_a_client_span_and_carries_it(
    ask: Ask, server: str, spans: list[Span]
) -> None:
    """The server is sent the id of the client span, which is the child of the caller's."""
    with start_span("caller"):
        assert ask(f"{server}/200?q=1") == 200
    client, caller = spans
    assert (client.kind, client.name, client.parent_id) == (CLIENT, "GET", caller.span_id)
    assert client.tags is not None
    assert client.tags["url.full"] == f"{server}/200?q=1"
    assert client.tags["http.response.status_code"] == 200
    assert client.tags["server.address"] == "127.0.0.1"
    assert Handler.seen[0]["traceparent"] == (
        f"00-{client.trace_id:032x}-{client.span_id:016x}-{Handler.seen[0]['traceparent'][-2:]}"
    )


@every_client
def test_a_4xx_is_the_client_s_error(ask: Ask, server: str, spans: list[Span]) -> None:
    """For the one who asks, 404 is an error."""
    ask(f"{server}/404")
    assert spans[0].status == STATUS_ERROR
    assert spans[0].tags is not None and spans[0].tags["error.type"] == "404"


@every_client
def test_each_hop_of_a_redirect_is_a_span(ask: Ask, server: str, spans: list[Span]) -> None:
    """A redirect is two requests, and both can be seen."""
    ask(f"{server}/go")
    assert [span.tags["http.response.status_code"] for span in spans if span.tags] == [302, 200]


@every_client
def test_a_refused_connection_is_recorded_and_raised(ask: Ask, spans: list[Span]) -> None:
    """The caller gets the library's own exception; the span names it."""
    refused = (
        httpx.ConnectError,
        requests.ConnectionError,
        urllib3.exceptions.MaxRetryError,
        OSError,  # aiohttp's is one
    )
    with pytest.raises(refused) as raised:
        ask("http://127.0.0.1:9/")
    # urllib3 wraps the last attempt's in one of its own.
    error = getattr(raised.value, "reason", None) or raised.value
    (span,) = spans
    assert span.tags is not None
    assert span.tags["error.type"] == type(error).__name__


@every_client
def test_suppressed_requests_are_not_traced(ask: Ask, server: str, spans: list[Span]) -> None:
    """What an exporter sends makes no spans and carries no headers."""
    with suppressed():
        ask(f"{server}/200")
    assert spans == []
    assert "traceparent" not in Handler.seen[0]


@every_client
def test_uninstrumented_means_untouched(ask: Ask, server: str, spans: list[Span]) -> None:
    """Undone, nothing is traced any more; instrumenting twice is undone by once."""
    instrument()
    uninstrument()
    ask(f"{server}/200")
    assert spans == []


def test_an_unknown_name_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A name that cannot be instrumented is said with what is expected, and nothing raises."""
    instrument("telnet")
    assert caplog.messages == [f"cannot instrument 'telnet': expected one of {', '.join(CLIENTS)}"]


def test_credentials_in_a_url_are_not_recorded(server: str, spans: list[Span]) -> None:
    """User and password never reach a tag."""
    with_requests(server.replace("http://", "http://anna:secret@") + "/200")
    recorded: Any = spans[0].tags
    assert "secret" not in str(recorded) and "REDACTED" in recorded["url.full"]
