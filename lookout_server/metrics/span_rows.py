"""From bodies of metrics made of spans (:mod:`.span_body`) to rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import msgspec
import numpy as np

from ..query.prometheus.histogram import Buckets, Histogram
from ..query.prometheus.numbers import format_float
from ..signal import Malformed, Receipt
from .rows import ExemplarSample, Float64Array, HistogramSample, Metadata, MetricRows, in_bounds
from .series import METRIC_NAME
from .series_table import Int64Array, SeriesColumn
from .span_body import Body, Counters, Histograms, read
from .span_histograms import BOUNDS, SCHEMA, ZERO_THRESHOLD, DurationColumns
from .span_series import Numbered, Shape, SpanSeries

#: Of the series of a histogram those with float samples: buckets, sum and count. One is native.
_FLOATS = len(BOUNDS) + 3


def decode(body: bytes, receipt: Receipt, series: SpanSeries) -> MetricRows:
    """Rows of one body. Raises Malformed."""
    try:
        report = read(body)
        if not in_bounds(report.time_ms, receipt.received_ms):
            raise ValueError(f"its time, {report.time_ms} ms, is out of bounds")
        return _Decoder(report, receipt).rows(series)
    except (msgspec.DecodeError, ValueError) as error:
        raise Malformed(f"span metrics: {error}") from error


class _Decoder:
    """One body on its way to columns."""

    def __init__(self, body: Body, receipt: Receipt) -> None:
        self._body = body
        self._rows = MetricRows(receipt.tenant, receipt.received_ms)
        self._values: list[Float64Array] = []
        self._places: list[Int64Array] = []
        self._starts: list[Int64Array] = []

    def rows(self, series: SpanSeries) -> MetricRows:
        body, rows = self._body, self._rows
        groups: Sequence[Histograms | Counters] = [*body.histograms, *body.counters]
        table, found = series.numbered([(_shape(group), group.keys) for group in groups])
        for group, places in zip(groups, _places(found), strict=True):
            if isinstance(group, Histograms):
                self._take_histograms(group, places)
            else:
                started, counts = group.counts()
                self._take_floats(places, counts.astype(np.float64)[:, None], started)
        for numbered in found:
            for fault in numbered.faults:
                rows.note("invalid_labels", numbered.numbers.shape[1], str(fault))
        numbers = np.concatenate([np.zeros(0, np.int64), *(one.numbers.ravel() for one in found)])
        rows.series = SeriesColumn(table, numbers[numbers >= 0])
        rows.metadata = [Metadata(one.metric, one.type, one.help, "") for one in body.families]
        self._join()
        return rows

    def _take_histograms(self, group: Histograms, places: Int64Array) -> None:
        durations = group.durations()
        totals = np.cumsum(durations.classic, axis=1)
        values = np.column_stack([totals, durations.sums, totals[:, -1]])
        self._take_floats(places[:, :_FLOATS], values, durations.started_ms)
        self._rows.histograms += _native(places[:, _FLOATS], durations, self._body.time_ms)
        # A span may come while the report is written, and clocks are set back.
        received_ms = self._rows.received_ms
        exemplars = [one for one in group.exemplars if in_bounds(one.time_ms, received_ms)]
        buckets = np.searchsorted(BOUNDS, [one.seconds for one in exemplars])
        for bucket, one in zip(buckets.tolist(), exemplars, strict=True):
            if (place := int(places[one.key, bucket])) >= 0:
                labels = (("span_id", one.span_id), ("trace_id", one.trace_id))
                exemplar = ExemplarSample(place, one.time_ms, one.seconds, labels)
                self._rows.exemplars.append(exemplar)

    def _take_floats(self, places: Int64Array, values: Float64Array, started: Int64Array) -> None:
        valid = places >= 0
        self._places.append(places[valid])
        self._values.append(values[valid])
        self._starts.append(np.broadcast_to(started[:, None], places.shape)[valid])

    def _join(self) -> None:
        rows = self._rows
        if self._places:
            rows.sample_series = np.concatenate(self._places).astype(np.int32)
            rows.timestamps = np.full(len(rows.sample_series), self._body.time_ms, np.int64)
            rows.values = np.concatenate(self._values)
            rows.starts = np.concatenate(self._starts)


def _places(found: Sequence[Numbered]) -> Iterator[Int64Array]:
    """Places in the rows' column of series, -1 for a series that is none."""
    before = 0
    for numbers in (one.numbers for one in found):
        valid = numbers >= 0
        counted = np.cumsum(valid).reshape(valid.shape)
        yield np.where(valid, counted - 1 + before, -1)
        before += int(np.count_nonzero(valid))


def _native(
    places: Int64Array, durations: DurationColumns, time_ms: int
) -> Iterator[HistogramSample]:
    """The native histogram of each key that has a series."""
    counts = durations.native_counts.astype(np.float64)
    ends = np.cumsum(durations.native_sizes).tolist()
    each = zip(
        places.tolist(),
        [0, *ends],
        ends,
        durations.counts.tolist(),
        durations.sums.tolist(),
        durations.zeros.tolist(),
        durations.started_ms.tolist(),
        strict=False,
    )
    for place, start, end, count, total, zeros, began in each:
        if place >= 0:
            buckets = Buckets(durations.native_indices[start:end], counts[start:end])
            histogram = Histogram(SCHEMA, count, total, ZERO_THRESHOLD, zeros, buckets)
            yield HistogramSample(place, time_ms, histogram, began)


def _shape(group: Histograms | Counters) -> Shape:
    if isinstance(group, Histograms):
        return _histogram_shape(group.metric, tuple(group.names))
    return Shape(tuple(group.names), (((METRIC_NAME, group.metric),),))


@cache  # there are three
def _histogram_shape(metric: str, names: tuple[str, ...]) -> Shape:
    bounds = [*(format_float(bound) for bound in BOUNDS), "+Inf"]
    buckets = [((METRIC_NAME, f"{metric}_bucket"), ("le", bound)) for bound in bounds]
    others = [((METRIC_NAME, name),) for name in (f"{metric}_sum", f"{metric}_count", metric)]
    return Shape(names, (*buckets, *others))
