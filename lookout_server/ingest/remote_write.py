"""Prometheus remote write 1.0: snappy-compressed ``prometheus.WriteRequest`` to columns.

Most of a body is label sets the collector has seen before, so their raw bytes are the key of a
cache, and samples, whose encoding hardly varies, are decoded by NumPy from their joined bytes.
Whatever does not have the common shape takes the way of the protobuf library.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import cramjam
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from ..metrics.rows import (
    MAX_AHEAD_MS,
    ExemplarSample,
    HistogramSample,
    Int64Array,
    Metadata,
    MetricRows,
    ProblemLog,
    in_bounds,
    out_of_bounds_text,
)
from ..metrics.series import InvalidLabels, LabelLimits, Series, series_of
from ..query.prometheus.histogram import Histogram, InvalidHistogram, from_remote_write
from ..query.prometheus.histogram.ingest import Side
from ..query.prometheus.source import STALE, STALE_BITS
from ..signal import Malformed, Receipt
from .remote_write_messages import METRIC_TYPES, RawLabel, RawRequest, RawSeries, Sample
from .wire import varint

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

#: A sample field as Prometheus encodes it today: tag and length, tag and double, tag and a varint
#: of six bytes (times from 2004 to 2527). A value of 0.0 is left out altogether.
_FULL, _ZERO = b"\x12\x10\x09", b"\x12\x07\x10"
_FULL_BYTES, _ZERO_BYTES = 18, 9
_ZERO_VALUE = b"\x12\x10\x09" + bytes(8)

_STALE = struct.pack("<Q", STALE_BITS)

_MAX_RAW_BYTES = 512 * 1024 * 1024


class LabelCache:
    """Series by the raw bytes of their labels. Bounded: forgets everything when full."""

    def __init__(self, limits: LabelLimits | None = None, capacity: int = 400_000) -> None:
        self.limits = limits
        self._capacity = capacity
        self.known: dict[bytes, Series | InvalidLabels] = {}

    def learn(self, raw: bytes, labels: Sequence[bytes]) -> Series | InvalidLabels:
        """The series of these ``Label`` messages, remembered under ``raw``."""
        texts: list[bytes] = []
        for label in labels:
            message = RawLabel.FromString(label)
            texts += (message.name, message.value)
        return self.learn_texts(raw, texts)

    def learn_texts(self, raw: bytes, texts: Sequence[bytes]) -> Series | InvalidLabels:
        """The series of these names and values in turn, remembered under ``raw``."""
        found: Series | InvalidLabels
        try:
            decoded = [_checked_text(text) for text in texts]
            found = series_of(zip(decoded[::2], decoded[1::2], strict=True), self.limits)
        except InvalidLabels as error:
            found = error
        if len(self.known) >= self._capacity:
            self.known = {}
        self.known[raw] = found
        return found


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
        rows = _Decoder(receipt, cache).rows(request.timeseries)
    except DecodeError as error:
        raise Malformed(f"proto: {error}") from error
    rows.metadata = [
        Metadata(_text(m.metric_family_name), metric_type(m.type), _text(m.help), _text(m.unit))
        for m in request.metadata
        if m.metric_family_name
    ]
    return rows


class _Decoder:
    """One body on its way to columns."""

    def __init__(self, receipt: Receipt, cache: LabelCache) -> None:
        self._rows = MetricRows(receipt.tenant, receipt.received_ms)
        self._cache = cache
        self._problems = ProblemLog()
        #: Samples in the common shape, and how many of them each series has.
        self._common: list[bytes] = []
        self._counts: list[int] = []
        #: All others: index of the series, time, value, start time.
        self._others: list[tuple[int, int, float, int]] = []

    def rows(self, bodies: Sequence[bytes]) -> MetricRows:
        series, counts, common = self._rows.series, self._counts, self._common
        for body in bodies:
            found, samples = self._split(body)
            if type(found) is Series:
                series.append(found)
                counts.append(len(samples) // _FULL_BYTES)
                common.append(samples)
            elif found is not None:
                count = len(samples) // _FULL_BYTES
                self._problems.add("invalid_labels", count, str(found))
        self._take_samples()
        self._rows.problems = self._problems.list()
        return self._rows

    def _split(self, body: bytes) -> tuple[Series | InvalidLabels | None, bytes]:
        """The series of one encoded TimeSeries, and its samples in the common shape.

        A prefix of ``body`` that the cache knows is a whole number of label fields, so what
        follows it is the next field: looking for a sample by its bytes is safe, because a match
        inside of a label value leaves a prefix that the cache does not know.
        """
        known = self._cache.known
        if body[-18:-15] == _FULL:
            found = known.get(body[:-18])
            if found is not None:
                return found, body[-18:]
        elif body[-9:-6] == _ZERO:
            found = known.get(body[:-9])
            if found is not None:
                return found, _ZERO_VALUE + body[-7:]
        at = body.find(_FULL)
        if at > 0 and (len(body) - at) % _FULL_BYTES == 0:
            found = known.get(body[:at])
            if found is not None and _all_full(body, at):
                return found, body[at:]
        return self._split_slowly(body)

    def _split_slowly(self, body: bytes) -> tuple[Series | InvalidLabels | None, bytes]:
        message = RawSeries.FromString(body)
        raw = b"".join(_label_field(label) for label in message.labels)
        found = self._cache.known.get(raw)
        if found is None:
            found = self._cache.learn(raw, message.labels)
        if not isinstance(found, Series):
            count = len(message.samples) + len(message.histograms)
            self._problems.add("invalid_labels", count, str(found))
            return None, b""
        index = len(self._rows.series)
        self._take_exemplars(index, message.exemplars)
        self._others += take_histograms(self._rows, self._problems, index, message.histograms)
        common = [_common_shape(sample) for sample in message.samples]
        if all(common):
            return found, b"".join(common)
        for encoded in message.samples:
            sample = Sample.FromString(encoded)
            row = (index, sample.timestamp, sample.value, sample.start_timestamp)
            self._others.append(row)
        return found, b""

    def _take_exemplars(self, series: int, exemplars: Iterable[Any]) -> None:
        for exemplar in exemplars:
            if in_bounds(exemplar.timestamp, self._rows.received_ms):
                labels = tuple(sorted((_text(x.name), _text(x.value)) for x in exemplar.labels))
                self._rows.exemplars.append(
                    ExemplarSample(series, exemplar.timestamp, exemplar.value, labels)
                )

    def _take_samples(self) -> None:
        rows = self._rows
        table = np.frombuffer(b"".join(self._common), dtype=np.uint8).reshape(-1, _FULL_BYTES)
        counts = np.array(self._counts, dtype=np.int64)
        rows.sample_series = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        # Bytes 12 to 17 are the time, if it is a varint of exactly six bytes behind its tag.
        usual = (table[:, 11] == 0x10) & (table[:, 17] < 0x80) & (table[:, 12:17] >= 0x80).all(1)
        if not usual.all():
            self._take_unusual(table, usual)
            table, rows.sample_series = table[usual], rows.sample_series[usual]
        rows.values = np.ascontiguousarray(table[:, 3:11]).view("<f8").ravel()
        rows.timestamps = _six_byte_varints(table[:, 12:18])
        if self._others:
            self._add_others()
        keep_in_bounds(rows, self._problems)

    def _take_unusual(self, table: UInt8Array, usual: BoolArray) -> None:
        for at in np.flatnonzero(~usual):
            sample = Sample.FromString(table[at, 2:].tobytes())
            series = int(self._rows.sample_series[at])
            self._others.append((series, sample.timestamp, sample.value, sample.start_timestamp))

    def _add_others(self) -> None:
        rows = self._rows
        owners, timestamps, values, starts = zip(*self._others, strict=True)
        all_owners = np.concatenate([rows.sample_series, np.array(owners, dtype=np.int32)])
        # Samples of one series stay in the body's order: the last of one time wins.
        order = np.argsort(all_owners, kind="stable")
        rows.sample_series = all_owners[order]
        rows.timestamps = np.concatenate([rows.timestamps, np.array(timestamps, np.int64)])[order]
        if any(starts):
            common = np.zeros(len(rows.values), dtype=np.int64)
            rows.starts = np.concatenate([common, np.array(starts, dtype=np.int64)])[order]
        rows.values = np.concatenate([rows.values, np.array(values, dtype=np.float64)])[order]


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
    """A sample field of :data:`_FULL_BYTES` bytes, or nothing where it has another shape."""
    if len(sample) == 16 and sample[0] == 0x09:
        return _FULL[:2] + sample
    if len(sample) == 7 and sample[0] == 0x10:
        return _ZERO_VALUE + sample
    return b""


def _all_full(body: bytes, at: int) -> bool:
    return all(body[i : i + 3] == _FULL for i in range(at, len(body), _FULL_BYTES))


def _six_byte_varints(table: UInt8Array) -> Int64Array:
    times = np.zeros(len(table), dtype=np.int64)
    for place in range(6):
        times |= (table[:, place] & 0x7F).astype(np.int64) << (7 * place)
    return times


def _label_field(label: bytes) -> bytes:
    return b"\x0a" + varint(len(label)) + label


def _checked_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidLabels(f"invalid metric name or labels: {data[:80]!r} is no UTF-8") from error


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
