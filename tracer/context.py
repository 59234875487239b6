"""The current span, and taking it along: into threads, executors and other processes."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from . import current
from .passive import NOOP, NoopSpan, RemoteSpan
from .recorded import RecordedSpan
from .span import USED, Instead, Left, Span, beneath, context_of, outlasting
from .span_context import SpanContext

P = ParamSpec("P")
R = TypeVar("R")

_get = current.get
_set = current.set
_reset = current.reset


def current_span() -> Span:
    """The span that is current here; one that records nothing where there is none. Never None."""
    value = _get()
    if isinstance(value, Span):
        value = outlasting(value)
    if isinstance(value, Span):
        return value
    if value is current.EMPTY:
        return NOOP
    from .otel_context import span_in

    held = span_in(value)
    if isinstance(held, Span):
        return held
    context = context_of(held)
    return RemoteSpan(context) if context is not None else NOOP


def current_context() -> SpanContext | None:
    """The identity of what is current, with baggage; None where nothing is."""
    value = _get()
    if isinstance(value, Span):
        value = outlasting(value)
    if isinstance(value, NoopSpan) or value is current.EMPTY:
        return None
    if isinstance(value, Span):
        return value.context
    from .tracer import resolve_otel_context

    parent, carried = resolve_otel_context(value)
    if isinstance(parent, Span):
        context = parent.context
        return context.with_baggage(carried.baggage) if carried else context
    return parent


class use_span(Instead):  # noqa: N801  (used as a verb, like contextlib's)
    """Make a span, or a context that arrived from elsewhere, current without finishing it.

    ``with use_span(span): ...``; what was current before is current again afterwards. With None
    nothing is current inside.
    """

    __slots__ = ("_beneath", "_entered", "_token", "_value", "_values")

    def __init__(self, span: Span | SpanContext | None) -> None:
        if isinstance(span, SpanContext):
            span = RemoteSpan(span)
        self._value: Any = current.EMPTY if span is None or isinstance(span, NoopSpan) else span

    def __enter__(self) -> Span | None:
        self.previous = previous = _get()
        self._values = values = current.VALUES.get()
        value = self._beneath = self._value
        if value is current.EMPTY:
            if values is not value:
                current.VALUES.set(value)
        elif previous is not value and (value._prev is None or value._prev is USED):
            value._prev = self
        else:  # what a block of the span in this one will leave, which is not ``previous``
            self._entered, self._beneath = value._prev, beneath(value)
        self._token = _set(value)
        return None if value is current.EMPTY else value

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        now, value = _get(), self._value
        if now is value or (now is self._beneath and self._left_inside()):
            _set(self.previous)
            if current.VALUES.get() is not self._values:
                current.VALUES.set(self._values)
        if value is not current.EMPTY and value._prev is self:
            value._prev = USED  # a span holds nothing that was current before it

    def _left_inside(self) -> bool:
        try:
            _reset(self._token)
        except (ValueError, RuntimeError):
            return False  # a generator closed from another task, where the same is current
        if self._value._prev is None:
            self._value._prev = self._entered  # for the blocks around this one
        return True


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, to be called in the context of here and now, from whatever thread and time.

    Each call gets its own copy of the context, so that several threads may call it at once. A
    coroutine function is awaited in its caller's context, with the current span of here and now.
    """
    if iscoroutinefunction(function):
        return cast("Callable[P, R]", _wrapped_coroutine(function))
    here = copy_context()

    @wraps(function)
    def in_context(*args: P.args, **named: P.kwargs) -> R:
        return here.copy().run(function, *args, **named)

    return in_context


def _wrapped_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    value, values = _get(), current.VALUES.get()

    @wraps(function)
    async def with_span(*args: Any, **named: Any) -> Any:
        previous, outer = _get(), current.VALUES.get()
        _set(value)
        if values is not outer:
            current.VALUES.set(values)
        try:
            return await function(*args, **named)
        finally:
            if _get() is value:
                _set(previous)
                if values is not outer:
                    current.VALUES.set(outer)

    return with_span


def injectable() -> Span | SpanContext | None:
    """What an outgoing call should carry: the current span itself where that says it all."""
    value = _get()
    if type(value) is RecordedSpan and type(value._prev) is not Left:
        return value
    return current_context()
