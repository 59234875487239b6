"""One HTTP request seen from one side: its span, its duration, its outcome."""

from __future__ import annotations

import time

from ..kinds import StatusCode
from ..span import Span
from . import http


class Exchange:
    """Ends exactly once: the span is finished and the observers hear of the request."""

    __slots__ = ("_done", "_started", "error_type", "method", "route", "scheme", "side", "span",
                 "status")  # fmt: skip

    def __init__(self, side: str, method: str, scheme: str, span: Span) -> None:
        self.side, self.method, self.scheme, self.span = side, method, scheme, span
        self.route: str | None = None
        self.status: int | None = None
        self.error_type: str | None = None
        self._started = time.perf_counter()
        self._done = False

    def answered(self, status: int, error: BaseException | None = None) -> None:
        """The status line is known, and the exception the application made it of."""
        self.status = status
        http.set_status(self.span, status, server=self.side == "server")
        if status >= (500 if self.side == "server" else 400) and self.error_type is None:
            self.error_type = str(status)
        if error is not None and status >= 500:
            self.failed(error, escaped=False)

    def routed(self, route: str | None) -> None:
        """The route template is known: it names the span."""
        if not route or self.route == route:
            return
        self.route = route
        self.span.set_tag("http.route", route)
        self.span.set_name(http.span_name(self.method, route))

    def failed(self, error: BaseException, *, escaped: bool = True) -> None:
        """The request ended in an exception, which goes on its way if it has ``escaped``."""
        self.error_type = type(error).__qualname__
        self.span.set_tag("error.type", self.error_type)
        if isinstance(error, Exception):
            self.span.record_exception(error, escaped=escaped)
            self.span.set_status(StatusCode.ERROR, f"{self.error_type}: {error}")
        if self.side == "server" and self.status is None:
            self.status = 500  # what every server makes of it
            self.span.set_tag("http.response.status_code", 500)

    def end(self) -> None:
        """Finish the span and tell the observers; later calls do nothing."""
        if self._done:
            return
        self._done = True
        self.span.finish()
        if http.is_observed():
            tags = http.metric_tags(
                self.method, self.scheme, self.route, self.status, self.error_type
            )
            http.observed(self.side, time.perf_counter() - self._started, tags)
