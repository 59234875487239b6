"""``@trace``: a span around each call of a function, whatever kind of function it is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from typing import Any, TypeVar, overload

from . import api
from .context import use_span
from .kinds import SpanKind
from .span import Span
from .tracer import CURRENT
from .values import text

T = TypeVar("T", bound=Callable[..., Any])

_MAX_ARGUMENT = 256  # characters of an argument recorded with record_args


@overload
def trace(target: T, /) -> T: ...
@overload
def trace(
    target: str | None = None,
    /,
    *,
    name: str | None = None,
    tags: Mapping[str, object] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    record_args: bool | Iterable[str] = False,
) -> Callable[[T], T]: ...
def trace(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    tags: Mapping[str, object] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    record_args: bool | Iterable[str] = False,
) -> Any:
    """Trace every call of a function, coroutine function, generator, async generator or method.

    Used as ``@trace``, ``@trace("name")`` or ``@trace(name=..., tags=..., kind=...)``. On a class
    it traces the public methods defined there. The span of a generator lasts from its first value
    to its end and is current only while the generator's own code runs.

    :param name: the span's name; the function's qualified name by default.
    :param tags: tags of every span.
    :param record_args: True for all arguments or their names, as tags ``arg.<name>``, shortened.
    """
    recipe = _Recipe(target if isinstance(target, str) else name, kind, tags, record_args)

    def decorate(subject: Any) -> Any:
        return _decorated(subject, recipe)

    return decorate if target is None or isinstance(target, str) else decorate(target)


class _Recipe:
    """How the spans of one decorated function start."""

    def __init__(
        self,
        name: str | None,
        kind: SpanKind,
        tags: Mapping[str, object] | None,
        record_args: bool | Iterable[str],
    ) -> None:
        self.name = name
        self.kind = kind
        self.tags = dict(tags) if tags else None
        self.record_args = record_args if isinstance(record_args, bool) else frozenset(record_args)

    def starter(self, function: Callable[..., Any]) -> Callable[..., Span]:
        """A function of the call's arguments that starts the span of this call."""
        name = self.name or _name_of(function)
        kind, tags, start = self.kind, self.tags, api.start_span
        if not self.record_args:
            return lambda *args, **named: start(name, kind, CURRENT, tags)
        bind = _binder(function)
        wanted = self.record_args

        def start_with_arguments(*args: Any, **named: Any) -> Span:
            span = start(name, kind, CURRENT, tags)
            if span.is_recording():
                for key, value in bind(args, named).items():
                    if wanted is True or key in wanted:
                        span.set_tag(f"arg.{key}", _argument(value))
            return span

        return start_with_arguments


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function))


def _binder(
    function: Callable[..., Any],
) -> Callable[[tuple[Any, ...], dict[str, Any]], Mapping[str, Any]]:
    """A function from a call's arguments to their names; ``self`` and ``cls`` are left out."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return lambda args, named: named

    def bind(args: tuple[Any, ...], named: dict[str, Any]) -> Mapping[str, Any]:
        try:
            bound = signature.bind(*args, **named).arguments
        except TypeError:
            return {}  # the call itself is about to raise this
        return {key: value for key, value in bound.items() if key not in ("self", "cls")}

    return bind


def _argument(value: Any) -> Any:
    if isinstance(value, (bool, int, float)):
        return value
    return text(value, _MAX_ARGUMENT)


def _decorated(subject: Any, recipe: _Recipe) -> Any:
    if isinstance(subject, type):
        return _decorate_class(subject, recipe)
    if isinstance(subject, (staticmethod, classmethod)):
        return type(subject)(_decorated(subject.__func__, recipe))
    if inspect.isasyncgenfunction(subject):
        return _async_generator(subject, recipe.starter(subject))
    if inspect.iscoroutinefunction(subject):
        return _coroutine(subject, recipe.starter(subject))
    if inspect.isgeneratorfunction(subject):
        return _generator(subject, recipe.starter(subject))
    if callable(subject):
        return _function(subject, recipe)
    raise TypeError(f"@trace needs a function or a class, not {type(subject).__name__}")


def _decorate_class(subject: type, recipe: _Recipe) -> type:
    """Trace the public methods defined in the class itself; the recipe's name becomes a prefix."""
    for attribute, member in list(vars(subject).items()):
        plain = getattr(member, "__func__", member)
        if attribute.startswith("_") or not inspect.isfunction(plain):
            continue
        named = _Recipe(
            f"{recipe.name}.{attribute}" if recipe.name else None,
            recipe.kind,
            recipe.tags,
            recipe.record_args,
        )
        setattr(subject, attribute, _decorated(member, named))
    return subject


def _function(function: Callable[..., Any], recipe: _Recipe) -> Callable[..., Any]:
    if recipe.record_args:
        start_with = recipe.starter(function)

        @functools.wraps(function)
        def traced_with_arguments(*args: Any, **named: Any) -> Any:
            with start_with(*args, **named):
                return function(*args, **named)

        return traced_with_arguments

    start, kind, tags = api.start_span, recipe.kind, recipe.tags
    name = recipe.name or _name_of(function)

    @functools.wraps(function)
    def traced(*args: Any, **named: Any) -> Any:
        with start(name, kind, CURRENT, tags):
            return function(*args, **named)

    return traced


def _coroutine(function: Callable[..., Any], start: Callable[..., Span]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def traced(*args: Any, **named: Any) -> Any:
        with start(*args, **named):
            return await function(*args, **named)

    return traced


def _generator(function: Callable[..., Any], start: Callable[..., Span]) -> Callable[..., Any]:
    @functools.wraps(function)
    def traced(*args: Any, **named: Any) -> Generator[Any, Any, Any]:
        span = start(*args, **named)
        inner = function(*args, **named)
        step: Callable[..., Any] = inner.send
        given: Any = None
        try:
            while True:
                with use_span(span):
                    item = step(given)
                try:
                    given, step = (yield item), inner.send
                except GeneratorExit:
                    with use_span(span):
                        inner.close()
                    raise
                except BaseException as error:
                    given, step = error, inner.throw
        except StopIteration as end:
            return end.value
        except BaseException as error:
            span._fail(error)
            raise
        finally:
            span.finish()

    return traced


def _async_generator(
    function: Callable[..., Any], start: Callable[..., Span]
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def traced(*args: Any, **named: Any) -> AsyncGenerator[Any, Any]:
        span = start(*args, **named)
        inner = function(*args, **named)
        step: Callable[..., Any] = inner.asend
        given: Any = None
        try:
            while True:
                with use_span(span):
                    item = await step(given)
                try:
                    given, step = (yield item), inner.asend
                except GeneratorExit:
                    with use_span(span):
                        await inner.aclose()
                    raise
                except BaseException as error:
                    given, step = error, inner.athrow
        except StopAsyncIteration:
            return
        except BaseException as error:
            span._fail(error)
            raise
        finally:
            span.finish()

    return traced
