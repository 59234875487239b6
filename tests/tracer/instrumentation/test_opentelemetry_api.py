"""Our provider through OpenTelemetry's API, and what its users read and call beyond the API."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from exporters.records import Resource
from tracer import AlwaysOff
from tracer.api import start_span
from tracer.context import current_span, use_span
from tracer.opentelemetry import Tracer, TracerProvider
from tracer.otel_propagation import (
    B3MultiPropagator,
    B3Propagator,
    JaegerPropagator,
    LookoutPropagator,
    SofaPropagator,
    TraceContextPropagator,
    adopt,
)
from tracer.pipeline import Pipeline
from tracer.span_view import SpanView
from tracer.testing import Recorder, recording

REMOTE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True, TraceFlags(1))


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    """A pipeline of the test's own."""
    found = Pipeline(lambda span: None)
    with recording(found, resource=Resource("shop", {"service.name": "shop"})):
        yield found


@pytest.fixture
def otel(traces: Recorder) -> Tracer:
    """A tracer of our provider; ``traces`` records what it starts."""
    return TracerProvider().get_tracer("a.library", "1.2")


def test_a_span_says_what_instrumentations_read(otel: Tracer) -> None:
    """Kind, name, attributes, parent, times, scope: as on the SDK's span."""
    with otel.start_as_current_span("outer", kind=SpanKind.SERVER, attributes={"a": 1}) as outer:
        inner = otel.start_span("inner", kind=SpanKind.CLIENT)
        inner.end()
    assert (outer.name, outer.attributes) == ("outer", {"a": 1})
    assert outer.kind == SpanKind.SERVER and inner.kind == SpanKind.CLIENT
    assert outer.parent is None
    assert inner.parent.span_id == outer.get_span_context().span_id
    assert outer.start_time < inner.start_time < inner.end_time < outer.end_time
    assert (inner.instrumentation_scope.name, inner.instrumentation_scope.version) == (
        "a.library",
        "1.2",
    )
    assert inner.attributes == {}
    assert inner.status.status_code == StatusCode.UNSET and inner.status.is_ok


def test_the_context_of_a_span_reads_like_theirs(otel: Tracer) -> None:
    """``span.context``, which the SDK's spans have as well, is good for links and parents."""
    parent = trace.set_span_in_context(trace.NonRecordingSpan(REMOTE), Context())
    context = otel.start_span("a", parent).context
    assert (context.trace_flags.sampled, dict(context.trace_state)) == (True, {})
    below = otel.start_span("b", trace.set_span_in_context(trace.NonRecordingSpan(context)))
    assert below.parent.span_id == context.span_id
    linked = otel.start_span("c", links=[Link(context)])
    assert linked.links[0].span_id == context.span_id


def test_an_unfinished_span_has_no_end(otel: Tracer) -> None:
    """``end_time`` is None while the span is recording."""
    assert otel.start_span("open").end_time is None


def test_every_argument_of_start_span_counts(otel: Tracer, traces: Recorder) -> None:
    """Links, start time, an explicit parent context."""
    context = trace.set_span_in_context(trace.NonRecordingSpan(REMOTE), Context())
    span = otel.start_span(
        "full", context, SpanKind.CONSUMER, {"k": "v"}, [Link(REMOTE, {"l": 1})], 1_000
    )
    span.end(3_000)
    recorded = traces.one("full")
    assert (recorded.trace_id, recorded.parent_id) == (REMOTE.trace_id, REMOTE.span_id)
    assert (recorded.start_ns, recorded.duration_ns) == (1_000, 2_000)
    assert recorded.links is not None
    assert (recorded.links[0].span_id, recorded.links[0].attributes) == (REMOTE.span_id, {"l": 1})
    assert span.parent.is_remote


def test_an_empty_context_starts_a_new_trace(otel: Tracer) -> None:
    """``context=Context()`` means no parent, whatever is current."""
    with otel.start_as_current_span("current"):
        assert otel.start_span("root", Context()).parent is None


@pytest.mark.parametrize("foreign", [None, "SERVER", 99])
def test_a_kind_that_is_none_is_internal(otel: Tracer, foreign: Any) -> None:
    """A wrong kind never raises into the application."""
    assert otel.start_span("odd", kind=foreign).kind == SpanKind.INTERNAL


def test_our_span_and_theirs_share_what_is_current(otel: Tracer, traces: Recorder) -> None:
    """Spans nest whichever API starts them."""
    with otel.start_as_current_span("a"), start_span("b"), otel.start_as_current_span("c"):
        theirs: object = trace.get_current_span()
        assert theirs is current_span()
    with trace.use_span(otel.start_span("d"), end_on_exit=True), start_span("e"):
        pass
    assert traces.tree() == [("a", [("b", [("c", [])])]), ("d", [("e", [])])]


def test_decorating_a_function_makes_a_span_for_each_call(otel: Tracer, traces: Recorder) -> None:
    """Calls that overlap do not share a span."""

    @otel.start_as_current_span("twice", attributes={"x": 1})
    def plain(depth: int) -> None:
        if depth:
            plain(depth - 1)

    plain(1)
    assert traces.tree() == [("twice", [("twice", [])])]


async def test_decorating_a_coroutine_spans_the_await(otel: Tracer, traces: Recorder) -> None:
    """The span lasts until the coroutine has returned."""

    @otel.start_as_current_span("outer")
    async def work() -> None:
        await asyncio.sleep(0)
        otel.start_span("inner").end()

    await work()
    assert traces.tree() == [("outer", [("inner", [])])]


def _fail(otel: Tracer, **options: Any) -> Any:
    with pytest.raises(ValueError), otel.start_as_current_span("fails", **options) as span:
        raise ValueError("broken")
    return span


def test_an_exception_is_recorded_and_is_an_error(otel: Tracer) -> None:
    """The default of ``start_as_current_span``."""
    span = _fail(otel)
    assert span.status.status_code == StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]


def their_tracer(sampler: Any) -> tuple[trace.Tracer, InMemorySpanExporter]:
    """A tracer of OpenTelemetry's SDK and what it exports."""
    exporter = InMemorySpanExporter()
    provider = SdkTracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("a.library"), exporter


@pytest.mark.parametrize("error", [None, KeyError("gone"), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("set_status", [True, False])
@pytest.mark.parametrize("record", [True, False])
def test_with_start_span_does_what_theirs_does(
    otel: Tracer, traces: Recorder, record: bool, set_status: bool, error: BaseException | None
) -> None:
    """``with tracer.start_span()`` ends the span, records what leaves, makes nothing current."""

    def use(tracer: Any) -> list[Any]:
        seen: list[Any] = []
        with contextlib.suppress(KeyError, asyncio.CancelledError):
            options = {"record_exception": record, "set_status_on_exception": set_status}
            with tracer.start_span("detached", **options) as span:
                seen += [trace.get_current_span() is trace.INVALID_SPAN, span.is_recording()]
                child = tracer.start_span("child")
                seen.append(child.parent is None)
                child.end()
                if error is not None:
                    raise error
        span.end()
        return [*seen, span.is_recording()]

    their_tracer_, exporter = their_tracer(ALWAYS_ON)
    assert use(otel) == use(their_tracer_)
    ours = SpanView(traces.one("detached"))
    [theirs] = [span for span in exporter.get_finished_spans() if span.name == "detached"]
    assert len(traces) == len(exporter.get_finished_spans())
    assert ours.status.status_code.name == theirs.status.status_code.name
    assert ours.status.description == theirs.status.description
    assert [event.name for event in ours.events] == [event.name for event in theirs.events]
    for mine, other in zip(ours.events, theirs.events, strict=True):
        for key in ("exception.type", "exception.message"):
            assert mine.attributes[key] == (other.attributes or {})[key]


def test_with_start_span_is_not_current_where_it_is_not_sampled() -> None:
    """The same without a record, as with OpenTelemetry's own sampler."""

    def use(tracer: Any) -> list[bool]:
        with tracer.start_span("detached") as span:
            current = trace.get_current_span() is trace.INVALID_SPAN
            below = tracer.start_span("below", context=trace.set_span_in_context(span))
            context, parent = below.get_span_context(), span.get_span_context()
            return [current, span.is_recording(), context.trace_id == parent.trace_id]

    with recording(sampler=AlwaysOff()):
        ours = use(TracerProvider().get_tracer("a.library"))
    assert ours == use(their_tracer(ALWAYS_OFF)[0]) == [True, False, True]


@pytest.mark.parametrize("use", [trace.use_span, use_span])
def test_a_detached_span_can_be_made_current(otel: Tracer, traces: Recorder, use: Any) -> None:
    """``use_span`` of either library puts what starts inside below it."""
    with otel.start_span("detached") as span, use(span):
        assert trace.get_current_span() is span
        with start_span("ours"), otel.start_as_current_span("theirs"):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
    assert traces.tree() == [("detached", [("ours", [("theirs", [])])])]
    assert carrier["traceparent"].endswith(f"{traces.one('theirs').span_id:016x}-01")


def test_exceptions_may_be_left_alone(otel: Tracer, traces: Recorder) -> None:
    """record_exception, set_status_on_exception and end_on_exit are honoured."""
    span = _fail(otel, record_exception=False, set_status_on_exception=False)
    assert span.events is None and span.status == StatusCode.UNSET
    assert span.end_time is not None
    open_span = _fail(otel, end_on_exit=False)
    assert open_span.is_recording()
    assert traces.names == ["fails"]


@pytest.mark.parametrize("options", [{}, {"end_on_exit": False}])
def test_where_tracing_is_off_what_arrived_is_passed_on(options: Any) -> None:
    """No span records, but the caller's context and what is attached reach the next service."""
    otel = TracerProvider(Pipeline()).get_tracer("off")
    token = attach(trace.set_span_in_context(trace.NonRecordingSpan(REMOTE), Context({"x": 1})))
    try:
        with trace.use_span(otel.start_span("server")), otel.start_as_current_span("a", **options):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            assert get_current()["x"] == 1
    finally:
        detach(token)
    assert carrier["traceparent"] == f"00-{REMOTE.trace_id:032x}-{REMOTE.span_id:016x}-01"


# -- the provider ---------------------------------------------------------------------------------


def test_the_resource_can_be_read(pipeline: Pipeline) -> None:
    """``provider.resource.attributes``, as the logging instrumentation reads it."""
    assert TracerProvider(pipeline).resource.attributes["service.name"] == "shop"


def test_flushing_and_shutting_down_return(pipeline: Pipeline) -> None:
    """``force_flush(timeout_millis)`` is a boolean; after ``shutdown`` nothing is recorded."""
    provider = TracerProvider(pipeline)
    assert provider.force_flush(1_000) is True
    provider.shutdown()
    assert not provider.get_tracer("t").start_span("late").is_recording()


def test_a_processor_sees_every_span_start_and_end(pipeline: Pipeline) -> None:
    """Spans of both APIs; what a processor sets at the start is recorded."""
    seen: list[tuple[str, str]] = []

    class Watching:
        def on_start(self, span: Any, parent_context: Context | None = None) -> None:
            span.set_attribute("tenant", baggage.get_baggage("tenant", parent_context))
            seen.append(("start", span.name))

        def on_end(self, span: Any) -> None:
            seen.append(("end", span.name))

        def shutdown(self) -> None:
            seen.append(("shutdown", ""))

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return False

    provider = TracerProvider(pipeline)
    provider.add_span_processor(Watching())
    token = attach(baggage.set_baggage("tenant", "t1"))
    with provider.get_tracer("t").start_as_current_span("a") as outer:
        provider.get_tracer("t").start_span("b").end()
    detach(token)
    assert provider.force_flush() is False
    provider.shutdown()
    assert seen == [("start", "a"), ("start", "b"), ("end", "b"), ("end", "a"), ("shutdown", "")]
    assert outer.attributes == {"tenant": "t1"}


def test_a_processor_that_fails_harms_nobody(pipeline: Pipeline) -> None:
    """What a processor raises does not reach the application, nor keep the span from us."""
    kept: list[Any] = []
    pipeline.configure(kept.append)

    class Broken:
        def on_start(self, span: Any, parent_context: Context | None = None) -> None:
            raise RuntimeError("start")

        def on_end(self, span: Any) -> None:
            raise RuntimeError("end")

        def shutdown(self) -> None: ...
        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return True

    provider = TracerProvider(pipeline)
    provider.add_span_processor(Broken())
    with provider.get_tracer("t").start_as_current_span("a"):
        pass
    assert [span.name for span in kept] == ["a"]


def test_a_processor_stays_when_the_pipeline_is_set_up_anew(pipeline: Pipeline) -> None:
    """``init`` after ``add_span_processor``, in whatever order an application does them."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(pipeline)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    kept: list[Any] = []
    pipeline.configure(kept.append)
    provider.get_tracer("t").start_span("a").end()
    assert [span.name for span in memory.get_finished_spans()] == ["a"]
    assert [span.name for span in kept] == ["a"]


def test_the_sdks_exporters_accept_our_spans(pipeline: Pipeline) -> None:
    """In-memory, console and OTLP: everything of a span arrives in OpenTelemetry's own form."""
    memory, printed = InMemorySpanExporter(), io.StringIO()
    provider = TracerProvider(pipeline)
    provider.add_span_processor(BatchSpanProcessor(memory))
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=printed)))
    otel = provider.get_tracer("lib", "2")
    with (
        otel.start_as_current_span("parent"),
        otel.start_as_current_span("child", kind=SpanKind.CLIENT, links=[Link(REMOTE)]) as span,
    ):
        span.set_attribute("n", 3)
        span.add_event("happened", {"e": True}, timestamp=5)
        span.set_status(Status(StatusCode.ERROR, "because"))
    provider.force_flush()
    child, parent = memory.get_finished_spans()
    assert child.context.trace_id == parent.context.trace_id
    assert child.parent is not None and parent.context is not None
    assert child.parent.span_id == parent.context.span_id
    assert (child.kind, child.attributes) == (SpanKind.CLIENT, {"n": 3})
    assert [(e.name, e.timestamp, e.attributes) for e in child.events] == [
        ("happened", 5, {"e": True})
    ]
    assert child.links[0].context.span_id == REMOTE.span_id
    assert (child.status.status_code, child.status.description) == (StatusCode.ERROR, "because")
    shown, _ = json.JSONDecoder().raw_decode(printed.getvalue())
    assert (shown["name"], shown["status"]["status_code"]) == ("child", "ERROR")
    (group,) = encode_spans([child, parent]).resource_spans
    assert group.resource.attributes[0].value.string_value == "shop"
    (scope,) = group.scope_spans
    assert (scope.scope.name, [s.name for s in scope.spans]) == ("lib", ["child", "parent"])
    provider.shutdown()


# -- propagation ----------------------------------------------------------------------------------

FORMATS = [
    TraceContextPropagator,
    B3Propagator,
    B3MultiPropagator,
    JaegerPropagator,
    SofaPropagator,
    LookoutPropagator,
]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_carries_a_span(form: type[LookoutPropagator], otel: Tracer) -> None:
    """What is injected is extracted: the same trace, the span as the parent.

    SOFA's headers name the parent by its dotted id, from which its numeric one cannot be told.
    """
    carrier: dict[str, str] = {}
    with otel.start_as_current_span("caller") as caller:
        form().inject(carrier)
    arrived = form().extract(carrier, Context())
    span = otel.start_span("callee", arrived)
    assert span.get_span_context().trace_id == caller.get_span_context().trace_id
    if form is not SofaPropagator:
        assert span.parent.span_id == caller.get_span_context().span_id
    assert set(carrier) <= form().fields | {"baggage"}


def test_a_foreign_span_is_injected(traces: Recorder) -> None:
    """Under OpenTelemetry's SDK the same propagators serve its spans."""
    carrier: dict[str, str] = {}
    context = trace.set_span_in_context(trace.NonRecordingSpan(REMOTE), Context())
    B3Propagator().inject(carrier, context)
    assert carrier["b3"].startswith(f"{REMOTE.trace_id:032x}-{REMOTE.span_id:016x}-1")


def test_baggage_of_their_api_travels(otel: Tracer) -> None:
    """Set with ``opentelemetry.baggage``, written, read and visible there again."""
    carrier: dict[str, str] = {}
    with otel.start_as_current_span("caller"):
        context = baggage.set_baggage("tenant", "t1", get_current())
        LookoutPropagator().inject(carrier, context)
    arrived = LookoutPropagator().extract(carrier, Context())
    assert baggage.get_baggage("tenant", arrived) == "t1"


class _Unlisted:
    """A carrier whose getter cannot list its keys, as Celery's."""

    def get(self, carrier: dict[str, str], key: str) -> list[str] | None:
        return [carrier[key]] if key in carrier else None

    def keys(self, carrier: dict[str, str]) -> list[str]:
        return []


def test_a_carrier_that_cannot_be_listed_is_asked_for_the_known_names() -> None:
    """Every format is found in it."""
    carrier = {"b3": f"{REMOTE.trace_id:032x}-{REMOTE.span_id:016x}-1"}
    context = B3Propagator().extract(carrier, Context(), _Unlisted())  # type: ignore[arg-type]
    assert trace.get_current_span(context).get_span_context().span_id == REMOTE.span_id


HEADERS = st.dictionaries(
    st.sampled_from(
        ["traceparent", "tracestate", "baggage", "b3", "X-B3-TraceId", "uber-trace-id", "sftc_head"]
    )
    | st.text(max_size=8),
    st.text(max_size=60),
)


@pytest.mark.parametrize("form", FORMATS)
@given(headers=HEADERS)
def test_no_header_raises(form: type[LookoutPropagator], headers: dict[str, str]) -> None:
    """Whatever a caller sends, the application gets a context."""
    assert isinstance(form().extract(headers, Context()), Context)


def test_headers_that_say_nothing_change_nothing() -> None:
    """Without a trace in the carrier the context stays as it was."""
    context = Context({"a": 1})
    assert LookoutPropagator().extract({"accept": "*/*"}, context) is context


@pytest.fixture
def textmap() -> Iterator[None]:
    """The global propagator is put back."""
    before = propagate.get_global_textmap()
    yield
    propagate.set_global_textmap(before)


def test_only_the_standard_propagator_is_replaced(textmap: None) -> None:
    """A propagator that somebody chose stays; the default one makes way for ours."""
    propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator()]))
    assert adopt() and adopt()
    assert isinstance(propagate.get_global_textmap(), LookoutPropagator)
    chosen = TraceContextTextMapPropagator()
    propagate.set_global_textmap(chosen)
    assert not adopt()
    assert propagate.get_global_textmap() is chosen
