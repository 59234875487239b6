"""Columns to tables to ClickHouse and back: nothing of a span is lost, whatever it holds."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookout_server.query.zipkin.read import SPAN_COLUMNS, spans_of
from lookout_server.spans.addresses import format_ip, parse_ip
from lookout_server.spans.columns import SpanColumns
from lookout_server.spans.known import KnownNames
from lookout_server.spans.model import KINDS, Endpoint, Span, make_span
from lookout_server.spans.packed import PackedSpans, Vocabulary, Words
from lookout_server.spans.tables import (
    duration_steps,
    first_of,
    fold_trace_id,
    partition_days,
    span_tables,
    split_token,
    tag_token,
)
from lookout_server.store.embedded import EmbeddedStore

RECEIVED_MS = 1_795_000_000_000
LONGS = st.one_of(st.integers(0, 2**63 - 1), st.integers(0, 10), st.just(RECEIVED_MS * 1000))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
IDS = st.integers(1, 2**64 - 1).map(lambda n: f"{n:016x}")
ENDPOINTS = st.builds(
    Endpoint,
    TEXTS.map(str.lower),
    st.sampled_from(["", "1.2.3.4"]),
    st.sampled_from(["", "2001:db8::1"]),
    st.integers(0, 65535),
)
SPANS = st.builds(
    make_span,
    st.one_of(IDS, st.tuples(IDS, IDS).map("".join)),
    IDS,
    parent_id=st.one_of(st.just(""), IDS),
    kind=st.sampled_from(KINDS),
    name=TEXTS,
    timestamp=LONGS,
    duration=LONGS,
    local=ENDPOINTS,
    remote=ENDPOINTS,
    annotations=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), TEXTS), max_size=3),
    tags=st.dictionaries(TEXTS, TEXTS, max_size=4),
    debug=st.booleans(),
    shared=st.booleans(),
)


def columns(spans: list[Span], tenant: str = "t", words: Words | None = None) -> PackedSpans:
    made = SpanColumns.of(spans)
    made.tenant, made.received_ms = tenant, RECEIVED_MS
    return PackedSpans(made, words or Words())


def comparable(spans: list[Span]) -> list[str]:
    return sorted(repr(span._replace(tags=dict(sorted(span.tags.items())))) for span in spans)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(spans=st.lists(SPANS, min_size=1, max_size=20))
def test_spans_come_back_as_they_were(store: EmbeddedStore, spans: list[Span]) -> None:
    """Ids of both widths, any times, any text in names, tags and annotations: all come back."""
    tenant = f"fidelity-{id(spans)}-{np.random.default_rng().integers(2**60)}"
    table = span_tables([columns(spans, tenant)], ())["spans"]
    for number, part in enumerate(set(table.column("part").to_pylist())):
        mask = pa.compute.equal(table.column("part"), part)
        store.insert("spans", table.filter(mask), f"{tenant}-{number}")
    sql = f"SELECT {SPAN_COLUMNS} FROM spans WHERE tenant = {{tenant:String}}"
    found = list(spans_of(store.fetch(sql, {"tenant": tenant})))
    assert comparable(found) == comparable(spans)


@given(st.lists(SPANS, min_size=2, max_size=20))
def test_tables_are_the_same_each_time(spans: list[Span]) -> None:
    """A replay after a crash makes the rows it made before, whatever words were known."""
    words = Words()
    columns(spans[1:], words=words)
    bodies = [spans[:1], spans[1:]]
    first = span_tables([columns(body) for body in bodies], ("k",))
    second = span_tables([columns(body, words=words) for body in bodies], ("k",))
    for table, rows in first.items():
        assert rows.to_pylist() == second[table].to_pylist()


@given(st.lists(SPANS, max_size=20), st.sampled_from([(), ("", "a", "0")]))
def test_names_are_each_there_once(spans: list[Span], keys: tuple[str, ...]) -> None:
    """Services, span names, remote services and the tags asked for, of all bodies of a batch."""
    expected = set()
    for span in spans:
        service = span.local.service
        expected |= {("service", "", service)} if service else set()
        expected |= {("span", service, span.name)} if service and span.name else set()
        remote = span.remote.service
        expected |= {("remote", service, remote)} if service and remote else set()
        expected |= {("tag", key, value) for key, value in span.tags.items() if key in keys}
    made = span_tables([columns([span]) for span in spans] or [columns([])], keys)["span_names"]
    rows = [(row["what"], row["service"], row["value"]) for row in made.to_pylist()]
    assert sorted(rows) == sorted(expected)


@given(st.lists(st.tuples(*[st.integers(-(2**40), 2**40)] * 3), max_size=30))
def test_first_of(rows: list[tuple[int, int, int]]) -> None:
    """The first place of each distinct row, however far the values are apart."""
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    expected = [rows.index(row) for row in dict.fromkeys(rows)]
    assert first_of(*columns).tolist() == expected


def test_words_of_several_vocabularies_meet() -> None:
    """Rows packed before and after a vocabulary was full are one column of one dictionary."""
    spans = [make_span("1" * 16, f"{n + 1:016x}", name=f"n{n % 2}") for n in range(4)]
    rows = [columns([span], words=Words()) for span in spans]
    column = span_tables(rows, ())["spans"].column("name").combine_chunks()
    assert column.to_pylist() == ["n0", "n1", "n0", "n1"]
    assert column.dictionary.to_pylist() == ["n0", "n1"]


def test_a_full_vocabulary_is_left_behind() -> None:
    """Names without end do not stay in memory without end."""
    vocabulary = Vocabulary()
    first = vocabulary.words()
    assert vocabulary.words() is first
    first.codes([str(n) for n in range(70_000)])
    assert vocabulary.words() is not first
    assert vocabulary.words().texts == []


@given(TEXTS, TEXTS)
def test_tag_token_splits_into_what_it_was_made_of(key: str, value: str) -> None:
    """Keys may hold the separator, and the escape."""
    assert split_token(tag_token(key, value)) == (key, value)


def test_tags_with_many_values_are_kept_apart() -> None:
    """A key whose values hardly repeat goes to its own column; a key that repeats does not."""
    spans = [
        make_span("1" * 16, f"{n + 1:016x}", tags={"user": str(n), "zone": "ab"[n % 2]})
        for n in range(1000)
    ]
    table = span_tables([columns(spans)], ())["spans"]
    assert table.column("tags_high")[7].as_py() == ["user=7"]
    assert table.column("tags_low")[7].as_py() == ["zone=b"]


@pytest.mark.parametrize(
    ("days_from_receipt", "expected"),
    [(0, None), (-32, None), (32, None), (-33, "year"), (33, "year")],
)
def test_far_days_share_a_partition_a_year(days_from_receipt: int, expected: str | None) -> None:
    """Near the day of receipt the partition is the day, further off the first of the year."""
    received = np.array([RECEIVED_MS * 1000])
    time = received + days_from_receipt * 86_400_000_000
    found = date(1970, 1, 1) + timedelta(int(partition_days(time, received)[0]))
    day = date(1970, 1, 1) + timedelta(int(time[0] // 86_400_000_000))
    assert found == (day.replace(month=1, day=1) if expected == "year" else day)


@given(st.integers(0, 2**63 - 1))
def test_any_time_has_a_partition(time: int) -> None:
    """The end of time does not overflow a Date, and the partitions of all times are bounded."""
    received = np.array([RECEIVED_MS * 1000])
    day = int(partition_days(np.array([time]), received)[0])
    assert 0 <= day <= 65_379


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_duration_steps_keep_the_order(one: int, other: int) -> None:
    """A filter by steps never misses a duration that a filter by microseconds would find."""
    low, high = duration_steps(np.array(sorted((one, other)), np.int64)).tolist()
    assert low <= high


def test_fold_spreads_small_ids() -> None:
    """Clients that count their trace ids do not all end in one place."""
    small = np.arange(1, 1000, dtype=np.uint64)
    assert len(set(fold_trace_id(small).tolist())) == 999


@given(st.binary(min_size=16, max_size=16))
def test_addresses_are_canonical(packed: bytes) -> None:
    """What is written of an address is read back as the same."""
    ipv4, ipv6 = format_ip(packed)
    assert parse_ip(ipv4 or ipv6) == (ipv4, ipv6)


def test_known_names_are_not_written_again() -> None:
    """Once stored a name is left out, until an hour has gone or something was not stored."""
    now = [0.0]
    known = KnownNames(lambda: now[0])
    spans = [make_span("1" * 16, "2" * 16, name="get", local=Endpoint("shop"))]

    def names(batch: list[Span]) -> list[str]:
        table = span_tables([columns(batch)], (), known)["span_names"]
        return sorted(table.column("value").to_pylist())

    assert names(spans) == ["get", "shop"]
    assert names(spans) == ["get", "shop"], "not stored so far"
    known.stored()
    assert names(spans) == []
    more = make_span("1" * 16, "3" * 16, name="put", local=Endpoint("shop"))
    assert names([*spans, more]) == ["put"]
    known.forget()
    assert names(spans) == ["get", "shop"]
    known.stored()
    now[0] = 3600.0
    assert names(spans) == ["get", "shop"]
