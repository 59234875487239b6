"""Blocks that are nested leave current what was current before them, whatever they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import opentelemetry.context as otel_context
import opentelemetry.trace as otel_trace
from hypothesis import given
from hypothesis import strategies as st

import tracer
from tracer.testing import recording

_SPANS = 3
_KINDS = ["with", "use", "attach", "values"]
#: A block: what it does, with which span (none: with nothing), whether it raises, what is in it.
_BLOCKS = st.recursive(
    st.just([]),
    lambda inner: st.lists(
        st.tuples(
            st.sampled_from(_KINDS), st.none() | st.integers(0, _SPANS - 1), st.booleans(), inner
        ),
        max_size=3,
    ),
    max_leaves=12,
)


class Raised(Exception): ...


def seen() -> tuple[Any, ...]:
    """What is current, for us and for OpenTelemetry."""
    span = tracer.current_span()
    foreign = otel_trace.get_current_span().get_span_context()
    return span.span_id, foreign.span_id, otel_context.get_value("key")


@contextmanager
def block(kind: str, span: tracer.Span | None, met: set[int]) -> Iterator[int | None]:
    """The block; what is to be current in it (None: not said).

    A span that was used already is used again: its own block would end it, and it is not current
    after that.
    """
    if kind == "with" and span is not None and span.span_id not in met:
        met.add(span.span_id)
        with span:
            yield span.span_id
    elif kind in ("with", "use"):
        met.add(span.span_id if span is not None else 0)
        with tracer.use_span(span):
            yield span.span_id if span is not None else 0
    else:
        context = otel_context.set_value("key", kind)
        if kind == "attach" and span is not None:
            context = otel_trace.set_span_in_context(span, context)
        token = otel_context.attach(context)
        try:
            yield None
        finally:
            otel_context.detach(token)


def run(blocks: list[Any], spans: list[tracer.Span], met: set[int]) -> None:
    for kind, number, raises, inner in blocks:
        before = seen()
        try:
            with block(kind, None if number is None else spans[number], met) as current:
                if current is not None:
                    assert seen()[:2] == (current, current)
                run(inner, spans, met)
                if current is not None:
                    assert seen()[:2] == (current, current)
                if raises:
                    raise Raised
        except Raised:
            pass
        assert seen() == before, (kind, number)


@given(blocks=_BLOCKS)
def test_nested_blocks_leave_what_they_found(blocks: list[Any]) -> None:
    """Spans, ``use_span`` of spans that are open, finished or not begun, and OpenTelemetry's."""

    def everything() -> None:
        spans = [tracer.start_span(f"{number}") for number in range(_SPANS)]
        before = seen()
        run(blocks, spans, set())
        assert seen() == before

    with recording():
        copy_context().run(everything)
