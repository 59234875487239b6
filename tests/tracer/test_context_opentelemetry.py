"""What is current, as OpenTelemetry sees it, and what it attaches as we see it."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import textwrap

import opentelemetry.baggage
import opentelemetry.context as otel_context
import opentelemetry.trace as otel
import pytest

import tracer
from tracer import (
    current_span,
    start_span,
    use_span,
)
from tracer.testing import Recorder


def test_opentelemetry_sees_our_current_span(traces: Recorder) -> None:
    """trace.get_current_span() is our span, with a valid identity, and takes attributes."""
    with start_span("ours") as span:
        seen = otel.get_current_span()
        assert seen is span
        seen.set_attribute("k", "v")
        context = seen.get_span_context()
        assert (context.trace_id, context.span_id) == (span.trace_id, span.span_id)
        assert context.is_valid
        assert context.trace_flags.sampled
    assert otel.get_current_span() is otel.INVALID_SPAN
    assert traces.one("ours").tags == {"k": "v"}


def test_we_see_opentelemetrys_current_span(traces: Recorder) -> None:
    """A span attached through OpenTelemetry's API is the parent of ours."""
    theirs = otel.NonRecordingSpan(otel.SpanContext(5, 6, True, otel.TraceFlags(1)))
    with otel.use_span(theirs), start_span("ours") as span:
        assert (span.trace_id, span.parent_id) == (5, 6)
        with otel.use_span(span):
            start_span("below").finish()
        assert current_span() is span
    assert traces.one("below").parent_id == traces.one("ours").span_id
    assert otel_context.get_current() == {}


def test_values_of_opentelemetrys_context_stay_visible(traces: Recorder) -> None:
    """What was attached outside is there inside our spans and gone afterwards."""
    token = otel_context.attach(otel_context.set_value("key", "value"))
    with start_span("a"), start_span("b"):
        assert otel_context.get_value("key") == "value"
        inner = otel_context.attach(otel_context.set_value("inner", 1))
        assert (otel_context.get_value("key"), otel_context.get_value("inner")) == ("value", 1)
        assert current_span().name == "b"
        start_span("c").finish()
        otel_context.detach(inner)
        assert otel_context.get_value("inner") is None
    otel_context.detach(token)
    assert otel_context.get_value("key") is None
    assert traces.tree() == [("a", [("b", [("c", [])])])]


def test_values_are_those_of_where_one_looks(traces: Recorder) -> None:
    """What is attached belongs to the block, task or thread, not to the span that is current: a
    span started before sees it, a task keeps it, and ``use_span(None)`` hides it."""
    span = start_span("started before")
    token = otel_context.attach(otel_context.set_value("key", "value"))
    with span:
        copied = contextvars.copy_context()
        with use_span(None), start_span("root"):
            assert otel_context.get_value("key") is None
        assert otel_context.get_value("key") == "value"
    otel_context.detach(token)
    assert copied.run(otel_context.get_value, "key") == "value"
    assert otel_context.get_value("key") is None


def test_a_wrapped_coroutine_function_takes_values_along(traces: Recorder) -> None:
    """They are there inside, and what was there before is there again."""

    async def look() -> object:
        with start_span("inside"):
            return otel_context.get_value("key")

    token = otel_context.attach(otel_context.set_value("key", "value"))
    wrapped = tracer.wrap(look)
    otel_context.detach(token)
    assert asyncio.run(wrapped()) == "value"  # type: ignore[arg-type]
    assert otel_context.get_value("key") is None


def test_the_import_sets_no_variable() -> None:
    """A variable that is set would make each span dearer that is made current beside it."""
    code = """
        import contextvars, tracer
        print(len(contextvars.copy_context()))
    """
    assert in_a_process(code, "") == "0"


def test_what_was_attached_before_the_import_is_there() -> None:
    """It is seen inside our spans, until whoever attached it detaches it."""
    code = """
        import opentelemetry.context as context
        token = context.attach(context.set_value("key", 1))
        from tracer.pipeline import Pipeline
        from tracer.tracer import Tracer
        start = Tracer(Pipeline(lambda span: None)).start_span
        with start("a"):
            assert context.get_value("key") == 1
        context.detach(token)
        with start("b"):
            assert context.get_value("key") is None
        print("fine")
    """
    assert in_a_process(code, "") == "fine"


def test_baggage_is_one_for_both_apis(traces: Recorder) -> None:
    """Items set through either API are seen by the other and travel."""
    with start_span("a") as a:
        a.set_baggage_item("ours", "1")
        assert opentelemetry.baggage.get_baggage("ours") == "1"
        token = otel_context.attach(opentelemetry.baggage.set_baggage("theirs", "2"))
        headers: dict[str, str] = {}
        tracer.inject(headers)
        assert headers["baggage"] == "ours=1,theirs=2"
        with start_span("b") as b:
            assert b.get_baggage_item("theirs") == "2"
        otel_context.detach(token)


def test_detaching_in_another_context_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """OpenTelemetry's detach with a token from elsewhere neither raises nor logs an error."""
    token = contextvars.copy_context().run(otel_context.attach, otel_context.get_current())
    otel_context.detach(token)
    assert caplog.records == []


def in_a_process(code: str, context: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "OTEL_PYTHON_CONTEXT": context},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_default_runtime_context_may_be_named() -> None:
    """OTEL_PYTHON_CONTEXT=contextvars_context is what is there anyway: both see each other."""
    code = """
        import opentelemetry.trace, tracer
        from tracer.testing import recording
        with recording(), tracer.start_span("a") as span:
            assert opentelemetry.trace.get_current_span() is span
        print("fine")
    """
    assert in_a_process(code, "contextvars_context") == "fine"


def test_another_runtime_context_is_left_alone() -> None:
    """Under a runtime context we do not know each side keeps its own current span."""
    code = """
        import opentelemetry.context as context
        from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
        class Other(ContextVarsRuntimeContext): ...
        context._RUNTIME_CONTEXT = Other()
        import opentelemetry.trace, tracer
        from tracer.testing import recording
        with recording(), tracer.start_span("a") as span:
            assert tracer.current_span() is span
            assert opentelemetry.trace.get_current_span() is opentelemetry.trace.INVALID_SPAN
            assert context.get_current() == {}
        print(type(context._RUNTIME_CONTEXT).__name__)
    """
    assert in_a_process(code, "") == "Other"
