"""Rows of a batch as the Arrow tables of ``schema/2xx``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..query.prometheus.histogram import Histogram, spans_of
from .known import DAY_MS, FLOATS, HISTOGRAMS, STARTED, KnownSeries, Place
from .rows import ExemplarSample, HistogramSample, MetricRows
from .series import Series
from .series_table import Int64Array

_MILLIS = pa.timestamp("ms", "UTC")
_SECONDS = pa.timestamp("s", "UTC")
_LABELS = pa.map_(pa.string(), pa.string())
_TENANT = pa.dictionary(pa.int32(), pa.string())


def tables(batch: Sequence[MetricRows], known: KnownSeries) -> dict[str, pa.Table]:
    """One table per kind of row the batch holds."""
    made = {
        "series": _series(batch, known),
        "samples": _samples([rows for rows in batch if rows.samples]),
        "histograms": _histograms(batch),
        "exemplars": _exemplars(batch),
        "metadata": _metadata(batch),
    }
    return {name: table for name, table in made.items() if table is not None and len(table)}


def _samples(batch: Sequence[MetricRows]) -> pa.Table | None:
    if not batch:
        return None
    lengths = [len(rows.timestamps) for rows in batch]
    columns = {
        "tenant": _tenants([rows.tenant for rows in batch], lengths),
        "mid": pa.array(np.concatenate([rows.series.mids[rows.sample_series] for rows in batch])),
        "id": pa.array(np.concatenate([rows.series.ids[rows.sample_series] for rows in batch])),
        "ts": _times(np.concatenate([rows.timestamps for rows in batch])),
        "v": pa.array(np.concatenate([rows.values for rows in batch])),
    }
    if any(rows.starts is not None for rows in batch):
        columns["st"] = _times(np.concatenate([_starts(rows) for rows in batch]))
    return pa.table(columns)


def _starts(rows: MetricRows) -> Int64Array:
    if rows.starts is None:
        return np.zeros(len(rows.timestamps), dtype=np.int64)
    return rows.starts


def _tenants(names: Sequence[str], lengths: Sequence[int]) -> pa.Array:
    """A dictionary column: each name repeated as often as its rows are."""
    distinct = list(dict.fromkeys(names))
    places = {name: place for place, name in enumerate(distinct)}
    codes = np.repeat(np.array([places[name] for name in names], dtype=np.int32), lengths)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(distinct, pa.string()))


def _times(millis: Int64Array) -> pa.Array:
    return pa.array(millis).cast(_MILLIS)


def _series(batch: Sequence[MetricRows], known: KnownSeries) -> pa.Table | None:
    rows = [news for body in batch for news in _news(body, known)]
    if not rows:
        return None
    return pa.table(
        {
            "tenant": pa.array([place.tenant for place, _, _ in rows], pa.string()),
            "mid": pa.array([series.mid for _, _, series in rows], pa.uint64()),
            "id": pa.array([series.id for _, _, series in rows], pa.uint64()),
            "seen": pa.array([seen // 1000 for _, seen, _ in rows], pa.int64()).cast(_SECONDS),
            "kind": pa.array([place.kind for place, _, _ in rows], pa.uint8()),
            "labels": pa.array([series.labels for _, _, series in rows], _LABELS),
        }
    )


def _news(rows: MetricRows, known: KnownSeries) -> Iterator[tuple[Place, int, Series]]:
    """Series that are to be written down, where, and a time (ms) they have something at."""
    days = rows.timestamps // DAY_MS
    if len(days) and days.min() == days.max() and _only_samples(rows):
        place, seen = Place(rows.tenant, int(days[0]), FLOATS), int(rows.timestamps.max())
        for series in known.news(place, rows.series):
            yield place, seen, series
        return
    for index, time, kind in _times_seen(rows, days):
        place = Place(rows.tenant, time // DAY_MS, kind)
        for series in known.news_at(place, rows.series, (index,)):
            yield place, time, series


def _only_samples(rows: MetricRows) -> bool:
    """Whether all series have float samples and nothing else has a time of its own."""
    if rows.histograms or rows.exemplars or rows.starts is not None:
        return False
    return bool(np.bincount(rows.sample_series, minlength=len(rows.series)).all())


def _times_seen(rows: MetricRows, days: Int64Array) -> Iterable[tuple[int, int, int]]:
    """A time for each (index of the series, day, kind)."""
    started = 0 if rows.starts is None else (rows.starts != 0).astype(np.int64)
    packed = (rows.sample_series.astype(np.int64) << 32 | days) * 2 + started
    _, first = np.unique(packed, return_index=True)
    for at in first.tolist():
        kind = STARTED if rows.starts is not None and rows.starts[at] else FLOATS
        yield int(rows.sample_series[at]), int(rows.timestamps[at]), kind
    for histogram in rows.histograms:
        yield histogram.series, histogram.timestamp, HISTOGRAMS
    for exemplar in rows.exemplars:
        yield exemplar.series, exemplar.timestamp, FLOATS


def _histograms(batch: Sequence[MetricRows]) -> pa.Table | None:
    found = [(rows, sample) for rows in batch for sample in rows.histograms]
    if not found:
        return None
    columns: dict[str, pa.Array] = _keys([(rows, sample) for rows, sample in found])
    columns["st"] = _times(np.array([sample.start for _, sample in found], dtype=np.int64))
    histograms = [sample.histogram for _, sample in found]
    for name, kind, value in _HISTOGRAM_COLUMNS:
        columns[name] = pa.array([value(histogram) for histogram in histograms], kind)
    return pa.table(columns)


_INTS, _COUNTS, _FLOATS = pa.list_(pa.int32()), pa.list_(pa.uint32()), pa.list_(pa.float64())
_HISTOGRAM_COLUMNS: tuple[tuple[str, pa.DataType, Callable[[Histogram], Any]], ...] = (
    ("schema", pa.int8(), lambda h: h.schema),
    ("reset_hint", pa.uint8(), lambda h: int(h.hint)),
    ("zero_threshold", pa.float64(), lambda h: h.zero_threshold),
    ("zero_count", pa.float64(), lambda h: h.zero_count),
    ("count", pa.float64(), lambda h: h.count),
    ("sum", pa.float64(), lambda h: h.sum),
    ("positive_offsets", _INTS, lambda h: [offset for offset, _ in spans_of(h.positive)]),
    ("positive_lengths", _COUNTS, lambda h: [length for _, length in spans_of(h.positive)]),
    ("positive_buckets", _FLOATS, lambda h: h.positive.counts),
    ("negative_offsets", _INTS, lambda h: [offset for offset, _ in spans_of(h.negative)]),
    ("negative_lengths", _COUNTS, lambda h: [length for _, length in spans_of(h.negative)]),
    ("negative_buckets", _FLOATS, lambda h: h.negative.counts),
    ("custom_values", _FLOATS, lambda h: h.custom_values),
)


def _exemplars(batch: Sequence[MetricRows]) -> pa.Table | None:
    found = [(rows, sample) for rows in batch for sample in rows.exemplars]
    if not found:
        return None
    columns = _keys(found)
    columns["v"] = pa.array([sample.value for _, sample in found], pa.float64())
    columns["labels"] = pa.array([sample.labels for _, sample in found], _LABELS)
    return pa.table(columns)


def _keys(
    found: Sequence[tuple[MetricRows, HistogramSample]]
    | Sequence[tuple[MetricRows, ExemplarSample]],
) -> dict[str, pa.Array]:
    series = [rows.series[sample.series] for rows, sample in found]
    return {
        "tenant": pa.array([rows.tenant for rows, _ in found], _TENANT),
        "mid": pa.array([one.mid for one in series], pa.uint64()),
        "id": pa.array([one.id for one in series], pa.uint64()),
        "ts": _times(np.array([sample.timestamp for _, sample in found], dtype=np.int64)),
    }


def _metadata(batch: Sequence[MetricRows]) -> pa.Table | None:
    found = list(dict.fromkeys((rows.tenant, word) for rows in batch for word in rows.metadata))
    if not found:
        return None
    return pa.table(
        {
            "tenant": pa.array([tenant for tenant, _ in found], pa.string()),
            "metric": pa.array([word.metric for _, word in found], pa.string()),
            "type": pa.array([word.type for _, word in found], pa.string()),
            "help": pa.array([word.help for _, word in found], pa.string()),
            "unit": pa.array([word.unit for _, word in found], pa.string()),
        }
    )
