"""The pull exporter: completed steps kept in slots until whoever reads them confirms.

``GET /get?step=<ms>&slotCount=<n>&success=<cursor,...>`` on port 19399 answers the slots not
confirmed yet, newest first; ``GET /clear`` empties them. While somebody reads, one step holds
for all metrics and the push is suspended; after half an hour without a read the push resumes.
"""

from __future__ import annotations

import gzip
import hmac
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from exporters.suppression import suppress_instrumentation

from .push.lines import TYPE_TAG
from .registry import Registry
from .windows import Indicator, StepReader

PORT = 19399
STEP_MS = 30_000
SLOTS = 3
MAX_SLOTS = 100
IDLE_S = 1_800.0
TOKEN_HEADER = "X-Lookout-Token"


class Slots:
    """The last completed steps by cursor, until they are confirmed or overwritten."""

    def __init__(self, count: int = SLOTS) -> None:
        self.count = count
        self._data: dict[int, list[dict[str, Any]]] = {}

    def add(self, cursor: int, metrics: list[dict[str, Any]]) -> None:
        """Keep a step; the oldest gives way when all slots are taken."""
        self._data[cursor] = metrics
        while len(self._data) > self.count:
            del self._data[min(self._data)]

    def take(self, confirmed: Iterable[int] = ()) -> list[dict[str, Any]]:
        """Free the confirmed slots and answer all others, newest first, leaving them in place."""
        for cursor in confirmed:
            self._data.pop(cursor, None)
        return [{"cursor": cursor, "data": self._data[cursor]} for cursor in self.cursors()]

    def cursors(self) -> list[int]:
        """The cursors kept, newest first."""
        return sorted(self._data, reverse=True)

    def clear(self) -> None:
        """Forget everything."""
        self._data.clear()


@dataclass(frozen=True, slots=True)
class Request:
    """What a reader asks for. Names are read in any case."""

    step_ms: int
    slots: int
    confirmed: tuple[int, ...]

    @classmethod
    def parse(cls, query: str, step_ms: int, slots: int) -> Request:
        """The query's values, or those given; ValueError says which one is wrong."""
        given = {name.lower(): value for name, value in parse_qsl(query)}
        confirmed = tuple(int(word) for word in given.get("success", "").split(",") if word.strip())
        request = cls(
            int(given.get("step", step_ms)), int(given.get("slotcount", slots)), confirmed
        )
        if request.step_ms < 1:
            raise ValueError(f"step must be at least 1 ms, got {request.step_ms}")
        if not 1 <= request.slots <= MAX_SLOTS:
            raise ValueError(f"slotCount must be from 1 to {MAX_SLOTS}, got {request.slots}")
        return request


class PullExporter:
    """Samples ``registry`` for readers. ``on_active`` hears when reading begins and ends."""

    def __init__(
        self,
        registry: Registry,
        *,
        on_active: Callable[[bool], object] = lambda active: None,
        idle_s: float = IDLE_S,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._registry = registry
        self._on_active = on_active
        self._idle_ms = idle_s * 1000
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._reader: StepReader | None = None
        self._last_read_ms = 0
        self.step_ms = STEP_MS
        self.slots = Slots()

    @property
    def active(self) -> bool:
        """Whether somebody reads."""
        return self._reader is not None

    def sample(self) -> None:
        """Keep the step completed since the last sample, if any; end an idle reading."""
        with self._lock:
            now = self._clock_ms()
            if self._reader is None:
                return
            if now - self._last_read_ms > self._idle_ms:
                self._reader = None
                self.slots.clear()
                self._on_active(False)
                return
            self._sample(now)

    def _sample(self, now: int) -> None:
        assert self._reader is not None
        indicators = self._reader.read(now)
        if indicators:
            self.slots.add(indicators[0].time_ms, [_metric(item) for item in indicators])

    def get(self, query: str) -> bytes:
        """The answer to ``GET /get``. ValueError for a query that makes no sense."""
        with self._lock:
            request = Request.parse(query, self.step_ms, self.slots.count)
            now = self._last_read_ms = self._clock_ms()
            if self._reader is None:
                self._reader = StepReader(self._registry, request.step_ms, now)
                self._on_active(True)
            else:
                self._sample(now)
            data = self.slots.take(request.confirmed)
            self._apply(request, now)
            return orjson.dumps({"step": self.step_ms, "slotCount": request.slots, "data": data})

    def _apply(self, request: Request, now: int) -> None:
        """New settings hold from after the answer, also where they equal a former default."""
        self.slots.count = request.slots
        if self._reader is not None and self._reader.clock.step_ms != request.step_ms:
            self._reader.set_step(request.step_ms, now)
        self.step_ms = request.step_ms

    def clear(self) -> None:
        """Forget the slots."""
        with self._lock:
            self.slots.clear()


def _metric(indicator: Indicator) -> dict[str, Any]:
    tags = dict(indicator.tags)
    if indicator.type:
        tags[TYPE_TAG] = indicator.type
    return {
        "name": indicator.name,
        "timestamp": indicator.time_ms,
        "tags": tags,
        "metrics": indicator.values,
    }


class PullServer:
    """Serves a :class:`PullExporter`, on loopback unless told otherwise; samples in between."""

    def __init__(
        self,
        exporter: PullExporter,
        port: int = PORT,
        host: str = "127.0.0.1",
        token: str | None = None,
    ) -> None:
        self.exporter = exporter
        self._token = token
        self._server = _Server((host, port), self)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=target, name="lookout-pull", daemon=True)
            for target in (self._serve, self._sample)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def abandon(self) -> None:
        """In a forked child: let go of the socket, which is the parent's."""
        self._server.socket.close()

    def close(self) -> None:
        """Stop listening and sampling."""
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(5.0)

    def answer(self, target: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body for a request."""
        given = headers.get(TOKEN_HEADER, "")
        if self._token is not None and not hmac.compare_digest(
            given.encode(errors="replace"), self._token.encode()
        ):
            return 403, b"Forbidden"
        parts = urlsplit(target)
        if parts.path == "/get":
            try:
                return 200, self.exporter.get(parts.query)
            except ValueError as error:
                return 400, str(error).encode()
        if parts.path == "/clear":
            self.exporter.clear()
            return 204, b""
        return 404, b"there are /get and /clear here"

    def _serve(self) -> None:
        suppress_instrumentation()
        self._server.serve_forever(poll_interval=0.2)

    def _sample(self) -> None:
        while not self._stop.wait(min(1.0, self.exporter.step_ms / 2000)):
            self.exporter.sample()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], owner: PullServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        status, body = self.server.owner.answer(self.path, dict(self.headers.items()))
        self.send_response(status)
        if status == 200:
            body = gzip.compress(body, 1, mtime=0)
            self.send_header("Content-Type", "application/json;charset=utf-8")
            self.send_header("Content-Encoding", "gzip")
        else:
            self.send_header("Content-Type", "text/plain;charset=utf-8")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "lookout"

    def log_message(self, format: str, *args: Any) -> None:
        """Reads are not logged."""
