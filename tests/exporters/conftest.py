"""Spans to send and servers to send them to."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from exporters.backoff import Backoff
from exporters.collector import CollectorDestination
from exporters.flusher import Flusher
from exporters.ledger import Ledger
from exporters.records import EventRecord, LinkRecord, Resource
from exporters.ring import Ring
from exporters.sender import Limits

SERVICE = Resource("shop", {"host.ip": "10.0.0.7"})


@dataclass(slots=True)
class Span:
    """The plainest thing that is a SpanRecord."""

    trace_id: int = 0x0AF7651916CD43DD8448EB211C80319C
    span_id: int = 0xB7AD6B7169203331
    parent_id: int = 0
    name: str = "get /basket"
    kind: int = 0
    start_ns: int = 1_700_000_000_123_456_789
    duration_ns: int = 12_345_678
    tags: Mapping[str, Any] | None = None
    events: Sequence[EventRecord] | None = None
    links: Sequence[LinkRecord] | None = None
    status: int = 0
    status_text: str = ""
    flags: int = 1
    tracestate: str = ""
    resource: Resource = SERVICE
    scope: str = ""
    rpc_id: str = "0.1"
    baggage: Mapping[str, str] | None = None
    losses: Mapping[str, int] | None = None


@pytest.fixture
def span() -> Callable[..., Span]:
    """Makes a span; keywords override its fields."""
    return Span


@pytest.fixture
def spans() -> Callable[[int], list[Span]]:
    """Makes ``n`` spans with span ids 1..n."""
    return lambda count: [Span(span_id=number) for number in range(1, count + 1)]


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return once the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., None]:
    return wait_until


def assert_quiet(ledger: Ledger, destination: str) -> None:
    """At a quiet moment what the ledger has left over is what waits, counted at its places."""
    snapshot = ledger.snapshot()
    account = snapshot["destinations"][destination]
    assert account["in_flight"] == snapshot["waiting_in_ring"] + account["waiting"]


@pytest.fixture(name="assert_quiet")
def _assert_quiet() -> Callable[[Ledger, str], None]:
    return assert_quiet


@dataclass
class Request:
    """What a receiver was sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP server that keeps what it is sent and answers as told."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    #: Answers to the next requests: a status, or (status, headers). Then 202.
    answers: list[int | tuple[int, dict[str, str]]] = field(default_factory=list)
    #: While cleared, requests are not answered.
    answering: threading.Event = field(default_factory=threading.Event)

    @property
    def spans(self) -> list[dict[str, Any]]:
        """The spans of all requests answered with 202."""
        return [item for request in self.requests for item in request.json]

    @property
    def ids(self) -> list[int]:
        return [int(item["id"], 16) for item in self.spans]


def decoded(body: bytes, encoding: str | None) -> bytes:
    if encoding == "zstd":
        import cramjam

        return bytes(cramjam.zstd.decompress(body))
    return gzip.decompress(body) if encoding == "gzip" else body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.receiver.answering.wait(30)
        answer = self.receiver.answers.pop(0) if self.receiver.answers else 202
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        if status == 202:
            plain = decoded(body, self.headers.get("Content-Encoding"))
            self.receiver.requests.append(Request(self.path, dict(self.headers), plain))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def serve() -> Iterator[Callable[..., Receiver]]:
    """Starts a receiver, on a given port and with TLS when told."""
    servers: list[tuple[ThreadingHTTPServer, Receiver]] = []

    def start(port: int = 0, tls: ssl.SSLContext | None = None) -> Receiver:
        receiver = Receiver()
        receiver.answering.set()
        handler = type("Handler", (_Handler,), {"receiver": receiver})
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        server.daemon_threads = True
        server.handle_error = lambda *about: None  # type: ignore[method-assign]  # as nobody reads it
        if tls is not None:
            # The handshake is the handler's, after which the server closes the socket also when
            # it fails; accept() would leave a socket whose handshake failed to the collector.
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if tls is None else "https"
        receiver.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append((server, receiver))
        return receiver

    yield start
    for server, receiver in servers:
        receiver.answering.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver(serve: Callable[..., Receiver]) -> Receiver:
    """A running receiver."""
    return serve()


@pytest.fixture
def closed_port() -> int:
    """A port nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


QUICK = Limits(linger_s=0.01, timeout_s=5.0)


class Rig:
    """A ring, a flusher and one collector destination."""

    def __init__(self, urls: str | list[str], limits: Limits = QUICK, **options: Any) -> None:
        self.ledger = Ledger("shop")
        self.destination = CollectorDestination(urls, limits=limits, **options)
        self.destination._backoff = Backoff(0.02, 0.05)
        self.ring: Ring[Any] = Ring(65_536)
        self.flusher = Flusher(self.ring, [self.destination], ledger=self.ledger, interval_s=0.01)

    def offer(self, spans: list[Any]) -> None:
        for span in spans:
            self.ring.offer(span)

    @property
    def report(self) -> Any:
        report = self.ledger.report("collector")
        assert report.balanced
        return report


@pytest.fixture
def rig() -> Any:
    rigs: list[Rig] = []

    def make(*arguments: Any, **options: Any) -> Rig:
        rigs.append(Rig(*arguments, **options))
        return rigs[-1]

    yield make
    for each in rigs:
        each.flusher.shutdown(0.2)
