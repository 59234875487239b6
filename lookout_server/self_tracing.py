"""The collector's own traces, sampled, into itself: off by default, and then not there at all.

With ``self_tracing_rate`` set, that share of requests becomes a trace of the service
``lookout``: the request, and below it the steps the parts report with :func:`step`. They take
the same way as everybody's spans; requests that carry them are not traced again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .http import Refused
from .server import Intake
from .signal import Malformed, Receipt

log = logging.getLogger("lookout.self_tracing")

SERVICE = "lookout"
#: Spans kept until the next flush; more are dropped: tracing must not cost memory.
_MAX_SPANS = 2_000
_FLUSH_SECONDS = 1.0
_UNTRACED = ("/-/", "/metrics", "/ui/")


class _Trace:
    """A request that is being traced."""

    def __init__(self, spans: list[dict[str, Any]]) -> None:
        self.trace_id = f"{random.getrandbits(128) or 1:032x}"
        self.root_id = f"{random.getrandbits(64) or 1:016x}"
        self._spans = spans

    def add(self, name: str, start_ns: int, parent: str | None, **more: Any) -> None:
        """Keep a finished span."""
        if len(self._spans) >= _MAX_SPANS:
            return
        span = {
            "traceId": self.trace_id,
            "id": f"{random.getrandbits(64) or 1:016x}" if parent else self.root_id,
            "name": name,
            "timestamp": start_ns // 1000,
            "duration": max(1, (time.time_ns() - start_ns) // 1000),
            "localEndpoint": {"serviceName": SERVICE},
            **more,
        }
        self._spans.append({**span, "parentId": parent} if parent else span)


_current: ContextVar[_Trace | None] = ContextVar("self_trace", default=None)


@contextmanager
def step(name: str) -> Iterator[None]:
    """A part of the request at hand; costs one look-up where it is not traced."""
    trace = _current.get()
    if trace is None:
        yield
        return
    start = time.time_ns()
    try:
        yield
    finally:
        trace.add(name, start, trace.root_id)


class SelfTracing:
    """Makes traces of a share of the requests and feeds them to the intake once a second."""

    def __init__(self, intake: Intake, rate: float, tenant: str) -> None:
        self._intake = intake
        self._rate = rate
        self._tenant = tenant
        self._spans: list[dict[str, Any]] = []
        self._task: asyncio.Task[None] | None = None

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Around the application."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            skip = scope["type"] != "http" or scope["path"].startswith(_UNTRACED)
            if skip or random.random() >= self._rate:
                await app(scope, receive, send)
            else:
                await self._trace(app, scope, receive, send)

        return traced

    async def start(self) -> None:
        """Begin to flush."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Flush what is left."""
        if self._task:
            self._task.cancel()
        await self._flush()

    async def _trace(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        trace = _Trace(self._spans)
        token = _current.set(trace)
        start, status = time.time_ns(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, sending)
        finally:
            _current.reset(token)
            trace.add(_name(scope), start, None, kind="SERVER", tags=_tags(scope, status))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        spans = self._spans[:]
        self._spans.clear()
        if not spans:
            return
        receipt = Receipt(self._tenant, time.time_ns() // 1_000_000, {})
        try:
            await self._intake.accept("spans", "zipkin.v2.json", orjson.dumps(spans), receipt)
        except (Refused, Malformed) as error:  # the collector has worse to care for
            log.debug("%d own spans dropped: %s", len(spans), error)


def _name(scope: Scope) -> str:
    """Method and route, never the path itself: ids in it would make names without end."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    method = str(scope["method"]).lower()
    return f"{method} {path}" if path else method


def _tags(scope: Scope, status: int) -> dict[str, str]:
    tags = {
        "http.method": scope["method"],
        "http.path": scope["path"],
        "http.status_code": str(status),
    }
    return {**tags, "error": str(status)} if status >= 500 else tags


__all__ = ["SERVICE", "SelfTracing", "step"]
