"""The compiled reader of Zipkin's JSON gives what the exact one gives, or leaves the body to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporters.compiled import missing
from lookout_server.decoding.span_rows import SpanMirror, SpanSource
from lookout_server.ingest.zipkin_json import read_spans
from lookout_server.ingest.zipkin_scan import AVAILABLE
from lookout_server.signal import Malformed, Receipt
from lookout_server.spans import packed
from lookout_server.spans.columns import SpanColumns
from lookout_server.spans.packed import PackedSpans, Words
from lookout_server.spans.reading import SpanReader

from ..decoding.test_span_rows import shown

if not AVAILABLE:
    pytest.skip(str(missing("lookout_server.ingest._zipkin_scan")), allow_module_level=True)

RECEIPT = Receipt("t", 7, {})
IDS = '"traceId":"6b221d5bc9e6496c","id":"6b221d5bc9e6496d"'
#: It lives through all tests, and remembers what came: so do its words.
READER = SpanReader()


def exact(body: bytes) -> dict[str, Any] | str:
    """The spans by Zipkin's rules to the letter, or why they are refused."""
    try:
        columns = SpanColumns.of(read_spans(body))
    except Malformed as error:
        return str(error)
    columns.tenant, columns.received_ms = RECEIPT.tenant, RECEIPT.received_ms
    return shown(PackedSpans(columns, Words()))


def scanned(body: bytes) -> dict[str, Any] | None:
    """The spans as they were scanned; the second time as well, when all of it is known."""
    if READER.scanned("zipkin.v2.json", body) is None:
        assert READER.scanned("zipkin.v2.json", body) is None
        return None
    rows, source = READER.rows("zipkin.v2.json", body, RECEIPT), SpanSource(READER)
    there = SpanMirror().rows(*source.answer("zipkin.v2.json", body, RECEIPT), RECEIPT)
    assert shown(rows) == shown(there)
    return shown(rows)


def agrees(body: bytes) -> bool:
    """Whether it was scanned; then it is what the exact reader makes of it."""
    found = scanned(body)
    if found is not None:
        assert found == exact(body)
    return found is not None


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        f"[{{{IDS}}}]",
        f' [ {{ {IDS} ,\n\t"tags" : {{ "a" : "b" , "error" : "" }} }}\r, {{{IDS}}} ] ',
        f'[{{{IDS},"parentId":"6b221d5bc9e6496c","kind":"CLIENT","shared":true,"debug":false}}]',
        f'[{{{IDS},"parentId":"6b221d5bc9e6496d","kind":"SERVER","shared":true,"debug":true}}]',
        '[{"id":"00000000000000ff","traceId":"0123456789abcdef0000000000000000","tags":{}}]',
        f'[{{{IDS},"name":"GET /\\u00e9","timestamp":1700000000000000,"duration":0}}]',
        f'[{{{IDS},"localEndpoint":{{"serviceName":"A","ipv4":"1.2.3.4","port":80}}}}]',
        f'[{{{IDS},"remoteEndpoint":{{"ipv6":"::1","serviceName":"}}\\"{{"}}}}]',
        f'[{{{IDS},"annotations":[{{"timestamp":1,"value":"a"}},{{"value":"b","timestamp":2}}]}}]',
        f'[{{{IDS},"annotations":[],"tags":{{"sql":"\\"a\\\\b\\"\\/\\b\\f\\n\\r\\t\\u20ac\\u007f"}}}}]',
        f'[{{{IDS},"tags":{{"日本":"é\U0001f600"}}}}]',
    ],
)
def test_what_clients_send_is_scanned(body: str) -> None:
    """None of the usual forms of a span takes the longer way."""
    assert agrees(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[",
        "{}",
        "[]]",
        "[],",
        f"[{{{IDS}}},]",
        f"[{{{IDS},}}]",
        f"[{{{IDS}}}",
        f'[{{{IDS},"name":null}}]',
        f'[{{{IDS},"other":1}}]',
        f'[{{{IDS},"id":"6b221d5bc9e6496d"}}]',
        f'[{{{IDS},"timestamp":-1}}]',
        f'[{{{IDS},"timestamp":01}}]',
        f'[{{{IDS},"timestamp":1.5}}]',
        f'[{{{IDS},"timestamp":}}]',
        f'[{{{IDS},"duration":1234567890123456789}}]',
        f'[{{{IDS},"kind":"client"}}]',
        f'[{{{IDS},"debug":1}}]',
        f'[{{{IDS},"localEndpoint":{{"port":65536}}}}]',
        f'[{{{IDS},"localEndpoint":{{"serviceName":"a"',
        f'[{{{IDS},"localEndpoint":{{"serviceName":{{}}}}}}]',
        f'[{{{IDS},"localEndpoint":{{bad}}}}]',
        f'[{{{IDS},"tags":{{"a":1}}}}]',
        f'[{{{IDS},"tags":{{"a":"1","a":"2"}}}}]',
        f'[{{{IDS},"tags":{{"a":"1","\\u0061":"2"}}}}]',
        f'[{{{IDS},"tags":{{"a":"b\\u0000"}}}}]',
        f'[{{{IDS},"tags":{{"a":"\\ud83d\\ude00"}}}}]',
        f'[{{{IDS},"tags":{{"a":"\\x"}}}}]',
        f'[{{{IDS},"tags":{{"a":"\\u12"}}}}]',
        f'[{{{IDS},"tags":{{"a":"b\n"}}}}]',
        f'[{{{IDS},"tags":{{"a":"b\\"}}}}]',
        f'[{{{IDS},"annotations":[{{"timestamp":2,"value":"a"}},{{"value":"b","timestamp":2}}]}}]',
        f'[{{{IDS},"annotations":[{{"timestamp":2}}]}}]',
        '[{"traceId":"6b221d5bc9e6496c"}]',
        '[{"traceId":"0000000000000000","id":"6b221d5bc9e6496c"}]',
        '[{"traceId":"6b221d5bc9e6496c","id":"0000000000000000"}]',
        '[{"traceId":"6b221d5bc9e6496C","id":"6b221d5bc9e6496c"}]',
        '[{"traceId":"1","id":"6b221d5bc9e6496c"}]',
        '[{"traceId":"\\u0031","id":"6b221d5bc9e6496c"}]',
    ],
)
def test_what_is_unusual_is_left_to_the_exact_reader(body: str) -> None:
    """It is refused or read by the rules; nothing is guessed here."""
    assert scanned(body.encode()) is None


def test_ill_formed_text_is_left_to_the_exact_reader() -> None:
    """Bytes that are no UTF-8, wherever they stand."""
    for place in ('"name":"%"', '"tags":{"%":"a"}', '"tags":{"a":"%"}', '"kind":"%"'):
        body = f"[{{{IDS},{place}}}]".encode()
        for wrong in (b"\xff", b"\xed\xa0\x80", b"\xc3"):
            assert scanned(body.replace(b"%", wrong)) is None


_CHARACTERS = st.sampled_from(["a", "B", "é", "\0", "日", "\U0001f600", '"', "\\", "\n", "}", "İ"])
_TEXT = st.text(_CHARACTERS, max_size=20) | st.text("abc/0", min_size=500, max_size=520)
_ID = st.integers(0, 2**64 - 1).map("{:016x}".format)
_ENDPOINT = st.fixed_dictionaries(
    {},
    optional={
        "serviceName": _TEXT,
        "ipv4": st.sampled_from(["1.2.3.4", "::1", "x", ""]),
        "port": st.integers(-1, 65_536),
    },
)
_NOTE = st.fixed_dictionaries({"timestamp": st.integers(0, 9), "value": _TEXT})
_SPAN = st.fixed_dictionaries(
    {"traceId": _ID | st.integers(0, 2**128 - 1).map("{:032x}".format), "id": _ID},
    optional={
        "parentId": _ID,
        "kind": st.sampled_from(["CLIENT", "SERVER", "PRODUCER", "CONSUMER"]),
        "name": _TEXT,
        "timestamp": st.integers(0, 2**63),
        "duration": st.integers(0, 10**18),
        "localEndpoint": _ENDPOINT,
        "remoteEndpoint": _ENDPOINT,
        "annotations": st.lists(_NOTE, max_size=2),
        "tags": st.dictionaries(_TEXT | st.just("error"), _TEXT, max_size=4),
        "debug": st.booleans(),
        "shared": st.booleans(),
    },
).flatmap(lambda span: st.permutations(list(span.items())).map(dict))


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    values = draw(st.lists(_SPAN, max_size=3))
    return json.dumps(
        values, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    ).encode()


@settings(deadline=None)
@given(bodies())
def test_any_list_of_spans_is_the_same_by_both_ways(body: bytes) -> None:
    """Any order of fields, any text, escaped or not, with spaces or without."""
    agrees(body)


@settings(deadline=None)
@given(bodies(), st.data())
def test_a_damaged_body_is_the_same_by_both_ways(body: bytes, data: st.DataObject) -> None:
    """Some bytes of it replaced, left out or doubled, or its end cut off."""
    begin = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(begin, min(begin + 8, len(body))))
    middle = data.draw(st.sampled_from([b"", b'"', b"\\", b"}", b"]", b",", b"0", b"\xc3", b"\0"]))
    agrees(body[:begin] + middle + body[end:])
    agrees(body[:begin])


@given(st.binary(max_size=50) | st.text('[]{}":,0ea-.\\u \n', max_size=60).map(str.encode))
@example(b"[" * 1000)
def test_no_bytes_break_it(body: bytes) -> None:
    """Whatever comes, it is spans or left to others."""
    agrees(body)


def test_more_pieces_than_it_remembers_are_asked_about_again() -> None:
    """Codes stay true when places are taken by others, and for pieces too long to remember."""
    reader = SpanReader()
    for number in [*range(20_000), *range(0, 20_000, 7)]:
        body = f'[{{{IDS},"name":"n{number}","tags":{{"{"k" * 600}":""}}}}]'.encode()
        assert reader.scanned("zipkin.v2.json", body) is not None
        rows = reader.rows("zipkin.v2.json", body, RECEIPT)
        assert rows.words.texts[rows.codes[packed.NAME][0]] == f"n{number}"
        assert rows.words.texts[rows.tag_keys[0]] == "k" * 600


def test_a_full_vocabulary_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows keep the words they were read with; later ones are of new words alone."""
    monkeypatch.setattr(packed, "_MOST_WORDS", 10)
    reader = SpanReader()
    rows = [
        reader.rows("zipkin.v2.json", f'[{{{IDS},"name":"n{number // 2}"}}]'.encode(), RECEIPT)
        for number in range(30)
    ]
    assert len({id(one.words) for one in rows}) > 1
    names = [one.words.texts[one.codes[packed.NAME][0]] for one in rows]
    assert names == [f"n{number // 2}" for number in range(30)]


def test_what_sampling_leaves_out_is_left_out() -> None:
    """With a sample rate the collector keeps what every Zipkin collector keeps."""
    body = f'[{{{IDS}}},{{"traceId":"7fffffffffffffff","id":"6b221d5bc9e6496d"}}]'.encode()
    rows = SpanReader(0.9).rows("zipkin.v2.json", body, RECEIPT)
    assert (len(rows), rows.sampled_out) == (1, 1)
