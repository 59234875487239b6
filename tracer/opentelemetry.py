"""OpenTelemetry's tracing API, answered by our tracer. Needs opentelemetry-api only.

Our spans are OpenTelemetry spans (see :mod:`tracer.otel_context`), so nothing is wrapped: what an
instrumentation starts here is what goes into the ring.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link
from opentelemetry.trace import SpanKind as OtelSpanKind
from opentelemetry.trace import Tracer as OtelTracer
from opentelemetry.trace import TracerProvider as OtelTracerProvider

from exporters.records import Resource

from . import otel_context as _registers_our_span_as_theirs  # noqa: F401
from .api import PIPELINE
from .context import use_span
from .kinds import SpanKind, StatusCode
from .pipeline import Pipeline
from .tracer import CURRENT
from .tracer import Tracer as OurTracer

Attributes = Mapping[str, Any] | None

#: OpenTelemetry's kinds as ours; a dictionary, because this is asked for every span.
_KINDS = {theirs: SpanKind(theirs.value) for theirs in OtelSpanKind}

#: record_exception, set_status_on_exception, end_on_exit: what ``with span:`` does anyway.
_ALL = (True, True, True)


class Tracer(OtelTracer):
    """Starts our spans for one instrumentation scope."""

    def __init__(self, pipeline: Pipeline, scope: str, version: str) -> None:
        self._start = OurTracer(pipeline, scope, version).start_span

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: OtelSpanKind = OtelSpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Any:
        """Start a span that is not current. ``context`` None means the current one.

        What becomes of an exception is decided where the span is made current.
        """
        span = self._start(
            name,
            kind=_KINDS.get(kind, SpanKind.INTERNAL),
            parent=CURRENT if context is None else context,  # type: ignore[arg-type]
            tags=attributes,
            start_ns=start_time,
        )
        if links:
            for link in links:
                span.add_link(link.context, link.attributes)
        return span

    def start_as_current_span(  # type: ignore[override]  # its result has __enter__ and __call__
        self,
        name: str,
        context: Context | None = None,
        kind: OtelSpanKind = OtelSpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> CurrentSpan:
        """A span that is current inside a ``with`` block, or around a decorated function."""
        return CurrentSpan(
            self,
            (name, context, kind, attributes, links, start_time),
            (record_exception, set_status_on_exception, end_on_exit),
        )


class CurrentSpan:
    """What ``start_as_current_span`` returns: the span starts when the block is entered.

    As a decorator it starts one for each call, and for a coroutine function around the await.
    """

    __slots__ = ("_arguments", "_at_exit", "_span", "_tracer", "_use")

    def __init__(
        self, tracer: Tracer, arguments: tuple[Any, ...], at_exit: tuple[bool, bool, bool]
    ) -> None:
        self._tracer, self._arguments, self._at_exit = tracer, arguments, at_exit

    def __enter__(self) -> Any:
        self._span = span = self._tracer.start_span(*self._arguments)
        if self._at_exit == _ALL:
            return span.__enter__()
        self._use = use_span(span)
        self._use.__enter__()
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._at_exit == _ALL:
            self._span.__exit__(kind, error, traceback)
            return
        self._use.__exit__(kind, error, traceback)
        record_exception, set_status, end = self._at_exit
        if isinstance(error, Exception):
            if record_exception:
                self._span.record_exception(error, escaped=True)
            if set_status:
                self._span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
        if end:
            self._span.finish()

    def __call__(self, function: Any) -> Any:
        """Decorate ``function``."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return awaited

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return called

    def _again(self) -> CurrentSpan:
        return CurrentSpan(self._tracer, self._arguments, self._at_exit)


class TracerProvider(OtelTracerProvider):
    """Hands out tracers that record into the process's pipeline, or into one of your own."""

    def __init__(self, pipeline: Pipeline | None = None) -> None:
        self._pipeline = pipeline or PIPELINE

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        """A tracer for one instrumentation."""
        return Tracer(
            self._pipeline, instrumenting_module_name or "", instrumenting_library_version or ""
        )

    @property
    def resource(self) -> Resource:
        """What this process says of itself; instrumentations read ``resource.attributes``."""
        return self._pipeline.resource
