"""A small HTTP server for processes that have none: ``GET /metrics``."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from exporters.suppression import suppress_instrumentation

from ..default import REGISTRY
from ..registry import Registry
from .negotiation import Exposition

#: SOFALookout's port for Prometheus.
PORT = 9494

_INDEX = b"""<!doctype html><title>Lookout</title><h1>Lookout</h1><a href="/metrics">metrics</a>"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], exposition: Exposition) -> None:
        self.exposition = exposition
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds a kept connection may idle

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            answer = self.server.exposition.answer(
                self.headers.get("Accept", ""), self.headers.get("Accept-Encoding", "")
            )
            self._send(200, answer.headers, answer.body)
        elif path == "/":
            self._send(200, [("Content-Type", "text/html; charset=utf-8")], _INDEX)
        else:
            message = b"there are /metrics here\n"
            self._send(404, [("Content-Type", "text/plain; charset=utf-8")], message)

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name != "Content-Length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "lookout"

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not logged."""


class ScrapeServer:
    """A running scrape endpoint. ``close`` it, or use it as a context manager."""

    def __init__(self, exposition: Exposition, host: str, port: int) -> None:
        self._server = _Server((host, port), exposition)
        self._thread = threading.Thread(target=self._run, name="lookout-scrape", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        suppress_instrumentation()
        self._server.serve_forever(poll_interval=0.2)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def abandon(self) -> None:
        """In a forked child: let go of the socket, which is the parent's."""
        self._server.socket.close()

    def close(self) -> None:
        """Stop listening and end the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def __enter__(self) -> ScrapeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_server(
    port: int = PORT, host: str = "127.0.0.1", registry: Registry | None = None
) -> ScrapeServer:
    """Serve ``registry`` on ``http://host:port/metrics`` from a thread; port 0 picks a free one.

    It listens on loopback unless told otherwise. Raises OSError where the port is taken.
    """
    return ScrapeServer(Exposition(registry if registry is not None else REGISTRY), host, port)
