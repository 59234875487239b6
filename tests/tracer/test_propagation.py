"""Contexts on the wire: every format reads what it writes, and nothing that arrives raises."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tracer
from tracer import SpanContext
from tracer.baggage import Baggage
from tracer.propagation import b3, carriers, jaeger, w3c
from tracer.propagation.carriers import EnvironmentCarrier
from tracer.propagation.composite import BY_NAME, Composite, composite
from tracer.testing import Recorder

trace_ids = st.integers(1, (1 << 128) - 1)
span_ids = st.integers(1, (1 << 64) - 1)
tokens = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=20)
items = st.dictionaries(tokens, st.text(max_size=30), max_size=5)
contexts = st.builds(
    SpanContext,
    trace_ids,
    span_ids,
    sampled=st.booleans(),
    tracestate=st.sampled_from(["", "a=1", "vendor@x=1,b= 2"]),
    random=st.booleans(),
)


@given(contexts)
def test_w3c_reads_what_it_writes(context: SpanContext) -> None:
    """Ids, decision, the random flag and the tracestate survive."""
    headers: dict[str, str] = {}
    composite(["tracecontext"], ["tracecontext"]).inject(headers, context)
    read = w3c.extract(headers)
    assert read == context
    assert read is not None
    assert (read.random, read.is_remote) == (context.random, True)


@given(contexts, st.booleans(), span_ids)
def test_b3_reads_what_it_writes(context: SpanContext, debug: bool, parent: int) -> None:
    """Both forms, with debug, and the parent where the form has one."""
    context.debug, context.parent_id, context.tracestate = debug, parent, ""
    for name in ("b3", "b3multi"):
        headers: dict[str, str] = {}
        composite([name], [name]).inject(headers, context)
        read = b3.extract(headers)
        assert read is not None
        assert (read.trace_id, read.span_id) == (context.trace_id, context.span_id)
        assert (read.debug, read.sampled) == (debug, debug or context.sampled)
        assert read.parent_id == (parent if name == "b3multi" else 0)


@given(contexts, st.booleans(), items)
def test_jaeger_reads_what_it_writes(
    context: SpanContext, debug: bool, baggage: dict[str, str]
) -> None:
    """Identity, decision, debug and the items in their own headers."""
    context.debug, context.baggage = debug, Baggage(baggage)
    headers: dict[str, str] = {}
    composite(["jaeger"], ["jaeger"]).inject(headers, context)
    read = composite(["jaeger"], []).extract(headers)
    assert read is not None
    assert (read.trace_id, read.span_id, read.debug) == (context.trace_id, context.span_id, debug)
    assert (read.baggage.biz if read.baggage else {}) == baggage


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("463ac35c9f6413ad:a2fb4a1d1a96d312:0:1", (0x463AC35C9F6413AD, True, False)),
        ("1:2:3:0", (1, False, False)),
        ("1:2:0:3", (1, True, True)),
        ("1%3A2%3A0%3A1", (1, True, False)),
        ("1:2:0:2", (1, True, True)),
        ("0:2:0:1", None),
        ("1:0:0:1", None),
        ("1:2:1", None),
        ("x:2:0:1", None),
        ("1:2:0:111", None),
        ("1" * 33 + ":2:0:1", None),
        (" 1:2:0:1", None),
    ],
)
def test_jaegers_header_is_read_as_its_clients_write_it(
    header: str, expected: tuple[int, bool, bool] | None
) -> None:
    """Leading zeros may be missing, the value may be URL-encoded; malformed ones are ignored."""
    read = jaeger.parse(header)
    assert (read and (read.trace_id, read.sampled, read.debug)) == expected


@given(items)
def test_baggage_reads_what_it_writes(baggage: dict[str, str]) -> None:
    """Any text survives percent encoding."""
    headers: dict[str, str] = {}
    both = composite(["baggage"], ["baggage"])
    both.inject(headers, SpanContext(1, 2, baggage=Baggage(baggage)))
    read = both.extract(headers)
    assert (read.baggage.biz if read and read.baggage else {}) == baggage


def test_baggage_keeps_metadata_and_leaves_out_what_is_malformed() -> None:
    """Properties after a semicolon are passed on; members without a key or value sign are not."""
    read = w3c.parse_baggage(["a=1;p=x;q , b = 2 ,,nothing,=3,c d=4", "e=%C3%A9, f="])
    assert read is not None
    assert dict(read.biz) == {"a": "1", "b": "2", "e": "é", "f": ""}
    assert w3c.format_baggage(read) == "a=1;p=x;q,b=2,e=%C3%A9,f="


def test_baggage_is_cut_at_the_limits_of_the_standard() -> None:
    """64 members and 8,192 bytes, reading and writing."""
    many = ",".join(f"k{number}=v" for number in range(100))
    read = w3c.parse_baggage([many])
    assert read is not None
    assert len(read.biz) == 64
    long = w3c.parse_baggage([",".join(f"k{number}={'v' * 1_000}" for number in range(20))])
    assert long is not None
    assert len(long.biz) == 8
    huge = Baggage({f"k{number}": "é" * 300 for number in range(64)})
    assert len(w3c.format_baggage(huge)) <= 8_192


def test_only_the_applications_items_are_sent_to_everybody() -> None:
    """Infrastructure items stay out of the W3C header."""
    headers: dict[str, str] = {}
    baggage = Baggage({"a": "1"}, {"mark": "T"})
    composite([], ["baggage"]).inject(headers, SpanContext(1, 2, baggage=baggage))
    assert headers == {"baggage": "a=1"}


TRACEPARENT = "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01"


class MultiDict:
    """As Starlette's Headers: iterates names, repeats them in ``items``."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs

    def __iter__(self) -> Any:
        return iter(self.pairs)


@pytest.mark.parametrize(
    "carrier",
    [
        {"traceparent": TRACEPARENT},
        {"Traceparent": TRACEPARENT, "Other": "x"},
        {"TRACEPARENT": [TRACEPARENT]},
        {"traceparent": TRACEPARENT.encode()},
        {b"traceparent": TRACEPARENT.encode(), 7: 8},
        [("traceparent", TRACEPARENT)],
        [(b"host", b"x"), (b"traceparent", TRACEPARENT.encode())],
        (("Traceparent", TRACEPARENT.encode()),),
        MultiDict([("traceparent", TRACEPARENT)]),
        EnvironmentCarrier({"TRACEPARENT": TRACEPARENT}),
    ],
)
def test_any_carrier_of_headers_is_read(carrier: Any) -> None:
    """Mappings, header lists of ASGI, gRPC and Kafka, multi-dicts and environments."""
    read = tracer.extract(carrier)
    assert read is not None
    assert read.span_id == 0xA2FB4A1D1A96D312


@pytest.mark.parametrize("carrier", [None, 7, "text", [1, 2], [("a",)], object(), {"b3": None}, {}])
def test_what_is_no_carrier_has_no_context(carrier: Any) -> None:
    """Nothing raises, nothing is found."""
    assert tracer.extract(carrier) is None
    tracer.inject(carrier, SpanContext(1, 2))


names = st.sampled_from(
    [
        *("traceparent", "tracestate", "baggage", "b3", "X-B3-TraceId", "x-b3-spanid"),
        *("X-B3-Sampled", "x-b3-parentspanid", "uber-trace-id", "uberctx-a"),
        *("sftc_head", "baggage-a", "sofa-rpcid"),
    ]
)
wild = st.one_of(
    st.text(max_size=80),
    st.text("0123456789abcdef-:.=&%,;", max_size=80),
    st.binary(max_size=40),
    st.none(),
    st.integers(),
)


@given(st.lists(st.tuples(names, wild), max_size=8))
def test_no_header_raises(headers: list[tuple[str, Any]]) -> None:
    """Whatever arrives, every reader gives a usable context or none, and it can be written."""
    everything = composite(BY_NAME, BY_NAME)
    for carrier in (headers, dict(headers)):
        read = everything.extract(carrier)
        if read is not None:
            assert 0 <= read.trace_id < 1 << 128
            assert 0 <= read.span_id < 1 << 64
            everything.inject({}, read)
            with tracer.start_span("below", parent=read):
                pass


@given(st.text(max_size=80))
def test_a_traceparent_is_right_or_ignored(text: str) -> None:
    """Nothing but the exact form is taken: no underscore, sign, space or prefix within."""
    assert w3c.parse_traceparent(text) is None


def parts(*widths: int) -> st.SearchStrategy[str]:
    """What may stand between two hyphens: ids of these widths, and what is nearly one."""
    ids = [st.text("0123456789abcdef", min_size=w, max_size=w) for w in widths]
    odd = ["", "0", "1", "d", "D", "11", "-", " ", "00", "01", "ff", "cc", "0" * 16, "0" * 32]
    return st.one_of(*ids, st.sampled_from([*odd, "A" * 16, "1" * 15, "1" * 17, "x" * 16]))


B3_SINGLE = re.compile(
    r"(?!0{16,32}-)([0-9a-f]{32}|[0-9a-f]{16})-(?!0{16})([0-9a-f]{16})(-[01d])?(-[0-9a-f]{16})?"
)


@given(st.lists(parts(16, 32), min_size=1, max_size=5).map("-".join))
def test_the_single_b3_header_has_one_form(text: str) -> None:
    """Exactly what the format's grammar says is read, and as it says."""
    found, read = B3_SINGLE.fullmatch(text), b3.parse_single(text)
    if found is None:
        assert read is None or (text in ("0", "1", "d") and read.trace_id == 0)
        return
    trace, span, decision, parent = found.groups()
    assert read is not None
    assert (read.trace_id, read.span_id) == (int(trace, 16), int(span, 16))
    assert read.sampled == {None: None, "-0": False}.get(decision, True)
    assert (read.debug, read.parent_id) == (decision == "-d", int((parent or "-0")[1:], 16))


TRACEPARENT_FORM = re.compile(
    r"(?:00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
    r"|(?!00|ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?)"
)


@given(st.lists(parts(2, 16, 32), min_size=3, max_size=6).map("-".join), st.sampled_from(["", " "]))
@example(f"00-{'a' * 32}-{'b' * 16}-01", "\t")
@example(f"00-{'a' * 32}-{'b' * 16}-01-", "")
@example(f"01-{'a' * 32}-{'b' * 16}-ff-", "")
@example(f"fe-{'a' * 32}-{'b' * 16}-00-later-fields", " ")
@example(f"fe-{'a' * 32}-{'b' * 16}-00.later", "")
def test_traceparent_has_one_form(text: str, space: str) -> None:
    """Version 00 ends after its flags, later ones may go on after a hyphen, ff is none; spaces
    around are the header's and not the value's."""
    found, read = TRACEPARENT_FORM.fullmatch(text), w3c.parse_traceparent(space + text + space)
    if found is None:
        assert read is None
    else:
        trace, span, flags = filter(None, found.groups())
        assert read == (int(trace, 16), int(span, 16), int(flags, 16))


@pytest.mark.parametrize("odd", ["0x12", "1_23", "+123", "-123", " 123", "12 3", "١٢٣٤", "ABCD"])
def test_what_int_would_accept_is_no_id(odd: str) -> None:
    """Python reads these as numbers; the formats do not."""
    trace = odd.rjust(32, "1")
    assert w3c.parse_traceparent(f"00-{trace}-a2fb4a1d1a96d312-01") is None
    assert b3.parse_single(f"{trace}-a2fb4a1d1a96d312-1") is None
    assert b3.extract({"x-b3-traceid": trace, "x-b3-spanid": "a2fb4a1d1a96d312"}) is None


def test_writing_into_every_kind_of_list(traces: Recorder) -> None:
    """Lists keep the form of what they hold; a second call replaces its own entries."""
    with tracer.start_span("a"):
        for first, kinds in (
            (("k", "v"), (str, str)),
            (("k", b"v"), (str, bytes)),
            ((b"k", b"v"), (bytes, bytes)),
        ):
            headers: list[Any] = [first]
            tracer.inject(headers)
            tracer.inject(headers)
            assert len(headers) == 2
            assert tuple(map(type, headers[1])) == kinds
            assert tracer.extract(headers) is not None
        kafka: list[Any] = []
        tracer.inject(kafka, put=carriers.append_bytes_value)
        assert isinstance(kafka[0][1], bytes)


def test_environment_variables_carry_a_context(traces: Recorder) -> None:
    """A child process finds the span in TRACEPARENT."""
    environment = dict(os.environ)
    with tracer.start_span("a") as span:
        tracer.inject(EnvironmentCarrier(environment))
    read = tracer.extract(EnvironmentCarrier(environment))
    assert read is not None
    assert read.span_id == span.span_id
    assert "TRACEPARENT" in environment


def test_the_first_format_with_ids_wins() -> None:
    """Formats are read in order; a decision alone counts only where nobody sent ids."""
    headers = {
        "traceparent": TRACEPARENT,
        "b3": "48485a3953bb6124-a2fb4a1d1a96d399-0",
        "baggage": "a=1",
    }
    assert tracer.extract(headers).span_id == 0xA2FB4A1D1A96D312  # type: ignore[union-attr]
    turned = composite(["b3", "tracecontext", "baggage"], []).extract(headers)
    assert turned is not None
    assert (turned.span_id, turned.sampled) == (0xA2FB4A1D1A96D399, False)
    assert turned.baggage is not None
    assert dict(turned.baggage.biz) == {"a": "1"}
    alone = composite(["b3", "tracecontext"], []).extract({**headers, "b3": "0"})
    assert alone is not None
    assert alone.span_id == 0xA2FB4A1D1A96D312
    assert composite(["b3"], []).extract({"b3": "0"}).sampled is False  # type: ignore[union-attr]


def test_baggage_arrives_without_ids() -> None:
    """A caller may send items and no trace; the trace begins here."""
    read = tracer.extract({"baggage": "a=1"})
    assert read is not None
    assert (read.trace_id, read.sampled) == (0, None)
    assert dict(read.baggage.biz if read.baggage else {}) == {"a": "1"}


def test_writing_in_several_formats_at_once() -> None:
    """A set of formats for peers that speak different ones."""
    headers: dict[str, str] = {}
    several: Composite = composite([], ["tracecontext", "b3", "b3multi", "jaeger"])
    several.inject(headers, SpanContext(0xAB, 0xCD))
    assert headers == {
        "traceparent": f"00-{0xAB:032x}-{0xCD:016x}-01",
        "b3": f"{0xAB:016x}-{0xCD:016x}-1",
        "x-b3-traceid": f"{0xAB:016x}",
        "x-b3-spanid": f"{0xCD:016x}",
        "x-b3-sampled": "1",
        "uber-trace-id": f"{0xAB:032x}:{0xCD:016x}:0:1",
    }
    assert set(headers) < set(several.fields)


def test_without_a_span_nothing_is_written() -> None:
    """No header is better than an invalid one."""
    headers: dict[str, str] = {}
    tracer.inject(headers)
    assert headers == {}


def test_a_whole_exchange(traces: Recorder) -> None:
    """Client to server to client: one trace, parents in order, tracestate and baggage along."""
    with tracer.start_span("client", parent=SpanContext(9, 8, tracestate="a=1")) as client:
        client.set_baggage_item("tenant", "gold")
        headers: dict[str, str] = {}
        tracer.inject(headers)
    with tracer.start_span("server", parent=tracer.extract(headers)) as server:
        assert server.get_baggage_item("tenant") == "gold"
        assert server.tracestate == "a=1"
        assert server.flags & 8
    assert (server.trace_id, server.parent_id) == (9, client.span_id)
