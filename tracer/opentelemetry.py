"""OpenTelemetry's tracing API, answered by our tracer. Needs opentelemetry-api only.

Our spans are OpenTelemetry spans (see :mod:`tracer.otel_context`), so nothing is wrapped: what an
instrumentation starts here is what goes into the ring.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, NonRecordingSpan, get_current_span
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind as OtelSpanKind
from opentelemetry.trace import Tracer as OtelTracer
from opentelemetry.trace import TracerProvider as OtelTracerProvider

from . import otel_context as _registers_our_span_as_theirs  # noqa: F401
from . import setup
from .api import PIPELINE
from .context import use_span
from .kinds import SpanKind, StatusCode
from .passive import NOOP, PassiveSpan
from .pipeline import Pipeline
from .recorded import RecordedSpan, failed_with
from .span import Span
from .span_view import SpanView, ViewedResource, viewed_resource
from .tracer import CURRENT
from .tracer import Tracer as OurTracer

Attributes = Mapping[str, Any] | None

#: Our kinds by the numbers of OpenTelemetry's.
_KINDS = tuple(SpanKind)
_INTERNAL = SpanKind.INTERNAL
_OTEL_INTERNAL = OtelSpanKind.INTERNAL

_new = object.__new__


def _kind(kind: OtelSpanKind) -> SpanKind:
    """Ours for theirs; asked for every span, and hashing their enum costs a Python call."""
    try:
        return _KINDS[kind._value_]
    except (AttributeError, IndexError, TypeError):
        return _INTERNAL


def _passed_on(context: Context | None) -> OtelSpan:
    """Where tracing is off: the parent itself, so that what arrived is still given along."""
    parent = get_current_span(context)
    return NonRecordingSpan(parent.get_span_context())


class Tracer(OtelTracer):
    """Starts our spans for one instrumentation scope."""

    def __init__(self, pipeline: Pipeline, scope: str, version: str) -> None:
        self._start = OurTracer(pipeline, scope, version).start_span

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: OtelSpanKind = _OTEL_INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Any:
        """Start a span that is not current, nor in a ``with`` block of its own.

        ``context`` None means the current one. What becomes of an exception is decided where the
        span is made current, or by the two last arguments where it leaves ``with span:``.
        """
        start = self._start
        span = start(
            name,
            _INTERNAL if kind is _OTEL_INTERNAL else _kind(kind),
            CURRENT if context is None else context,  # type: ignore[arg-type]
            attributes,
            links,
            start_time,
        )
        if type(span) is RecordedSpan:
            span.__class__ = _DETACHED[bool(record_exception), bool(set_status_on_exception)]
        elif span is NOOP:
            return _passed_on(context)
        elif isinstance(span, PassiveSpan):
            span.become(DetachedPassiveSpan)
        return span

    def start_as_current_span(  # type: ignore[override]  # its result has __enter__ and __call__
        self,
        name: str,
        context: Context | None = None,
        kind: OtelSpanKind = _OTEL_INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> CurrentSpan:
        """A span that is current inside a ``with`` block, or around a decorated function."""
        # Slots are set here, as a call of __init__ would cost as much as the rest.
        if record_exception and set_status_on_exception and end_on_exit:
            current: CurrentSpan = _new(CurrentSpan)
        else:
            current = _new(CurrentSpanWithOptions)
            current._at_exit = (record_exception, set_status_on_exception, end_on_exit)
        current._start = self._start
        current._name = name
        current._kind = _INTERNAL if kind is _OTEL_INTERNAL else _kind(kind)
        current._parent = CURRENT if context is None else context
        current._tags = attributes
        current._links = links
        current._start_ns = start_time
        return current


class DetachedSpan(RecordedSpan):
    """A span whose ``with`` block ends it but does not make it current, as OpenTelemetry's."""

    __slots__ = ()

    _records_exception = True
    _sets_status = True

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            if self._records_exception:
                self.record_exception(error, escaped=True)
            if self._sets_status:
                self.set_status(StatusCode.ERROR, failed_with(error))
        self.finish()


class _WithoutStatus(DetachedSpan):
    __slots__ = ()
    _sets_status = False


class _WithoutException(DetachedSpan):
    __slots__ = ()
    _records_exception = False


class _WithoutBoth(_WithoutException):
    __slots__ = ()
    _sets_status = False


#: By (record_exception, set_status_on_exception).
_DETACHED: dict[tuple[bool, bool], type[DetachedSpan]] = {
    (True, True): DetachedSpan,
    (True, False): _WithoutStatus,
    (False, True): _WithoutException,
    (False, False): _WithoutBoth,
}


class DetachedPassiveSpan(PassiveSpan):
    """The same of a span that is not sampled."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class CurrentSpan:
    """What ``start_as_current_span`` returns: the span starts when the block is entered.

    As a decorator it starts one for each call, and for a coroutine function around the await.
    """

    __slots__ = (
        "_at_exit",
        "_kind",
        "_links",
        "_name",
        "_parent",
        "_span",
        "_start",
        "_start_ns",
        "_tags",
        "_use",
    )

    _at_exit: tuple[bool, bool, bool]
    _kind: SpanKind
    _links: Sequence[Link] | None
    _name: str
    _parent: Any
    _span: Span
    _start: Callable[..., Span]
    _start_ns: int | None
    _tags: Attributes
    _use: AbstractContextManager[Any]

    def __enter__(self) -> Any:
        # The same call as in _begin, which would cost another frame.
        start = self._start  # a local variable is called without a search for a method
        self._span = span = start(
            self._name, self._kind, self._parent, self._tags, self._links, self._start_ns
        )
        return span.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._span.__exit__(kind, error, traceback)

    def _begin(self) -> Span:
        return self._start(
            self._name, self._kind, self._parent, self._tags, self._links, self._start_ns
        )

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
        """The same once more: several calls of a decorated function may run at once."""
        again = _new(type(self))
        for slot in CurrentSpan.__slots__:
            if hasattr(self, slot):
                setattr(again, slot, getattr(self, slot))
        return again


class CurrentSpanWithOptions(CurrentSpan):
    """One that leaves out some of what ``with span:`` does at its end."""

    __slots__ = ()

    def __enter__(self) -> Any:
        self._span = span = self._begin()
        self._use = use_span(span) if span is not NOOP else nullcontext()
        self._use.__enter__()
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._use.__exit__(kind, error, traceback)
        record_exception, set_status, end = self._at_exit
        if isinstance(error, Exception):
            if record_exception:
                self._span.record_exception(error, escaped=True)
            if set_status:
                self._span.set_status(StatusCode.ERROR, failed_with(error))
        if end:
            self._span.finish()


class SpanProcessor(Protocol):
    """What ``add_span_processor`` takes: the interface of OpenTelemetry's SDK."""

    def on_start(self, span: Any, parent_context: Context | None = None) -> None: ...
    def on_end(self, span: Any) -> None: ...
    def shutdown(self) -> None: ...
    def force_flush(self, timeout_millis: int = 30_000) -> bool: ...


class TracerProvider(OtelTracerProvider):
    """Hands out tracers that record into the process's pipeline, or into one of your own."""

    def __init__(self, pipeline: Pipeline | None = None) -> None:
        self._pipeline = pipeline or PIPELINE
        self._processors: list[SpanProcessor] = []

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
    def resource(self) -> ViewedResource:
        """What this process says of itself; instrumentations read ``resource.attributes``."""
        return viewed_resource(self._pipeline.resource)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Call the processor for every recorded span, whoever starts it, besides our own way.

        It is given a :class:`tracer.span_view.SpanView`, on the thread that starts or ends it.
        """
        self._processors.append(span_processor)
        self._pipeline.add_observer(_Processing(span_processor))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Hand over everything that is finished; False when the time was not enough."""
        deadline = time.monotonic() + timeout_millis / 1_000
        done = setup.flush(timeout_millis / 1_000)
        for processor in self._processors:
            left = max(deadline - time.monotonic(), 0)
            done = processor.force_flush(int(left * 1_000)) is not False and done
        return done

    def shutdown(self) -> None:
        """Flush and stop, within the configured exit timeout. Later spans record nothing."""
        if self._pipeline is PIPELINE:
            setup.shutdown()
        else:
            self._pipeline.disable()
        for processor in self._processors:
            processor.shutdown()


class _Processing:
    """A span processor as an observer of our spans."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor

    def on_start(self, span: Span) -> None:
        self._processor.on_start(SpanView(span), parent_context=get_current())

    def on_end(self, span: Span) -> None:
        self._processor.on_end(SpanView(span))
