"""Spans that a second process packed are the spans the collector would have packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout_server.decoding.span_rows import SpanMirror, SpanSource
from lookout_server.signal import Receipt
from lookout_server.spans import packed
from lookout_server.spans.columns import SpanColumns
from lookout_server.spans.model import KINDS, Annotation, Endpoint, Span
from lookout_server.spans.packed import PackedSpans, Vocabulary
from lookout_server.spans.reading import SpanReader
from lookout_server.spans.tables import span_tables

_TEXT = st.text(st.sampled_from(["a", "B", "é", "\0", "日", "\U0001f600", "=", "|"]), max_size=4)
_LONG = st.integers(0, 2**63 - 1)
_ENDPOINT = st.builds(Endpoint, _TEXT, st.just("10.0.0.1"), st.just(""), st.integers(0, 65_535))
_SPANS = st.builds(
    Span,
    trace_id=st.integers(1, 2**128 - 1).map("{:032x}".format),
    id=st.integers(1, 2**64 - 1).map("{:016x}".format),
    parent_id=st.integers(0, 2**64 - 1).map("{:016x}".format),
    kind=st.sampled_from(KINDS),
    name=_TEXT,
    timestamp=_LONG,
    duration=_LONG,
    local=_ENDPOINT,
    remote=_ENDPOINT,
    annotations=st.lists(st.builds(Annotation, _LONG, _TEXT), max_size=3).map(tuple),
    tags=st.dictionaries(_TEXT, _TEXT, max_size=4),
    debug=st.booleans(),
    shared=st.booleans(),
)


@st.composite
def bodies(draw: st.DrawFn) -> SpanColumns:
    columns = SpanColumns.of(draw(st.lists(_SPANS, max_size=4)))
    columns.refused, columns.refusal = draw(st.integers(0, 2**32 - 1)), draw(_TEXT)
    columns.sampled_out = draw(st.integers(0, 2**32 - 1))
    return columns


class Given(SpanReader):
    """Reads what it is told to, and packs it."""

    columns: SpanColumns

    def read(self, fmt: str, body: bytes, receipt: Receipt) -> SpanColumns:
        return self.columns


@settings(deadline=None)
@given(st.lists(bodies(), max_size=5))
def test_any_spans_come_back_unchanged(several: list[SpanColumns]) -> None:
    """Every column of every body, with words that are new and words that were told before."""
    reader, vocabulary = Given(), Vocabulary()
    source, mirror = SpanSource(reader), SpanMirror()
    for number, columns in enumerate(several):
        receipt = Receipt(f"t{number}", number, {})
        columns.tenant, columns.received_ms = receipt.tenant, receipt.received_ms
        reader.columns = columns
        here = mirror.rows(*source.answer("x", b"", receipt), receipt)
        assert shown(here) == shown(PackedSpans(columns, vocabulary.words()))


def test_words_are_those_of_a_new_vocabulary_once_the_old_one_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows packed with the old words keep them; a batch of both has all its texts."""
    monkeypatch.setattr(packed, "_MOST_WORDS", 10)
    reader = Given()
    source, mirror = SpanSource(reader), SpanMirror()
    receipt = Receipt("t", 0, {})
    rows = []
    for number in range(30):
        reader.columns = SpanColumns.of([Span("1" * 32, "1" * 16, name=f"name {number // 2}")])
        rows.append(mirror.rows(*source.answer("x", b"", receipt), receipt))
    assert len({id(one.words) for one in rows}) > 1
    mixed = [*rows[::2], *rows[1::2]]
    names = span_tables(mixed, ())["spans"].column("name").to_pylist()
    assert names == [f"name {number}" for number in range(15)] * 2


def shown(rows: PackedSpans) -> dict[str, Any]:
    """All of it, with texts instead of codes, and the columns' types."""
    found: dict[str, Any] = {}
    for name in PackedSpans.__slots__:
        value = getattr(rows, name)
        if isinstance(value, packed.Texts):
            lengths = None if value.lengths is None else value.lengths.tolist()
            found[name] = (value.joined, lengths)
        elif name == "codes":
            words = np.array(rows.words.texts, object)[value[: packed.TAGS]]
            found[name] = words.tolist(), value[packed.TAGS :].tolist(), value.dtype
        elif name == "tag_keys":
            found[name] = np.array(rows.words.texts, object)[value].tolist(), value.dtype
        elif isinstance(value, np.ndarray):
            found[name] = value.tolist(), value.dtype
        elif name != "words":
            found[name] = value
    return found
