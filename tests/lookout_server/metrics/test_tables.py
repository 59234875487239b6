"""Rows of metrics become the columns that are stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout_server.metrics.known import KnownSeries
from lookout_server.metrics.rows import HistogramSample, MetricRows
from lookout_server.metrics.series import series_of
from lookout_server.metrics.series_table import SeriesColumn
from lookout_server.metrics.tables import tables
from lookout_server.query.prometheus.histogram import Buckets, Histogram, spans_of


def buckets(indices: Sequence[int]) -> Buckets:
    return Buckets(np.array(indices, np.int64), np.arange(len(indices), dtype=np.float64))


def stored(histograms: Sequence[Histogram]) -> pa.Table:
    rows = MetricRows("t", 1000)
    rows.series = SeriesColumn.of([series_of([("__name__", "h")])])
    rows.histograms = [HistogramSample(0, at, one, 0) for at, one in enumerate(histograms)]
    return tables([rows], KnownSeries())["histograms"]


indices = st.lists(st.integers(-5, 5), unique=True).map(sorted).map(buckets)


@settings(deadline=None)
@given(st.lists(st.tuples(indices, indices), min_size=1, max_size=6))
def test_histograms_keep_their_buckets(sides: list[tuple[Buckets, Buckets]]) -> None:
    """Each has its own spans and counts, whatever the one before it ends with."""
    found = stored([Histogram(3, 1, 1, 0, 0, positive, negative) for positive, negative in sides])
    for place, side in enumerate(("positive", "negative")):
        kept = [both[place] for both in sides]
        spans = [spans_of(one) for one in kept]
        columns = (found.column(f"{side}_{name}").to_pylist() for name in ("offsets", "lengths"))
        assert [list(zip(*one, strict=True)) for one in zip(*columns, strict=True)] == spans
        assert found.column(f"{side}_buckets").to_pylist() == [one.counts.tolist() for one in kept]


def test_a_gap_that_has_no_room_is_told() -> None:
    """Buckets further apart than can be stored are not stored as others."""
    with pytest.raises(pa.ArrowInvalid, match="not in range"):
        stored([Histogram(3, 1, 1, 0, 0, buckets([0, 2**32]))])
