"""Digest lines: valid whatever is in a span, SOFATracer's fields, nothing lost."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.digest import DelimitedDigest, LocalTime
from exporters.json_digest import JsonDigest
from exporters.records import EventRecord, LinkRecord, Resource, losses_of
from exporters.stat import Stats
from exporters.tag_rules import SECRETS, TagRules
from exporters.work import BIZ, HTTP_CLIENT, HTTP_SERVER, SQL, work_of


class Hostile:
    """An object that cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


HOSTILE = {
    "quotes": 'he said "x"',
    "commas": "a,b",
    "breaks": "a\r\nb\u2028c\x85d",
    "nul": "\0",
    "brace": "{not json",
    "surrogate": "\ud800",
    "big": "x" * 1_000_000,
    "number": 10**30,
    "nan": float("nan"),
    "object": Hostile(),
    "list": ["\udfff", 1],
    "\ud801key": 1,
}


def one(data: bytes) -> dict[str, Any]:
    """The only line, which must be one line for every reader."""
    text = data.decode("utf-8")
    assert text.endswith("\n") and text.count("\n") == 1
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_json_line_has_sofa_fields_in_order(span: Any) -> None:
    """The line begins with SOFATracer's fields in its order."""
    record = span(
        kind=1,
        tags={
            "http.request.method": "GET",
            "url.full": "http://h/s",
            "http.response.status_code": 200,
            "thread.name": "main",
        },
    )
    line = one(JsonDigest().encode(HTTP_SERVER, [record]))
    assert list(line)[:10] == [
        "time",
        "local.app",
        "traceId",
        "spanId",
        "span.kind",
        "result.code",
        "current.thread.name",
        "time.cost.milliseconds",
        "request.url",
        "method",
    ]
    assert line["local.app"] == "shop"
    assert line["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert (line["spanId"], line["span.kind"], line["result.code"]) == ("0.1", "server", "200")
    assert (line["current.thread.name"], line["time.cost.milliseconds"]) == ("main", "12ms")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", line["time"])


def test_json_line_keeps_the_whole_span(span: Any) -> None:
    """Everything a span has can be read back from its line."""
    record = span(
        parent_id=7,
        tags={"s": "x", "i": 1, "f": 1.5, "b": True, "l": ["a"]},
        events=[EventRecord(1_000_000, "cache miss", {"key": 1})],
        links=[LinkRecord(1, 2, "a=b", None)],
        status=2,
        status_text="out of stock",
        scope="lib",
        tracestate="v=1",
    )
    line = one(JsonDigest().encode(BIZ, [record]))
    assert (line["id"], line["parentId"]) == ("b7ad6b7169203331", "0000000000000007")
    assert (line["timestamp"], line["duration"]) == (1_700_000_000_123_456, 12_345)
    assert line["tags"] == {"s": "x", "i": 1, "f": 1.5, "b": True, "l": ["a"]}
    assert line["events"] == [{"timestamp": 1000, "name": "cache miss", "attributes": {"key": 1}}]
    assert line["links"][0]["traceId"] == "0" * 31 + "1"
    assert (line["status"], line["statusText"]) == ("ERROR", "out of stock")
    assert (line["scope"], line["tracestate"]) == ("lib", "v=1")
    assert line["resource"] == {"host.ip": "10.0.0.7"}


def test_losses_are_tags(span: Any) -> None:
    """What a span lost to its limits is told under OpenTelemetry's names, and only then."""
    record = span(tags={"a": 2**64}, losses=losses_of(tags=3, events=0, links=0, cut=7))
    text = JsonDigest().encode(BIZ, [record, span()])
    lossy, whole = map(json.loads, text.splitlines())
    assert lossy["tags"] == {
        "a": str(2**64),
        "otel.dropped_attributes_count": 3,
        "lookout.cut_values_count": 7,
    }
    assert "tags" not in whole
    assert b"otel.dropped_attributes_count=3&" in DelimitedDigest().encode(BIZ, [record])


def test_any_mapping_of_tags_is_an_object(span: Any) -> None:
    """OpenTelemetry's spans hand out read-only views of their attributes."""
    from types import MappingProxyType

    line = one(JsonDigest().encode(BIZ, [span(tags=MappingProxyType({"k": 1}))]))
    assert line["tags"] == {"k": 1}


@pytest.mark.parametrize("key", HOSTILE)
def test_json_is_valid_for_hostile_values(span: Any, key: str) -> None:
    """Quotes, breaks, NUL, a megabyte, lone surrogates, odd numbers and objects: valid JSON."""
    digest = JsonDigest()
    record = span(name=key, tags={key: HOSTILE[key], "after": 1})
    line = one(digest.encode(BIZ, [record]))
    assert line["tags"]["after"] == 1
    assert len(line["tags"]) == 2
    if isinstance(HOSTILE[key], str) and key not in {"surrogate"}:
        assert line["tags"][key] == HOSTILE[key]


def test_one_hostile_span_does_not_cost_the_others(span: Any) -> None:
    """A batch with a span no fast encoder takes still gives a line for each."""
    records = [span(span_id=1), span(span_id=2, tags=HOSTILE), span(span_id=3)]
    lines = JsonDigest().encode(BIZ, records).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"{n:016x}" for n in (1, 2, 3)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(st.characters()), json_values, max_size=4), st.text())
def test_any_tags_make_one_valid_line(tags: dict[str, Any], name: str) -> None:
    """Whatever text and numbers tags hold, a JSON reader gets one object per span."""
    from types import SimpleNamespace

    record: Any = SimpleNamespace(
        trace_id=1, span_id=2, parent_id=0, name=name, kind=0, start_ns=10**18, duration_ns=5,
        tags=tags, events=None, links=None, status=0, status_text="", flags=1, tracestate="",
        resource=Resource("s"), scope="", rpc_id="0",
    )  # fmt: skip
    assert one(JsonDigest().encode(BIZ, [record]))["name"] == name
    delimited = DelimitedDigest().encode(BIZ, [record]).decode()
    assert delimited.endswith("\r\n") and len(delimited.splitlines()) == 1
    assert delimited.count(",") == 11


def test_delimited_line_is_sofas(span: Any) -> None:
    """Fields, order, suffixes and line end are SOFATracer's."""
    record = span(
        kind=1,
        tags={
            "http.request.method": "GET",
            "url.full": "http://h/s?a=1,2",
            "http.response.status_code": 200,
            "http.response.body.size": 17,
            "thread.name": "main",
        },
    )
    line = DelimitedDigest().encode(HTTP_SERVER, [record]).decode()
    fields = line.split(",")
    assert fields[1:] == [
        "shop",
        "0af7651916cd43dd8448eb211c80319c",
        "0.1",
        "server",
        "200",
        "main",
        "12ms",
        "http://h/s?a=1%2C2",
        "GET",
        "",
        "17B",
        "",
        "",
        "\r\n",
    ]


@pytest.mark.parametrize("key", ["quotes", "commas", "breaks", "nul", "brace"])
def test_delimited_values_can_be_read_back(span: Any, key: str) -> None:
    """No value shifts columns or lines, and each comes back by percent-decoding."""
    line = DelimitedDigest().encode(BIZ, [span(tags={"k": HOSTILE[key]})]).decode()
    assert len(line.splitlines()) == 1
    fields = line[:-2].split(",")
    assert len(fields) == 12
    assert unquote(fields[9]) == f"k={HOSTILE[key]}&"


@pytest.mark.parametrize(
    ("kind", "tags", "name"),
    [
        (1, {"http.request.method": "GET"}, "http-server"),
        (1, {"http.method": "GET"}, "http-server"),
        (2, {"http.request.method": "GET"}, "http-client"),
        (2, {"db.system.name": "postgresql"}, "sql"),
        (2, {"db.system": "redis"}, "redis"),
        (2, {"db.system": "mongodb"}, "mongodb"),
        (2, {"rpc.system": "grpc"}, "rpc-client"),
        (1, {"rpc.system": "grpc"}, "rpc-server"),
        (3, {}, "mq-send"),
        (4, {}, "mq-consume"),
        (0, {"http.request.method": "GET"}, "biz"),
        (2, {}, "biz"),
        (1, None, "biz"),
    ],
)
def test_kind_of_work(span: Any, kind: int, tags: Any, name: str) -> None:
    """Spans are told apart by kind and by OpenTelemetry's tags, current and former."""
    assert work_of(span(kind=kind, tags=tags)).name == name


@pytest.mark.parametrize(
    ("codes", "client", "expected"),
    [
        (["100", "200", "204", "301", "302"], False, True),
        (["304", "307", "404", "500", "03", "99", "", " "], False, False),
        (["00"], False, False),
        (["00", "200"], True, True),
        (["304", "99", ""], True, False),
    ],
)
def test_what_counts_as_success(codes: list[str], client: bool, expected: bool) -> None:
    """SOFATracer's table of result codes, for servers and for clients."""
    work = HTTP_CLIENT if client else HTTP_SERVER
    assert [work.succeeded(code) for code in codes] == [expected] * len(codes)


@pytest.mark.parametrize(
    ("status", "tags", "work", "success"),
    [
        (0, {}, BIZ, True),
        (2, {}, BIZ, False),
        (0, {"result.code": "03"}, BIZ, False),
        (1, {"result.code": "00"}, BIZ, True),
        (2, {"result.code": "00"}, BIZ, False),
        (2, {"http.response.status_code": 200}, HTTP_SERVER, False),
        (0, {"http.response.status_code": 200}, HTTP_SERVER, True),
        (0, {"http.response.status_code": 404}, HTTP_SERVER, False),
    ],
)
def test_the_statistics_count_no_span_as_success_that_its_line_calls_an_error(
    span: Any, status: int, tags: Any, work: Any, success: bool
) -> None:
    """Success is what the result code of the digest line says, and no span with status ERROR."""
    stats = Stats(work)
    stats.add([span(status=status, tags=tags)], False)
    ((key, _),) = stats.take()
    assert key.success is success
    line = one(JsonDigest().encode(work, [span(status=status, tags=tags)]))
    assert success is (work.succeeded(line["result.code"]) and line.get("status") != "ERROR")


def test_sql_result_codes(span: Any) -> None:
    """SQL says success and failed, as SOFATracer's data source does."""
    line = one(JsonDigest().encode(SQL, [span(kind=2, status=2, tags={"db.system": "h2"})]))
    assert (line["result.code"], line["database.type"]) == ("failed", "h2")


def test_rules_select_and_mask(span: Any) -> None:
    """Secrets are masked by key and by value, unwanted tags left out, in both formats."""
    rules = TagRules(drop=["^internal"], mask=[SECRETS], mask_values=[r"\d{16}"])
    tags = {"user.password": "hunter2", "internal.x": 1, "note": "card 4111111111111111 ok", "n": 5}
    line = one(JsonDigest(rules).encode(BIZ, [span(tags=tags)]))
    assert line["tags"] == {"user.password": "***", "note": "card *** ok", "n": 5}
    delimited = DelimitedDigest(rules).encode(BIZ, [span(tags=tags)])
    assert b"hunter2" not in delimited and b"4111" not in delimited
    only = one(JsonDigest(TagRules(keep=["^n$"])).encode(BIZ, [span(tags=tags)]))
    assert only["tags"] == {"n": 5}


@pytest.mark.parametrize("moment_ns", [0, -1, 10**18, 10**30, -(10**30)])
def test_time_never_fails(moment_ns: int) -> None:
    """Any number is some time: a wrong clock must not cost a line."""
    assert re.fullmatch(r"[-\d]+-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", LocalTime()(moment_ns))
