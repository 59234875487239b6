"""Metrics that a second process decoded are the rows the collector would have decoded."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout_server.decoding.metric_rows import MetricMirror, MetricSource
from lookout_server.ingest.remote_write import SEPARATOR, LabelCache
from lookout_server.metrics.known import ActiveSeries, SeriesLimits
from lookout_server.metrics.reading import MetricReader
from lookout_server.metrics.rows import (
    ExemplarSample,
    HistogramSample,
    Metadata,
    MetricRows,
    Problem,
)
from lookout_server.metrics.series import LabelLimits, series_of
from lookout_server.metrics.series_table import Marks, SeriesColumn, SeriesTable
from lookout_server.query.prometheus.histogram import Buckets, Histogram, ResetHint
from lookout_server.signal import Receipt

_LONG = st.integers(-(2**63), 2**63 - 1)
_TEXT = st.text(max_size=4)
_NAMES = st.integers(0, 30).map("metric_{}".format)
_BUCKETS = st.lists(st.floats(0, 9), max_size=3).map(
    lambda counts: Buckets(np.arange(len(counts)), np.array(counts, np.float64))
)
_HISTOGRAMS = st.builds(
    Histogram,
    schema=st.integers(-4, 8),
    count=st.floats(),
    sum=st.floats(),
    positive=_BUCKETS,
    negative=_BUCKETS,
    custom_values=st.lists(st.floats(), max_size=2).map(tuple),
    hint=st.sampled_from(ResetHint),
)


class Given(MetricReader):
    """Reads what it is told to."""

    rows: MetricRows

    def __init__(self) -> None:
        super().__init__(LabelLimits())

    def read(self, fmt: str, body: bytes, receipt: Receipt) -> MetricRows:
        return self.rows


def raw(name: str) -> bytes:
    """Label bytes as remote write 2.0 keys them."""
    return SEPARATOR + SEPARATOR.join([b"__name__", name.encode()])


@st.composite
def bodies(draw: st.DrawFn, table: SeriesTable, receipt: Receipt) -> MetricRows:
    names = draw(st.lists(_NAMES, max_size=5))
    if draw(st.booleans()):
        series = SeriesColumn(table, np.array([table.learn(raw(name)) for name in names], np.int64))
    else:
        series = SeriesColumn.of(series_of([("__name__", name)]) for name in names)
    places = st.integers(0, max(len(names) - 1, 0))
    samples = draw(st.lists(st.tuples(places, _LONG, st.floats(), _LONG), max_size=6))
    of, times, values, starts = zip(*samples, strict=True) if samples else ((), (), (), ())
    rare = st.lists if draw(st.booleans()) else lambda _, max_size: st.just([])
    return MetricRows(
        receipt.tenant,
        receipt.received_ms,
        series,
        np.array(of, np.int32),
        np.array(times, np.int64),
        np.array(values, np.float64),
        np.array(starts, np.int64) if draw(st.booleans()) else None,
        draw(rare(st.tuples(places, _LONG), max_size=2)),
        draw(rare(st.builds(HistogramSample, places, _LONG, _HISTOGRAMS, _LONG), max_size=2)),
        draw(
            rare(
                st.builds(
                    ExemplarSample,
                    places,
                    _LONG,
                    st.floats(),
                    st.dictionaries(_TEXT, _TEXT, max_size=2).map(lambda d: tuple(d.items())),
                ),
                max_size=2,
            )
        ),
        draw(rare(st.builds(Metadata, _TEXT, _TEXT, _TEXT, _TEXT), max_size=2)),
        draw(rare(st.builds(Problem, _TEXT, st.integers(0, 9), _TEXT), max_size=2)),
    )


@settings(deadline=None)
@given(st.data())
def test_any_rows_come_back_unchanged(data: st.DataObject) -> None:
    """Every column of every body, with series that are new, told before, and of no table."""
    reader, cache = Given(), LabelCache()
    source, mirror = MetricSource(reader), MetricMirror(lambda rows: None)
    for number in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            cache = LabelCache()  # as when it is full
        receipt = Receipt(f"t{number}", number, {})
        reader.rows = data.draw(bodies(cache.table(), receipt))
        there = mirror.rows(*source.answer("x", b"", receipt), receipt)
        assert shown(there) == shown(reader.rows)


def test_series_are_told_once() -> None:
    """A body of known series brings no news, and its rows find the labels all the same."""
    reader, table = Given(), LabelCache().table()
    source, mirror = MetricSource(reader), MetricMirror(lambda rows: None)
    receipt = Receipt("t", 0, {})
    news = []
    for count in (3, 2_000, 2_000, 1):
        numbers = np.array([table.learn(raw(f"m{n}")) for n in range(count)], np.int64)
        reader.rows = MetricRows("t", 0, SeriesColumn(table, numbers))
        told, encoded = source.answer("x", b"", receipt)
        news.append(bool(told))
        there = mirror.rows(told, encoded, receipt)
        assert [one.name for one in there.series] == [f"m{n}" for n in range(count)]
    assert news == [True, True, False, False]


def test_limits_are_kept_in_the_collector_over_both_ways() -> None:
    """A series counts once, whichever process decoded it; what is over the limit is told."""
    active = ActiveSeries(SeriesLimits(per_tenant=2))
    reader = Given()
    source, mirror = MetricSource(reader), MetricMirror(active.admit)
    receipt = Receipt("t", 0, {})
    here = one_sample_each("a", "b")
    active.admit(here)
    reader.rows = one_sample_each("b", "c")
    there = mirror.rows(*source.answer("x", b"", receipt), receipt)
    assert [problem.reason for problem in there.problems] == ["series_limit_tenant"]
    assert len(there) == 1 and active.count("t") == 2


def test_marks_of_two_tables_do_not_disturb_each_other() -> None:
    """Bodies decoded here and there in turns leave a known series known."""
    marks = Marks()
    columns = [one_sample_each("a", "b").series, one_sample_each("a", "b").series]
    for column in columns:
        marks.put(column, np.arange(2), 7)
    assert [marks.others(column, np.arange(2), 7).tolist() for column in columns] == [[], []]
    assert marks.others(columns[0], np.arange(2), 8).tolist() == [0, 1]
    assert marks.others(columns[0], np.array([1]), 8).tolist() == [1]


def one_sample_each(*names: str) -> MetricRows:
    table = LabelCache().table()
    numbers = np.array([table.learn(raw(name)) for name in names], np.int64)
    count = len(names)
    return MetricRows(
        "t",
        0,
        SeriesColumn(table, numbers),
        np.arange(count, dtype=np.int32),
        np.full(count, 5),
        np.ones(count),
    )


def shown(rows: MetricRows) -> Any:
    """All of it in bits and texts."""
    found: dict[str, Any] = {
        field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)
    }
    found["series"] = [(one.id, one.mid, one.name, one.labels) for one in rows.series]
    found["ids"] = rows.series.ids.tolist(), rows.series.mids.tolist()
    for name in ("sample_series", "timestamps", "values", "starts"):
        if found[name] is not None:
            found[name] = found[name].dtype, found[name].tobytes()
    found["histograms"] = repr(rows.histograms)
    found["exemplars"] = repr(rows.exemplars)
    return found
