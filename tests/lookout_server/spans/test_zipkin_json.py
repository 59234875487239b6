"""Zipkin JSON v2: the exact reader's rules, and a fast path that never disagrees with it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.ingest.zipkin_json import decode, read_spans
from lookout_server.query.zipkin.render import span_json
from lookout_server.signal import Malformed
from lookout_server.spans.columns import SpanColumns

IDS = '"traceId":"6b221d5bc9e6496c","id":"6b221d5bc9e6496c"'


def listed(columns: SpanColumns) -> dict[str, Any]:
    """Columns as plain values that compare."""
    values = {name: getattr(columns, name) for name in SpanColumns.__slots__}
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in values.items()}


def refusal(body: str) -> str:
    with pytest.raises(Malformed) as caught:
        decode(body.encode())
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            '"tags":{"a":true}',
            "Expected a string but was BOOLEAN at line 1 column 72 path $[0].tags.a",
        ),
        ('"tags":{"a":null}', "No value at $[0].tags.a"),
        ('"tags":[]', "Malformed"),
        ('"timestamp":1.5', "Expected a long but was 1.5 at line 1 column 71 path $[0].timestamp"),
        ('"timestamp":"x"', 'For input string: "x"'),
        ('"timestamp":""', "empty String"),
        ('"timestamp":01', "Malformed"),
        ('"debug":1', "Expected a boolean but was NUMBER at line 1 column 65 path $[0].debug"),
        ('"annotations":[{}]', "Incomplete annotation at $[0].annotations[0]."),
        ('"kind":"client"', "No enum constant zipkin2.Span.Kind.client"),
        ('"localEndpoint":{"port":65536}', "invalid port 65536"),
        (
            '"localEndpoint":{"port":99999999999}',
            "Expected an int but was 99999999999 at line 1 column 91 path $[0].localEndpoint.port",
        ),
        ('/*c*/"kind":null', "Malformed"),
    ],
)
def test_refuses_in_the_words_of_zipkin(fields: str, text: str) -> None:
    """A sender who breaks a rule reads which one, as from a Zipkin server."""
    assert refusal(f"[{{{IDS},{fields}}}]") == f"{text} reading List<Span> from json"


@pytest.mark.parametrize("cut", ["", ",", ',"a"', ',"a":', ',"a":[', ',"a":{"b":1'])
def test_says_where_input_ends(cut: str) -> None:
    """A body cut short is refused as such, wherever it was cut."""
    assert refusal(f"[{{{IDS}{cut}").startswith("End of input at line 1 column ")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('"name":12', {"name": "12"}),
        ('"name":"GET"', {"name": "get"}),
        ('"timestamp":"5"', {"timestamp": 5}),
        ('"timestamp":5e0', {"timestamp": 5}),
        ('"timestamp":9223372036854775808', {"timestamp": 2**63 - 1}),
        ('"timestamp":-1', {}),
        ('"name":"\\ud83d\\ude00"', {"name": "\U0001f600"}),
        ('"name":"\\ud83d"', {"name": "?"}),
        ('"name":"a\tb"', {"name": "a\tb"}),
        ('"tags":{"a":1e5,"b":-0}', {"tags": {"a": "1e5", "b": "-0"}}),
        ('"debug":TRUE', {"debug": True}),
        ('"shared":true,"kind":"CLIENT"', {"kind": "CLIENT"}),
        ('"parentId":"6b221d5bc9e6496c"', {}),
        ('"localEndpoint":{"serviceName":""}', {}),
        ('"localEndpoint":{"ipv4":"::ffff:1.2.3.4"}', {"localEndpoint": {"ipv4": "1.2.3.4"}}),
        ('"localEndpoint":{"ipv4":"1:0:0:2:0:0:0:3"}', {"localEndpoint": {"ipv6": "1:0:0:2::3"}}),
        ('"annotations":[{"timestamp":2,"value":"b"},{"value":"a","timestamp":2},'
         '{"timestamp":2,"value":"b"}]',
         {"annotations": [{"timestamp": 2, "value": "a"}, {"timestamp": 2, "value": "b"}]}),
    ],
)  # fmt: skip
def test_reads_leniently(fields: str, expected: dict[str, Any]) -> None:
    """What Zipkin takes is taken, with the value Zipkin gives it."""
    (span,) = read_spans(f"[{{{IDS},{fields}}}]".encode())
    ids = {"traceId": "6b221d5bc9e6496c", "id": "6b221d5bc9e6496c"}
    assert span_json(span) == ids | expected


def test_invalid_utf8_is_replaced() -> None:
    """A tag in another encoding does not cost the sender the whole message."""
    (span,) = read_spans(b'[{"traceId":"1","id":"1","name":"\xff"}]')
    assert span.name == "\ufffd"


hex_ids = st.text("0123456789abcdef", min_size=1, max_size=33)
texts = st.text(max_size=8)
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    texts,
    st.just([]),
    st.just({}),
)


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 19).flatmap(lambda n: odd if n == 0 else usual)


endpoints = st.fixed_dictionaries(
    {},
    optional={
        "serviceName": mostly(texts),
        "ipv4": mostly(st.sampled_from(["1.2.3.4", "256.1.1.1", "::1", "x", ""])),
        "ipv6": mostly(
            st.sampled_from(["2001:db8::1", "::ffff:1.2.3.4", "1::2::3", "0:0:0:0:0:0:0:0"])
        ),
        "port": mostly(st.integers(-1, 65537)),
    },
)
spans = st.fixed_dictionaries(
    {
        "traceId": mostly(hex_ids),
        "id": mostly(st.text("0123456789abcdef", min_size=15, max_size=17)),
    },
    optional={
        "parentId": mostly(st.text("0123456789abcdef", min_size=15, max_size=17)),
        "kind": mostly(st.sampled_from(["CLIENT", "SERVER", "PRODUCER", "CONSUMER"])),
        "name": mostly(texts),
        "timestamp": mostly(st.integers(0, 2**63)),
        "duration": mostly(st.integers(0, 2**63)),
        "localEndpoint": mostly(endpoints),
        "remoteEndpoint": mostly(endpoints),
        "annotations": mostly(
            st.lists(
                st.fixed_dictionaries(
                    {"timestamp": mostly(st.integers(-9, 9)), "value": mostly(texts)}
                ),
                max_size=3,
            )
        ),
        "tags": mostly(st.dictionaries(texts, mostly(texts), max_size=3)),
        "debug": mostly(st.booleans()),
        "shared": mostly(st.booleans()),
        "other": odd,
    },
)


@given(st.lists(spans, max_size=3))
def test_fast_path_agrees_with_the_exact_reader(values: list[Any]) -> None:
    """Whichever way a body takes, the same is stored or the same refused."""
    body = json.dumps(values).encode()
    try:
        exact = SpanColumns.of(read_spans(body))
    except Malformed as error:
        assert refusal(body.decode()) == str(error)
    else:
        assert listed(decode(body)) == listed(exact)


@given(
    st.one_of(
        st.binary(max_size=200), st.text(alphabet='[]{}":,0ea-.\\u \n', max_size=60).map(str.encode)
    )
)
def test_no_body_breaks_the_decoder(body: bytes) -> None:
    """Any bytes are spans or Malformed, never another error."""
    with suppress(Malformed):
        decode(body)
