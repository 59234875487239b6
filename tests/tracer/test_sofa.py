"""SOFATracer's own cases, and that its defects are not ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from tracer import SpanContext, SpanKind, start_span
from tracer.baggage import Baggage
from tracer.propagation import sofa
from tracer.propagation.composite import composite
from tracer.sofa_ids import fnv1a_64
from tracer.testing import Recorder

TRACE = "0a0fe8801538051482054100133277"
CONTEXT = SpanContext(
    int(TRACE, 16),
    fnv1a_64("0.1.2"),
    baggage=Baggage({"k%1": "v&=1"}, {"mark": "T"}),
    rpc_id="0.1.2",
    sofa_trace_id=TRACE,
)
TEXT = f"tcid={TRACE}&spid=0.1.2&pspid=0.1&sample=true&_sys_mark=T&k%251=v%26%3D1&"


def written(name: str, context: SpanContext = CONTEXT) -> dict[str, str]:
    headers: dict[str, str] = {}
    composite([], [name]).inject(headers, context)
    return headers


def read(headers: Any) -> SpanContext | None:
    return composite(["b3", "sofa"], []).extract(headers)


def test_the_text_form() -> None:
    """Ids, decision, infrastructure items, the application's items, all escaped."""
    assert sofa.format_context(CONTEXT) == TEXT
    assert written("sofatext") == {"sftc_head": TEXT}


def test_the_http_form_is_url_encoded_once_more() -> None:
    """As SOFATracer's HTTP headers have it."""
    assert written("sofa") == {
        "sftc_head": "tcid%3D0a0fe8801538051482054100133277%26spid%3D0.1.2%26pspid%3D0.1"
        "%26sample%3Dtrue%26_sys_mark%3DT%26k%25251%3Dv%2526%253D1%26"
    }


def test_the_b3_form_has_dotted_span_ids() -> None:
    """The headers of SOFATracer's HTTP plugins."""
    assert written("sofab3") == {
        "X-B3-TraceId": TRACE,
        "X-B3-SpanId": "0.1.2",
        "X-B3-ParentSpanId": "0.1",
        "X-B3-Sampled": "true",
        "baggage-sys-mark": "T",
        "baggage-k%251": "v%2526%253D1",
    }


@pytest.mark.parametrize("form", ["sofa", "sofatext", "sofab3"])
def test_every_form_is_read_back(form: str) -> None:
    """Identity, decision and both groups of items survive, whatever case a proxy gives names."""
    for headers in (written(form), {k.title(): v for k, v in written(form).items()}):
        context = read(headers)
        assert context is not None
        assert (context.trace_id, context.sofa_trace_id) == (int(TRACE, 16), TRACE)
        assert (context.rpc_id, context.span_id) == ("0.1.2", fnv1a_64("0.1.2"))
        assert context.parent_id == fnv1a_64("0.1")
        assert context.baggage is not None
        assert dict(context.baggage.sys) == {"mark": "T"}
        assert {k.lower(): v for k, v in context.baggage.biz.items()} == {"k%1": "v&=1"}


@given(
    st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=4),
    st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=4),
    st.booleans(),
)
def test_the_text_form_survives_any_items(
    biz: dict[str, str], sys: dict[str, str], sampled: bool
) -> None:
    """Every key and value comes back, in its group."""
    reserved = {"tcid", "spid", "pspid", "sample"}
    biz = {k: v for k, v in biz.items() if k not in reserved and not k.startswith("_sys_")}
    context = SpanContext(
        5, 6, sampled=sampled, baggage=Baggage(biz, sys), rpc_id="0.3", sofa_trace_id=TRACE
    )
    back = sofa.parse_context(sofa.format_context(context))
    assert back is not None
    assert (back.rpc_id, back.sampled) == ("0.3", sampled)
    assert dict(back.baggage.biz if back.baggage else {}) == biz
    assert dict(back.baggage.sys if back.baggage else {}) == sys


spans = st.lists(st.integers(1, 999), max_size=8).map(lambda steps: ".".join(map(str, [0, *steps])))
keys = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.%&=", min_size=1, max_size=12)
values = st.text(min_size=1, max_size=30)


@pytest.mark.parametrize("form", ["sofa", "sofatext", "sofab3"])
@given(
    sofa_ids=st.integers(0, 2**32 - 1).map(lambda ip: f"{ip:08x}1538051482054100133277"),
    span=spans,
    sampled=st.booleans(),
    biz=st.dictionaries(keys, values, max_size=3),
    sys=st.dictionaries(keys, values, max_size=3),
)
def test_every_form_reads_what_it_writes(
    form: str, sofa_ids: str, span: str, sampled: bool, biz: dict[str, str], sys: dict[str, str]
) -> None:
    """Any ids, decision and items, in each of SOFATracer's forms."""
    reserved = {"tcid", "spid", "pspid", "sample"}
    biz = {k: v for k, v in biz.items() if k not in reserved and not k.startswith("sys-")}
    context = SpanContext(
        int(sofa_ids, 16),
        fnv1a_64(span),
        sampled=sampled,
        baggage=Baggage(biz, sys),
        rpc_id=span,
        sofa_trace_id=sofa_ids,
    )
    back = read(written(form, context))
    assert back is not None
    assert (back.trace_id, back.sofa_trace_id) == (int(sofa_ids, 16), sofa_ids)
    assert (back.rpc_id, back.span_id, back.sampled) == (span, fnv1a_64(span), sampled)
    assert dict(back.baggage.biz if back.baggage else {}) == biz
    assert dict(back.baggage.sys if back.baggage else {}) == sys


def test_missing_parts_have_sofatracers_defaults() -> None:
    """No decision means sampled, no span id the root, no trace id a new trace with the items."""
    assert sofa.parse_context("") is None
    found = sofa.parse_context(f"tcid={TRACE}&spid=0.3&x=1&")
    assert found is not None
    assert (found.rpc_id, found.sampled) == ("0.3", True)
    assert dict(found.baggage.biz if found.baggage else {}) == {"x": "1"}
    root = sofa.parse_context(f"tcid={TRACE}&")
    assert root is not None
    assert (root.rpc_id, root.parent_id) == ("0", 0)
    new = sofa.parse_context("spid=0.3&x=1&sample=false&")
    assert new is not None
    assert (new.trace_id, new.sampled) == (0, False)


def test_escaping() -> None:
    """The three characters, both ways, and the corners of the parser."""
    assert sofa.escape("test%test2&test3=") == "test%25test2%26test3%3D"
    assert sofa.unescape("test%25test2%26test3%3D") == "test%test2&test3="
    assert sofa.unescape(sofa.escape("test%26")) == "test%26"
    assert sofa.format_items({"key1%": "value1%", "key2=": "value2="}) == (
        "key1%25=value1%25&key2%3D=value2%3D&"
    )
    assert sofa.parse_items("k=v=x&nothing&a%3D=1") == {"v": "x", "a=": "1"}


@pytest.mark.parametrize(
    ("span", "parent"), [("0", ""), ("0.1", "0"), ("0.1.1", "0.1"), ("0.1.2.3", "0.1.2")]
)
def test_the_parent_is_what_stands_before_the_last_dot(span: str, parent: str) -> None:
    """Derived, never stored apart."""
    assert sofa.parent_of(span) == parent


def test_a_server_numbers_its_span_below_the_callers(traces: Recorder) -> None:
    """A caller's 0.1.2 gives 0.1.2.1 here, and 0.1.2.1.1 for the call made next."""
    with start_span("server", kind=SpanKind.SERVER, parent=CONTEXT) as server:
        assert server.rpc_id == "0.1.2.1"
        assert server.sofa_trace_id == TRACE
        with start_span("client", kind=SpanKind.CLIENT):
            headers: dict[str, str] = {}
            composite([], ["sofatext"]).inject(headers, tracer.current_span())
    assert headers["sftc_head"].startswith(
        f"tcid={TRACE}&spid=0.1.2.1.1&pspid=0.1.2.1&sample=true&"
    )


def test_100_layers_are_followed_and_101_begin_a_new_trace(traces: Recorder) -> None:
    """A trace that nests without end is cut; its items go on."""
    for layers, same in ((100, True), (101, False)):
        span = ".".join(["0"] * layers)
        found = sofa.parse_context(f"tcid={TRACE}&spid={span}&a=1&")
        assert found is not None
        assert (found.trace_id == int(TRACE, 16)) is same
        assert dict(found.baggage.biz if found.baggage else {}) == {"a": "1"}
        with start_span("server", parent=found) as server:
            assert (server.rpc_id == "0") is not same
            assert server.get_baggage_item("a") == "1"


def test_an_id_that_is_no_hex_still_makes_one_trace(traces: Recorder) -> None:
    """It is hashed for the 128 bits and passed on as it was; a trailing T is no part of it."""
    for text in ("not-hex-at-all", "z" * 40):
        with start_span("server", parent=sofa.parse_context(f"tcid={text}&spid=0&")) as server:
            assert server.trace_id == sofa.trace_number(text)
            assert sofa.format_context(server).startswith(f"tcid={text}&")
    assert sofa.trace_number(f"{TRACE}T") == int(TRACE, 16)


def test_the_older_rpc_keys_are_read() -> None:
    """As SOFARPC before 5.1 and some Python services send them."""
    found = read(
        {
            "SOFA-TraceId": TRACE,
            "SOFA-RpcId": "0.1",
            "sofaPenAttrs": "a=1&",
            "sysPenAttrs": "mark=T&",
            "samp": "false",
        }
    )
    assert found is not None
    assert (found.rpc_id, found.sampled) == ("0.1", False)
    assert found.baggage == Baggage({"a": "1"}, {"mark": "T"})


@pytest.mark.parametrize("word", ["1", "true", "TRUE"])
def test_sofatracers_sampled_words(word: str) -> None:
    """Its B3 headers say true and false where Zipkin's say 1 and 0."""
    headers = {"X-B3-TraceId": TRACE, "X-B3-SpanId": "0.1", "X-B3-Sampled": word}
    assert read(headers).sampled is True  # type: ignore[union-attr]
    assert read({**headers, "X-B3-Sampled": "0"}).sampled is False  # type: ignore[union-attr]


# -- defects that are absent ---


def test_infrastructure_items_do_not_leak_into_the_applications() -> None:
    """SOFATracer's B3 form doubles ``sys-`` items on every hop; ten hops change nothing here."""
    context: SpanContext | None = CONTEXT
    for _ in range(10):
        assert context is not None
        context = read(written("sofab3", context))
    assert context is not None
    assert context.baggage is not None
    assert dict(context.baggage.sys) == {"mark": "T"}
    assert dict(context.baggage.biz) == {"k%1": "v&=1"}


def test_a_failing_call_does_not_nest_the_next_one(traces: Recorder) -> None:
    """SOFATracer's ids grow 0.1, 0.1.1, 0.1.1.1 when calls fail (issue 487)."""
    with start_span("server"):
        for _ in range(3):
            with pytest.raises(ConnectionError), start_span("call", kind=SpanKind.CLIENT):
                raise ConnectionError
    assert [span.rpc_id for span in traces] == ["0.1", "0.2", "0.3", "0"]


def test_an_error_of_a_call_does_not_end_its_caller(traces: Recorder) -> None:
    """SOFATracer's @Tracer finishes the parent too when a method raises."""

    @tracer.trace("inner")
    def inner() -> None:
        raise ValueError

    with start_span("outer") as outer:
        with pytest.raises(ValueError):
            inner()
        assert outer.is_recording()
    assert traces.names == ["inner", "outer"]


def test_events_before_the_start_are_taken(traces: Recorder) -> None:
    """SOFATracer throws into the application after the clock was set back (issue 421)."""
    with start_span("a", start_ns=5_000) as span:
        span.add_event("earlier", None, 1)
    assert [event.time_ns for event in traces.one("a").events or ()] == [1]


def test_a_span_in_a_thread_is_not_what_was_left_there(traces: Recorder) -> None:
    """A server span follows the context that arrived, not one left in the thread."""
    leftover = start_span("leftover").__enter__()
    with start_span("server", parent=CONTEXT) as server:
        assert server.trace_id == CONTEXT.trace_id
    leftover.__exit__(None, None, None)
