"""``@trace`` on everything that can be called."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from tracer import SpanKind, StatusCode, current_span, start_span, trace
from tracer.testing import Recorder


def test_a_function_is_named_by_its_qualified_name(traces: Recorder) -> None:
    """Without arguments the decorator keeps the function as it was, but for the span."""

    @trace
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert add(1, b=2) == 3
    assert traces.names == [add.__qualname__]
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert list(inspect.signature(add).parameters) == ["a", "b"]


def test_name_kind_and_tags_can_be_given(traces: Recorder) -> None:
    """By keyword, or the name alone."""

    @trace(name="load", kind=SpanKind.CLIENT, tags={"db": "shop"})
    def load() -> None:
        current_span().set_tag("rows", 3)

    @trace("short")
    def short() -> None: ...

    load()
    load()
    short()
    first = traces.named("load")[0]
    assert (first.kind, first.tags) == (SpanKind.CLIENT, {"db": "shop", "rows": 3})
    assert traces.names == ["load", "load", "short"]


def test_arguments_are_recorded_when_asked_for(traces: Recorder) -> None:
    """All, or those named; self is left out; long ones are cut."""

    class Shop:
        @trace(name="buy", record_args=True)
        def buy(self, item: str, *, amount: int = 1) -> None: ...

        @trace(name="pay", record_args=["user"])
        def pay(self, user: object, card: str) -> None: ...

    Shop().buy("x" * 1_000, amount=2)
    Shop().pay({"id": 7}, card="secret")
    assert traces.one("buy").tags == {"arg.item": "x" * 256, "arg.amount": 2}
    assert traces.one("pay").tags == {"arg.user": "{'id': 7}"}


def test_a_wrong_call_raises_what_it_always_raised(traces: Recorder) -> None:
    """A missing argument is the caller's TypeError, also with recorded arguments."""

    @trace(record_args=True)
    def strict(a: int) -> None: ...

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        strict()  # type: ignore[call-arg]


def test_a_coroutine_function_is_traced_while_it_runs(traces: Recorder) -> None:
    """The span covers the awaiting, not the making of the coroutine."""

    @trace
    async def fetch() -> str:
        await asyncio.sleep(0)
        return current_span().name

    assert inspect.iscoroutinefunction(fetch)
    coroutine = fetch()
    assert len(traces) == 0
    assert asyncio.run(coroutine) == fetch.__qualname__
    assert traces.names == [fetch.__qualname__]


def test_an_exception_marks_the_span_and_goes_on(traces: Recorder) -> None:
    """The caller gets the exception unchanged."""

    @trace("fails")
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert traces.one("fails").status == StatusCode.ERROR


def test_a_generator_is_current_only_while_it_runs(traces: Recorder) -> None:
    """Between two values the caller's span is current; the span lasts until the end."""

    @trace("numbers")
    def numbers() -> Generator[int, int, str]:
        start_span("inside").finish()
        got = yield 1
        start_span(f"inside {got}").finish()
        yield 2
        return "result"

    assert inspect.isgeneratorfunction(numbers)
    with start_span("caller") as caller:
        generator = numbers()
        assert next(generator) == 1
        assert current_span() is caller
        start_span("between").finish()
        assert generator.send(7) == 2
        with pytest.raises(StopIteration) as end:
            next(generator)
        assert end.value.value == "result"
    assert traces.tree() == [
        ("caller", [("numbers", [("inside", []), ("inside 7", [])]), ("between", [])])
    ]


def test_a_generator_sees_what_is_thrown_and_when_it_is_closed(traces: Recorder) -> None:
    """throw and close reach the generator's own code; closing is no error."""
    seen: list[str] = []

    @trace("caught")
    def catching() -> Iterator[int]:
        try:
            yield 1
        except KeyError:
            seen.append("thrown")
            yield 2
        finally:
            seen.append("closed")

    generator: Any = catching()
    assert next(generator) == 1
    assert generator.throw(KeyError("x")) == 2
    generator.close()
    assert seen == ["thrown", "closed"]
    assert traces.one("caught").status == StatusCode.UNSET


def test_a_generator_that_fails_is_marked(traces: Recorder) -> None:
    """The exception of a generator's body is recorded."""

    @trace("broken")
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        list(broken())
    assert traces.one("broken").status == StatusCode.ERROR


def test_an_async_generator_is_traced_from_first_to_last(traces: Recorder) -> None:
    """As a generator, through break and aclose in any task."""

    @trace("stream")
    async def stream() -> AsyncIterator[int]:
        for number in range(3):
            with start_span(f"item {number}"):
                await asyncio.sleep(0)
            yield number

    async def main() -> None:
        with start_span("caller") as caller:
            async for _ in stream():
                assert current_span() is caller
            generator = stream()
            async for _ in generator:
                break
            await asyncio.create_task(generator.aclose())  # type: ignore[attr-defined]
            assert current_span() is caller

    assert inspect.isasyncgenfunction(stream)
    asyncio.run(main())
    items = [(f"item {number}", []) for number in range(3)]
    assert traces.tree() == [("caller", [("stream", items), ("stream", items[:1])])]


def test_a_class_has_its_public_methods_traced(traces: Recorder) -> None:
    """Methods, static and class methods and coroutines; private ones and properties are not."""

    @trace(tags={"layer": "repo"})
    class Repository:
        def find(self) -> str:
            return self._find()

        def _find(self) -> str:
            return "found"

        @staticmethod
        def static() -> int:
            return 1

        @classmethod
        def make(cls) -> str:
            return cls.__name__

        async def later(self) -> int:
            return 2

        @property
        def size(self) -> int:
            return 3

    repository = Repository()
    assert repository.find() == "found"
    assert (Repository.static(), Repository.make(), repository.size) == (1, "Repository", 3)
    assert asyncio.run(repository.later()) == 2
    assert [name.rpartition(".")[2] for name in traces.names] == ["find", "static", "make", "later"]
    assert traces.spans[0].tags == {"layer": "repo"}


def test_what_cannot_be_called_is_refused_when_decorated() -> None:
    """A mistake at import time is named at import time."""
    with pytest.raises(TypeError, match="needs a function or a class, not int"):
        trace(7)  # type: ignore[type-var]
