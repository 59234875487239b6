"""OpenTracing over our tracer: its own compatibility suites, and what they do not ask."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

import pytest

opentracing = pytest.importorskip("opentracing", reason="the opentracing package")

from opentracing import Format, child_of, follows_from  # noqa: E402
from opentracing.harness.api_check import APICompatibilityCheckMixin  # noqa: E402
from opentracing.harness.scope_check import ScopeCompatibilityCheckMixin  # noqa: E402

from exporters.records import SERVER, STATUS_ERROR  # noqa: E402
from tracer import AlwaysOff  # noqa: E402
from tracer.api import start_span  # noqa: E402
from tracer.opentracing import ScopeManager, Tracer  # noqa: E402
from tracer.testing import Recorder, recording  # noqa: E402


class TestApi(APICompatibilityCheckMixin, unittest.TestCase):  # type: ignore[misc]
    """OpenTracing's API, as its own suite checks it: baggage, scopes and parents included."""

    def setUp(self) -> None:
        self.enterContext(recording())
        self._tracer = Tracer()

    def tracer(self) -> Tracer:
        return self._tracer

    def is_parent(self, parent: Any, span: Any) -> bool:
        return bool(span.span.parent_id == (parent.span.span_id if parent else 0))


class TestScopes(ScopeCompatibilityCheckMixin, unittest.TestCase):  # type: ignore[misc]
    """Scopes, as its own suite checks them."""

    def scope_manager(self) -> ScopeManager:
        if not hasattr(self, "_manager"):
            self._manager = ScopeManager()
        return self._manager


class TestScopesInTasks(TestScopes):
    """The same inside an asyncio task."""

    def run_test(self, test_fn: Any) -> None:
        async def main() -> None:
            test_fn()

        asyncio.run(main())


def test_spans_of_both_apis_nest(traces: Recorder) -> None:
    """What is active through OpenTracing is current for us, and the other way round."""
    tracer = Tracer()
    with tracer.start_active_span("a"), start_span("b"), tracer.start_active_span("c"):
        assert tracer.active_span.span.name == "c"
    with start_span("d") as native:
        assert tracer.active_span.span is native
    assert traces.tree() == [("a", [("b", [("c", [])])]), ("d", [])]


def test_kind_error_and_exceptions_mean_what_they_mean(traces: Recorder) -> None:
    """``span.kind`` and ``error`` become kind and status, an exception leaves an event."""
    tracer = Tracer()
    with (
        pytest.raises(ValueError),
        tracer.start_active_span("fails", tags={"span.kind": "server", "n": 1}),
    ):
        raise ValueError("broken")
    span = traces.one("fails")
    assert (span.kind, span.status, span.tags) == (SERVER, STATUS_ERROR, {"n": 1})
    assert span.events is not None
    assert span.events[0].attributes is not None
    assert span.events[0].attributes["exception.type"] == "ValueError"


def test_times_are_in_seconds(traces: Recorder) -> None:
    """Start, finish and log times are Unix seconds."""
    span = Tracer().start_span("timed", start_time=10.0)
    span.log_kv({"event": "cached", "size": 3}, 10.25)
    span.finish(10.5)
    found = traces.one("timed")
    assert (found.start_ns, found.duration_ns) == (10_000_000_000, 500_000_000)
    assert found.events is not None
    assert found.events[0] == (10_250_000_000, "cached", {"size": 3})


def test_further_references_are_links(traces: Recorder) -> None:
    """The parent comes from child_of; what it also follows is linked."""
    tracer = Tracer()
    parent, other = tracer.start_span("parent"), tracer.start_span("other")
    span = tracer.start_span("child", child_of=parent, references=[follows_from(other.context)])
    span.finish()
    found = traces.one("child")
    assert found.parent_id == parent.span.span_id
    assert found.links is not None and found.links[0].span_id == other.span.span_id


def test_of_several_references_the_first_parent_counts_and_all_give_baggage(
    traces: Recorder,
) -> None:
    """As in SOFATracer: child_of before follows_from, whatever their order; items of all."""
    tracer = Tracer()
    one, other, followed = (tracer.start_span(name) for name in ("one", "other", "followed"))
    one.set_baggage_item("shared", "one").set_baggage_item("a", "1")
    other.set_baggage_item("b", "2")
    followed.set_baggage_item("shared", "followed").set_baggage_item("c", "3")
    references = [follows_from(followed.context), child_of(one.context), child_of(other.context)]
    span = tracer.start_span("child", references=references)
    span.finish()
    assert traces.one("child").parent_id == one.span.span_id
    assert span.context.baggage == {"shared": "one", "a": "1", "b": "2", "c": "3"}


def test_a_span_that_is_not_sampled_takes_every_call(traces: Recorder) -> None:
    """Nothing raises where nothing is recorded."""
    with (
        recording(sampler=AlwaysOff()) as nothing,
        Tracer().start_active_span("a", tags={"span.kind": "server"}) as scope,
    ):
        scope.span.set_tag("span.kind", "client").set_tag("error", True)
        scope.span.set_operation_name("b").log_kv({"event": "x"})
    assert len(nothing) == 0


@pytest.mark.parametrize("form", [Format.TEXT_MAP, Format.HTTP_HEADERS, Format.BINARY])
def test_a_context_crosses_in_every_format(traces: Recorder, form: str) -> None:
    """Ids and baggage arrive."""
    tracer = Tracer()
    span = tracer.start_span("caller").set_baggage_item("tenant", "t 1")
    carrier: Any = bytearray() if form == Format.BINARY else {}
    tracer.inject(span.context, form, carrier)
    arrived = tracer.extract(form, carrier)
    assert arrived is not None and arrived.baggage == {"tenant": "t 1"}
    assert tracer.start_span("callee", child_of=arrived).span.parent_id == span.span.span_id


@pytest.mark.parametrize(("form", "carrier"), [(Format.BINARY, {}), (Format.TEXT_MAP, b"")])
def test_a_carrier_of_another_kind_is_refused(traces: Recorder, form: str, carrier: Any) -> None:
    """As OpenTracing asks: InvalidCarrierException, saying what was expected."""
    tracer = Tracer()
    with pytest.raises(opentracing.InvalidCarrierException, match="must be"):
        tracer.inject(tracer.start_span("a").context, form, carrier)
    if form == Format.BINARY:
        carrier = 3
    with pytest.raises(opentracing.InvalidCarrierException, match="must be"):
        tracer.extract(form, carrier)
