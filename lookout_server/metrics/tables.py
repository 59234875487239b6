"""Rows of a batch as the Arrow tables of ``schema/2xx``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..query.prometheus.histogram import Buckets, Histogram
from .known import DAY_MS, FLOATS, HISTOGRAMS, STARTED, KnownSeries, Place
from .rows import ExemplarSample, HistogramSample, MetricRows
from .series import Labels
from .series_table import Int64Array, SeriesColumn

#: How many kinds of samples there are.
_KINDS = 3
_MILLIS = pa.timestamp("ms", "UTC")
_SECONDS = pa.timestamp("s", "UTC")
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


class _New(NamedTuple):
    """Series of a body to be written down at one place, each with a time (ms) it was seen at."""

    place: Place
    series: SeriesColumn
    at: Int64Array
    seen: Int64Array


def _series(batch: Sequence[MetricRows], known: KnownSeries) -> pa.Table | None:
    found = [new for body in batch for new in _news(body, known)]
    if not found:
        return None
    lengths = [len(new.at) for new in found]
    labels = [new.series.labels(at) for new in found for at in new.at.tolist()]
    kinds = np.array([new.place.kind for new in found], np.uint8)
    return pa.table(
        {
            "tenant": _tenants([new.place.tenant for new in found], lengths),
            "mid": pa.array(np.concatenate([new.series.mids[new.at] for new in found])),
            "id": pa.array(np.concatenate([new.series.ids[new.at] for new in found])),
            "seen": pa.array(np.concatenate([new.seen for new in found]) // 1000).cast(_SECONDS),
            "kind": pa.array(np.repeat(kinds, lengths)),
            "labels": _label_maps(labels),
        }
    )


def _label_maps(labels: Sequence[Labels]) -> pa.Array:
    """Made of two lists of texts: as a list of pairs Arrow takes ten times as long to read it."""
    offsets = np.zeros(len(labels) + 1, np.int32)
    np.cumsum([len(pairs) for pairs in labels], out=offsets[1:])
    names = pa.array([name for pairs in labels for name, _ in pairs], pa.string())
    values = pa.array([value for pairs in labels for _, value in pairs], pa.string())
    return pa.MapArray.from_arrays(pa.array(offsets), names, values)


def _news(rows: MetricRows, known: KnownSeries) -> Iterator[_New]:
    """Series that are to be written down."""
    for day, kind, at, seen in _seen(rows):
        place = Place(rows.tenant, day, kind)
        fresh = known.news(place, rows.series, at)
        if len(fresh):
            yield _New(place, rows.series, fresh, seen[np.searchsorted(at, fresh)])


def _seen(rows: MetricRows) -> Iterator[tuple[int, int, Int64Array, Int64Array]]:
    """On each day, of each kind, what series there are, ascending, and a time of each."""
    days = rows.timestamps // DAY_MS
    if len(days) and days.min() == days.max() and _only_samples(rows):
        at = np.arange(len(rows.series))
        yield int(days[0]), FLOATS, at, np.full(len(at), rows.timestamps.max())
        return
    series, times, kinds = _all_seen(rows)
    if not len(series):
        return
    packed = (times // DAY_MS * _KINDS + kinds) << 32 | series
    distinct, first = np.unique(packed, return_index=True)
    groups, starts = np.unique(distinct >> 32, return_index=True)
    for group, places in zip(groups.tolist(), np.split(first, starts[1:]), strict=True):
        yield group // _KINDS, group % _KINDS, series[places], times[places]


def _only_samples(rows: MetricRows) -> bool:
    """Whether all series have float samples and nothing else has a time of its own."""
    if rows.histograms or rows.exemplars or rows.starts is not None:
        return False
    return bool(np.bincount(rows.sample_series, minlength=len(rows.series)).all())


def _all_seen(rows: MetricRows) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Series, time and kind of everything in the rows."""
    started = np.where(_starts(rows) != 0, STARTED, FLOATS)
    others = [(one.series, one.timestamp, HISTOGRAMS) for one in rows.histograms]
    others += [(one.series, one.timestamp, FLOATS) for one in rows.exemplars]
    more = np.array(others, np.int64).reshape(-1, 3)
    return (
        np.concatenate([rows.sample_series.astype(np.int64), more[:, 0]]),
        np.concatenate([rows.timestamps, more[:, 1]]),
        np.concatenate([started, more[:, 2]]),
    )


def _histograms(batch: Sequence[MetricRows]) -> pa.Table | None:
    found = [(rows, sample) for rows in batch for sample in rows.histograms]
    if not found:
        return None
    columns: dict[str, pa.Array] = _keys([(rows, sample) for rows, sample in found])
    columns["st"] = _times(np.array([sample.start for _, sample in found], dtype=np.int64))
    histograms = [sample.histogram for _, sample in found]
    for name, kind, value in _HISTOGRAM_COLUMNS:
        columns[name] = pa.array([value(histogram) for histogram in histograms], kind)
    columns |= _buckets("positive", [histogram.positive for histogram in histograms])
    columns |= _buckets("negative", [histogram.negative for histogram in histograms])
    columns["custom_values"] = pa.array([h.custom_values for h in histograms], _FLOATS)
    return pa.table(columns)


_FLOATS = pa.list_(pa.float64())
_HISTOGRAM_COLUMNS: tuple[tuple[str, pa.DataType, Callable[[Histogram], Any]], ...] = (
    ("schema", pa.int8(), lambda h: h.schema),
    ("reset_hint", pa.uint8(), lambda h: int(h.hint)),
    ("zero_threshold", pa.float64(), lambda h: h.zero_threshold),
    ("zero_count", pa.float64(), lambda h: h.zero_count),
    ("count", pa.float64(), lambda h: h.count),
    ("sum", pa.float64(), lambda h: h.sum),
)


def _buckets(side: str, of: Sequence[Buckets]) -> dict[str, pa.Array]:
    """Spans and counts of one side of many histograms: as remote write has them, all at once."""
    sizes = np.array([len(buckets) for buckets in of], np.int64)
    none = np.zeros(0, np.int64)
    indices = np.concatenate([none, *(buckets.indices for buckets in of)])
    owners = np.repeat(np.arange(len(of)), sizes)
    first = np.append(True, owners[1:] != owners[:-1])[: len(owners)]
    begins = np.flatnonzero(first | np.append(True, np.diff(indices) != 1)[: len(owners)])
    ends = np.append(begins[1:], len(indices))[: len(begins)]
    # From the end of the span before; of a histogram's first from bucket 0.
    before = np.append(0, indices[ends[:-1] - 1] + 1)[: len(begins)]
    gaps = indices[begins] - np.where(first[begins], 0, before)
    spans = np.bincount(owners[begins], minlength=len(of))
    return {
        # Raises for a gap of more than 32 bits, which spans of no buckets can add up to.
        f"{side}_offsets": _lists(spans, pa.array(gaps, pa.int32())),
        f"{side}_lengths": _lists(spans, pa.array((ends - begins).astype(np.uint32))),
        f"{side}_buckets": _lists(
            sizes, pa.array(np.concatenate([np.zeros(0), *(buckets.counts for buckets in of)]))
        ),
    }


def _lists(sizes: Int64Array, values: pa.Array) -> pa.Array:
    """The values cut into lists of these sizes."""
    offsets = np.append(0, np.cumsum(sizes)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _exemplars(batch: Sequence[MetricRows]) -> pa.Table | None:
    found = [(rows, sample) for rows in batch for sample in rows.exemplars]
    if not found:
        return None
    columns = _keys(found)
    columns["v"] = pa.array([sample.value for _, sample in found], pa.float64())
    columns["labels"] = _label_maps([sample.labels for _, sample in found])
    return pa.table(columns)


def _keys(
    found: Sequence[tuple[MetricRows, HistogramSample]]
    | Sequence[tuple[MetricRows, ExemplarSample]],
) -> dict[str, pa.Array]:
    return {
        "tenant": pa.array([rows.tenant for rows, _ in found], _TENANT),
        "mid": pa.array(np.array([rows.series.mids[one.series] for rows, one in found])),
        "id": pa.array(np.array([rows.series.ids[one.series] for rows, one in found])),
        "ts": _times(np.array([one.timestamp for _, one in found], dtype=np.int64)),
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
