"""How an outgoing request begins and ends, whichever library sends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from exporters.suppression import instrumentation_suppressed

from ..api import start_span
from ..context import use_span
from ..kinds import SpanKind
from ..propagation import inject
from . import http
from .exchange import Exchange


@contextmanager
def outgoing(method: str, url: str, headers: Any) -> Iterator[Exchange | None]:
    """Span around one attempt; ``headers`` (a mutable mapping) get the trace context.

    Yields None where instrumentation is suppressed, as in the flusher's own requests, and inside
    another such span: a library may send by way of another that is instrumented too.
    """
    if _sending.get() or instrumentation_suppressed():
        yield None
        return
    token = _sending.set(True)
    try:
        with _exchange(method, url, headers) as exchange:
            yield exchange
    finally:
        _sending.reset(token)


#: Whether an instrumented library is at work here.
_sending: ContextVar[bool] = ContextVar("lookout_sending", default=False)


@contextmanager
def _exchange(method: str, url: str, headers: Any) -> Iterator[Exchange]:
    tags = http.client_tags(method, url)
    span = start_span(http.span_name(method, None), kind=SpanKind.CLIENT, tags=tags)
    exchange = Exchange("client", method, urlsplit(url).scheme or "http", span)
    try:
        with use_span(span):
            inject(headers)
            yield exchange
    except BaseException as error:
        exchange.failed(error)
        raise
    finally:
        exchange.end()
