"""Prometheus remote write 2.0: ``io.prometheus.write.v2.Request`` to columns.

Labels, help texts and units are references into one table of strings. The texts of a series,
joined, are the key under which it is known. References and samples of the usual shape are read by
NumPy, all of a body at once; whatever has another shape takes the way of the protobuf library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ..metrics.rows import ExemplarSample, Metadata, MetricRows, ProblemLog, in_bounds
from ..metrics.series import METRIC_NAME, InvalidLabels, Labels
from ..metrics.series_table import INVALID, UNKNOWN, SeriesColumn, SeriesTable
from ..signal import Malformed, Receipt
from .remote_write import (
    SEPARATOR,
    LabelCache,
    decompress,
    keep_in_bounds,
    metric_type,
    take_histograms,
)
from .remote_write_messages import MetadataV2, RawRequestV2, TimeSeriesV2
from .remote_write_samples import FULL, ZERO_VALUE, SampleColumns, usual

_NAME = METRIC_NAME.encode()
#: Tags of fields of a TimeSeries, and the size of a sample behind the tag, with and without value.
_LABELS, _SAMPLE, _METADATA = 0x0A, 0x12, 0x2A
_SAMPLE_BYTES, _ZERO_SAMPLE_BYTES = 0x10, 0x07


def decode(body: bytes, receipt: Receipt, cache: LabelCache) -> MetricRows:
    """Rows of a ``Request``; ``body`` is still compressed. Raises Malformed."""
    try:
        request = RawRequestV2.FromString(decompress(body))
        decoder = _Decoder(receipt, cache.table(), request.symbols)
        return decoder.rows(list(request.timeseries))
    except DecodeError as error:
        raise Malformed(f"proto: {error}") from error


@dataclass(slots=True)
class _Usual:
    """Every TimeSeries of references, samples of the usual shape, and maybe metadata, in lists.

    Lists of bytes, not an object for each: a body has ten thousand of them.
    """

    places: list[int] = field(default_factory=list)
    references: list[bytes] = field(default_factory=list)  # packed
    counts: list[int] = field(default_factory=list)  # of samples
    metadata: list[bytes] = field(default_factory=list)  # b"" where there is none
    records: list[bytes] = field(default_factory=list)  # of all, in order

    def take(self, place: int, body: bytes) -> None:
        """Add an encoded TimeSeries, if it is of that shape."""
        if len(body) < 3 or body[0] != _LABELS or not 0 < body[1] < 0x80:
            return
        at = end = body[1] + 2
        size = len(body)
        if end > size or body[end - 1] >= 0x80:
            return
        before = len(self.records)
        while at + 2 < size and body[at] == _SAMPLE:
            if body[at + 1] == _SAMPLE_BYTES:
                self.records.append(body[at : at + 18])
                at += 18
            elif body[at + 1] == _ZERO_SAMPLE_BYTES and body[at + 2] == 0x10:
                self.records.append(ZERO_VALUE + body[at + 2 : at + 9])
                at += 9
            else:
                break
        count = len(self.records) - before
        rest = body[at:]
        if at > size or not count or (rest and not _is_metadata(rest)):
            del self.records[before:]
            return
        self.places.append(place)
        self.references.append(body[2:end])
        self.counts.append(count)
        self.metadata.append(rest[2:])


def _is_metadata(field_: bytes) -> bool:
    return field_[0] == _METADATA and 0 <= len(field_) - 2 == field_[1] < 0x80


class _Decoder:
    def __init__(self, receipt: Receipt, table: SeriesTable, symbols: Sequence[bytes]) -> None:
        self._rows = MetricRows(receipt.tenant, receipt.received_ms)
        self._table = table
        # A byte that is not UTF-8 becomes another such byte, so that it separates nothing.
        self._symbols = [symbol.replace(SEPARATOR, b"\xfe") for symbol in symbols]
        self._problems = ProblemLog()
        self._numbers: list[int] = []
        self._samples = SampleColumns()
        self._metadata: dict[tuple[bytes, bytes], None] = {}

    def rows(self, bodies: list[bytes]) -> MetricRows:
        self._numbers = [UNKNOWN] * len(bodies)
        found = _Usual()
        for place, body in enumerate(bodies):
            found.take(place, body)
        if found.places:
            self._take_usual(found)
        messages = [
            (place, TimeSeriesV2.FromString(bodies[place]))
            for place, number in enumerate(self._numbers)
            if number == UNKNOWN
        ]
        for place, message in messages:
            count = len(message.samples) + len(message.histograms)
            self._numbers[place] = self._number(self._texts(message.labels_refs), count)
        indexes = self._list_series()
        for place, message in messages:
            if self._numbers[place] >= 0:
                self._take(place, int(indexes[place]), message)
        rows = self._rows
        self._samples.fill(rows, indexes)
        rows.metadata = [self._told(*key) for key in self._metadata]
        keep_in_bounds(rows, self._problems)
        rows.problems = self._problems.list()
        return rows

    def _list_series(self) -> Any:
        """Set the rows' series; the index among them of each TimeSeries."""
        numbers = np.array(self._numbers, dtype=np.int64)
        valid = numbers >= 0
        self._rows.series = SeriesColumn(self._table, numbers[valid])
        return np.cumsum(valid) - 1

    def _take_usual(self, found: _Usual) -> None:
        owners = np.repeat(np.array(found.places), found.counts)
        records = np.frombuffer(b"".join(found.records), FULL)
        odd = set(owners[~usual(records)].tolist())
        texts_of = self._all_texts(found.references)
        each = zip(found.places, found.counts, found.metadata, texts_of, strict=True)
        for place, count, metadata, texts in each:
            if place not in odd:
                self._numbers[place] = number = self._number(texts, count)
                if metadata and number >= 0:
                    self._metadata[_metric(texts), metadata] = None
        taken = np.array(self._numbers)[owners] >= 0
        self._samples.take(owners[taken], records[taken])

    def _all_texts(self, packed: Sequence[bytes]) -> Iterator[list[bytes]]:
        """The texts that packed lists of references name, none of which is cut or empty."""
        data = np.frombuffer(b"".join(packed), dtype=np.uint8)
        is_last = data < 0x80
        ends = np.flatnonzero(is_last)
        starts = np.concatenate([[0], ends[:-1] + 1])
        inside = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
        if inside.max() > 9:
            raise Malformed("proto: a label reference of more than ten bytes")
        # One of more than eight bytes is no reference: its upper bits stay in sight.
        parts = (data & 0x7F).astype(np.uint64) << (7 * np.minimum(inside, 8)).astype(np.uint64)
        references = np.add.reduceat(parts, starts).tolist()
        if max(references) >= len(self._symbols):
            self._symbol(max(references))
        texts = list(map(self._symbols.__getitem__, references))
        firsts = np.cumsum([0, *map(len, packed[:-1])])
        at = 0
        for count in np.add.reduceat(is_last.astype(np.int64), firsts).tolist():
            yield texts[at : at + count]
            at += count

    def _number(self, texts: list[bytes], samples: int) -> int:
        """The number of the series with these labels; INVALID, noted, where there is none."""
        raw = SEPARATOR + SEPARATOR.join(texts)
        try:
            if len(texts) % 2:
                text = f"invalid labels: odd number of label references ({len(texts)})"
                raise InvalidLabels(text)
            number = self._table.known.get(raw, UNKNOWN)
            return number if number >= 0 else self._table.learn(raw)
        except InvalidLabels as error:
            self._problems.add("invalid_labels", samples, str(error))
            return INVALID

    def _take(self, place: int, index: int, message: Any) -> None:
        """All of a TimeSeries of another shape."""
        created = message.created_timestamp
        for sample in message.samples:
            start = sample.start_timestamp or created
            self._samples.take_one(place, sample.timestamp, sample.value, start)
        histograms = message.histograms
        for _, time, value, start in take_histograms(
            self._rows, self._problems, index, histograms, created
        ):
            self._samples.take_one(place, time, value, start)
        for exemplar in message.exemplars:
            self._take_exemplar(index, exemplar)
        if encoded := message.metadata.SerializeToString():
            self._metadata[_metric(self._texts(message.labels_refs)), encoded] = None

    def _take_exemplar(self, index: int, exemplar: Any) -> None:
        if in_bounds(exemplar.timestamp, self._rows.received_ms):
            labels = self._labels(exemplar.labels_refs)
            self._rows.exemplars.append(
                ExemplarSample(index, exemplar.timestamp, exemplar.value, labels)
            )

    def _labels(self, refs: Sequence[int]) -> Labels:
        texts = [text.decode(errors="replace") for text in self._texts(refs)]
        return tuple(sorted(zip(texts[::2], texts[1::2], strict=False)))

    def _told(self, metric: bytes, encoded: bytes) -> Metadata:
        message = MetadataV2.FromString(encoded)
        help_ = self._symbol(message.help_ref).decode(errors="replace")
        unit = self._symbol(message.unit_ref).decode(errors="replace")
        return Metadata(metric.decode(), metric_type(message.type), help_, unit)

    def _texts(self, refs: Sequence[int]) -> list[bytes]:
        return [self._symbol(ref) for ref in refs]

    def _symbol(self, ref: int) -> bytes:
        if ref >= len(self._symbols):
            raise Malformed(
                f"symbol reference {ref} is outside of the table of {len(self._symbols)} symbols"
            )
        return self._symbols[ref]


def _metric(texts: Sequence[bytes]) -> bytes:
    if texts[0] == _NAME:  # nearly always
        return texts[1]
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return next((value for name, value in pairs if name == _NAME), b"")
