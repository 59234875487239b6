"""Prometheus remote write 1.0: snappy-compressed ``prometheus.WriteRequest`` to columns.

Most of a body is label sets the collector has seen before, so their raw bytes are the key of a
cache, and samples, whose encoding hardly varies, are decoded by NumPy from their joined bytes.
Whatever does not have the common shape takes the way of the protobuf library.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import cramjam
import numpy as np
from google.protobuf.message import DecodeError

from ..metrics.rows import (
    MAX_AHEAD_MS,
    ExemplarSample,
    HistogramSample,
    Metadata,
    MetricRows,
    ProblemLog,
    in_bounds,
    out_of_bounds_text,
)
from ..metrics.series import InvalidLabels, LabelLimits
from ..metrics.series_table import INVALID, UNKNOWN, Int64Array, SeriesColumn, SeriesTable
from ..query.prometheus.histogram import Histogram, InvalidHistogram, from_remote_write
from ..query.prometheus.histogram.ingest import Side
from ..query.prometheus.source import STALE, STALE_BITS
from ..signal import Malformed, Receipt
from .remote_write_messages import METRIC_TYPES, RawLabel, RawRequest, RawSeries, Sample
from .remote_write_samples import (
    FULL,
    FULL_HEAD,
    STARTED,
    ZERO,
    ZERO_VALUE,
    SampleColumns,
    usual,
)
from .wire import varint

_STALE = struct.pack("<Q", STALE_BITS)

_MAX_RAW_BYTES = 512 * 1024 * 1024
#: First byte of a label set's key when its texts are joined by it: no text has it, for it is not
#: UTF-8, and no field of a label set begins with it.
SEPARATOR = b"\xff"


class LabelCache:
    """Series by the raw bytes of their labels. Bounded: forgets everything when full."""

    def __init__(self, limits: LabelLimits | None = None, capacity: int = 256 * 2**20) -> None:
        self._limits = limits
        self._capacity = capacity  # bytes
        self._table = SeriesTable(read_labels, limits)

    def table(self) -> SeriesTable:
        """What is known, to be asked for once a body: a full one is replaced."""
        if self._table.bytes > self._capacity:
            self._table = SeriesTable(read_labels, self._limits)
        return self._table


def read_labels(raw: bytes) -> list[tuple[str, str]]:
    """Names and values of joined label fields, or of joined texts. Raises InvalidLabels."""
    if raw.startswith(SEPARATOR):
        texts = [_checked_text(text) for text in raw[1:].split(SEPARATOR) if len(raw) > 1]
        return list(zip(texts[::2], texts[1::2], strict=True))
    labels = map(RawLabel.FromString, RawSeries.FromString(raw).labels)
    return [(_checked_text(label.name), _checked_text(label.value)) for label in labels]


def decompress(body: bytes, limit: int = _MAX_RAW_BYTES) -> bytes:
    """Undo the snappy block compression of a remote write or read body. Raises Malformed."""
    check_length(body, limit)
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise Malformed("snappy: corrupt input") from error


def decode(body: bytes, receipt: Receipt, cache: LabelCache) -> MetricRows:
    """Rows of a ``WriteRequest``; ``body`` is still compressed. Raises Malformed."""
    try:
        request = RawRequest.FromString(decompress(body))
        rows = _Decoder(receipt, cache.table()).rows(list(request.timeseries))
    except DecodeError as error:
        raise Malformed(f"proto: {error}") from error
    rows.metadata = [
        Metadata(_text(m.metric_family_name), metric_type(m.type), _text(m.help), _text(m.unit))
        for m in request.metadata
        if m.metric_family_name
    ]
    return rows


class _Decoder:
    """One body on its way to columns.

    A prefix of an encoded TimeSeries that the table knows is a whole number of label fields, so
    what follows it is the next field: to look for a sample by its length or its bytes is safe,
    because a match inside of a label value leaves a prefix that is not known.
    """

    def __init__(self, receipt: Receipt, table: SeriesTable) -> None:
        self._rows = MetricRows(receipt.tenant, receipt.received_ms)
        self._table = table
        self._problems = ProblemLog()
        #: Of each TimeSeries the number of its series, of those found so far.
        self._numbers: Int64Array = np.zeros(0, dtype=np.int64)
        self._samples = SampleColumns()
        #: Samples of common shape, each with the place of its TimeSeries.
        self._loose: list[tuple[int, bytes]] = []

    def rows(self, bodies: list[bytes]) -> MetricRows:
        self._numbers = np.full(len(bodies), UNKNOWN, dtype=np.int64)
        left = self._take_ends(bodies, np.arange(len(bodies)), FULL)
        left = self._take_ends(bodies, left, ZERO)
        left = np.array(self._take_runs(bodies, left.tolist()), dtype=np.int64)
        rest = self._take_ends(bodies, left, STARTED).tolist()
        messages = [(place, RawSeries.FromString(bodies[place])) for place in rest]
        for place, message in messages:
            self._numbers[place] = self._learned(message)
        places = self._list_series()
        for place, message in messages:
            if self._numbers[place] >= 0:
                self._take_message(place, int(places[place]), message)
        self._take_loose()
        self._samples.fill(self._rows, places)
        keep_in_bounds(self._rows, self._problems)
        self._rows.problems = self._problems.list()
        return self._rows

    def _take_ends(
        self, bodies: list[bytes], places: Int64Array, shape: np.dtype[Any]
    ) -> Int64Array:
        """Take each TimeSeries that is a known label set and one sample; the places of others."""
        if not len(places):
            return places
        size, known = shape.itemsize, self._table.known
        some = bodies if len(places) == len(bodies) else [bodies[at] for at in places.tolist()]
        prefixes = [body[:-size] for body in some]
        numbers = np.fromiter(map(known.get, prefixes, repeat(UNKNOWN)), np.int64, len(some))
        hits = np.flatnonzero(numbers >= 0)
        if len(hits) < len(some):
            some = [some[hit] for hit in hits.tolist()]
        records = np.frombuffer(b"".join([body[-size:] for body in some]), shape)
        good = usual(records)
        if not good.all():
            hits, records = hits[good], records[good]
        self._numbers[places[hits]] = numbers[hits]
        self._samples.take(places[hits], records)
        return np.delete(places, hits)

    def _take_runs(self, bodies: list[bytes], places: list[int]) -> list[int]:
        """Take each that is a known label set and several full samples; the places of others."""
        known, size = self._table.known, FULL.itemsize
        owners, counts, numbers, runs = [], [], [], []
        for place in places:
            body = bodies[place]
            at = body.find(FULL_HEAD)
            if at > 0 and (len(body) - at) % size == 0:
                number = known.get(body[:at], UNKNOWN)
                if number >= 0:
                    owners.append(place)
                    counts.append((len(body) - at) // size)
                    numbers.append(number)
                    runs.append(body[at:])
        if not owners:
            return places
        records = np.frombuffer(b"".join(runs), FULL)
        of_record = np.repeat(np.array(owners), counts)
        good = usual(records)
        bad = set(of_record[~good].tolist())
        if bad:
            good = ~np.isin(of_record, list(bad))
            records, of_record = records[good], of_record[good]
        self._numbers[owners] = numbers
        self._numbers[list(bad)] = UNKNOWN
        self._samples.take(of_record, records)
        done = set(owners) - bad
        return [place for place in places if place not in done]

    def _learned(self, message: Any) -> int:
        """The number of the message's series; INVALID, noted, where it has none."""
        try:
            return self._table.learn(b"".join([_label_field(label) for label in message.labels]))
        except InvalidLabels as error:
            count = len(message.samples) + len(message.histograms)
            self._problems.add("invalid_labels", count, str(error))
            return INVALID

    def _list_series(self) -> Int64Array:
        """Set the rows' series; the index among them of each TimeSeries."""
        valid = self._numbers >= 0
        self._rows.series = SeriesColumn(self._table, self._numbers[valid])
        return np.cumsum(valid) - 1

    def _take_message(self, place: int, series: int, message: Any) -> None:
        """All of a TimeSeries that no quick way took."""
        self._take_exemplars(series, message.exemplars)
        markers = take_histograms(self._rows, self._problems, series, message.histograms)
        for _, time, value, start in markers:
            self._samples.take_one(place, time, value, start)
        records = [_common_shape(encoded) for encoded in message.samples]
        if all(records):
            self._loose += [(place, record) for record in records]
        else:
            self._take_others(place, message.samples)

    def _take_loose(self) -> None:
        if not self._loose:
            return
        owners = np.array([place for place, _ in self._loose])
        records = np.frombuffer(b"".join([record for _, record in self._loose]), FULL)
        odd = np.isin(owners, owners[~usual(records)])
        self._samples.take(owners[~odd], records[~odd])
        for at in np.flatnonzero(odd).tolist():
            place, record = self._loose[at]
            self._take_others(place, [record[2:]])

    def _take_others(self, place: int, samples: Iterable[bytes]) -> None:
        for encoded in samples:
            sample = Sample.FromString(encoded)
            self._samples.take_one(place, sample.timestamp, sample.value, sample.start_timestamp)

    def _take_exemplars(self, series: int, exemplars: Iterable[Any]) -> None:
        for exemplar in exemplars:
            if in_bounds(exemplar.timestamp, self._rows.received_ms):
                labels = tuple(sorted((_text(x.name), _text(x.value)) for x in exemplar.labels))
                self._rows.exemplars.append(
                    ExemplarSample(series, exemplar.timestamp, exemplar.value, labels)
                )


def keep_in_bounds(rows: MetricRows, problems: ProblemLog) -> None:
    """Leave out the float samples whose time is not taken, and note them."""
    times = rows.timestamps
    good = (times >= 0) & (times <= rows.received_ms + MAX_AHEAD_MS)
    if good.all():
        return
    bad = times[~good]
    problems.add("out_of_bounds", len(bad), out_of_bounds_text(int(bad[0])))
    rows.sample_series, rows.timestamps = rows.sample_series[good], times[good]
    rows.values = rows.values[good]
    rows.starts = None if rows.starts is None else rows.starts[good]


def take_histograms(
    rows: MetricRows, problems: ProblemLog, series: int, messages: Iterable[Any], start: int = 0
) -> list[tuple[int, int, float, int]]:
    """Add the native histograms of one series, in the messages of remote write 1.0 or 2.0.

    Returned are the staleness markers among them, which are stored as float samples:
    (index of the series, time, value, start).
    """
    markers = []
    for message in messages:
        if _is_stale(message.sum):
            markers.append((series, message.timestamp, STALE, 0))
            continue
        if not in_bounds(message.timestamp, rows.received_ms):
            problems.add("out_of_bounds", 1, out_of_bounds_text(message.timestamp))
            continue
        try:
            histogram = native_histogram(message)
        except InvalidHistogram as error:
            problems.add("invalid_histogram", 1, str(error))
            continue
        began = message.start_timestamp or start
        rows.histograms.append(HistogramSample(series, message.timestamp, histogram, began))
    return markers


def native_histogram(message: Any) -> Histogram:
    """The histogram of a ``Histogram`` message. Raises InvalidHistogram."""
    is_float = message.WhichOneof("count") == "count_float"
    return from_remote_write(
        schema=message.schema,
        count=message.count_float if is_float else message.count_int,
        sum=message.sum,
        zero_threshold=message.zero_threshold,
        zero_count=message.zero_count_float if is_float else message.zero_count_int,
        positive=_side(message.positive_spans, message.positive_deltas, message.positive_counts),
        negative=_side(message.negative_spans, message.negative_deltas, message.negative_counts),
        custom_values=message.custom_values,
        reset_hint=message.reset_hint,
        is_float=is_float,
    )


def _side(spans: Sequence[Any], deltas: Sequence[int], counts: Sequence[float]) -> Side:
    return Side([(span.offset, span.length) for span in spans], deltas, counts)


def _is_stale(value: float) -> bool:
    return math.isnan(value) and struct.pack("<d", value) == _STALE


def metric_type(number: int) -> str:
    """Name of a ``MetricType``, ``unknown`` for a number that has none."""
    return METRIC_TYPES[number] if 0 <= number < len(METRIC_TYPES) else "unknown"


def check_length(body: bytes, limit: int) -> int:
    """Bytes the body says it becomes (a varint). Raises Malformed where they are over ``limit``."""
    length = shift = 0
    for byte in body[:5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if length > limit:
        raise Malformed(f"snappy: decoded block is too large: {length} bytes, limit {limit}")
    return length


def _common_shape(sample: bytes) -> bytes:
    """A sample field in the shape ``FULL``, or nothing where it has another one."""
    if len(sample) == 16 and sample[0] == 0x09:
        return FULL_HEAD[:2] + sample
    if len(sample) == 7 and sample[0] == 0x10:
        return ZERO_VALUE + sample
    return b""


def _label_field(label: bytes) -> bytes:
    return b"\x0a" + varint(len(label)) + label


def _checked_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidLabels(f"invalid metric name or labels: {data[:80]!r} is no UTF-8") from error


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
