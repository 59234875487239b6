"""Prometheus remote write 2.0: ``io.prometheus.write.v2.Request`` to columns.

Labels, help texts and units are references into one table of strings. Each text has a number, and
those of a series' texts are the key under which it is known; a body costs one look at each of its
texts and one at each of its series. References and samples of the usual shape are read by
NumPy, all of a body at once; whatever has another shape takes the way of the protobuf library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from ..metrics.rows import ExemplarSample, Metadata, MetricRows, ProblemLog, in_bounds
from ..metrics.series import METRIC_NAME, InvalidLabels, Labels
from ..metrics.series_table import INVALID, UNKNOWN, Int64Array, SeriesColumn, SeriesTable
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

UInt8Array: TypeAlias = npt.NDArray[np.uint8]

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
    references: list[bytes] = field(default_factory=list)  # packed, of all, in order
    sizes: list[int] = field(default_factory=list)  # of these, in bytes
    counts: list[int] = field(default_factory=list)  # of samples
    metadata: list[bytes] = field(default_factory=list)  # b"" where there is none
    records: list[bytes] = field(default_factory=list)  # of all, in order

    def take_single(self, bodies: list[bytes]) -> list[int]:
        """Add those with one full sample, all at once; the places of others."""
        # Behind the end is room to look for what a cut series would have.
        data = np.frombuffer(b"".join([*bodies, bytes(512)]), dtype=np.uint8)
        lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
        ends = np.cumsum(lengths)
        starts = ends - lengths
        sizes = data[starts + 1].astype(np.int64)
        at = starts + 2 + sizes
        rest = at + FULL.itemsize
        good = (data[starts] == _LABELS) & (sizes > 0) & (sizes < 0x80) & (rest <= ends)
        good &= (data[at - 1] < 0x80) & (data[at] == _SAMPLE) & (data[at + 1] == _SAMPLE_BYTES)
        left, told = ends - rest, data[np.minimum(rest + 1, len(data) - 1)]
        is_metadata = (data[np.minimum(rest, len(data) - 1)] == _METADATA) & (told == left - 2)
        good &= (left == 0) | (is_metadata & (left >= 2) & (told < 0x80))
        places = np.flatnonzero(good)
        if len(places):
            self._add_single(bodies, data, places, starts, sizes, at)
        return np.flatnonzero(~good).tolist()

    def _add_single(
        self,
        bodies: list[bytes],
        data: UInt8Array,
        places: Int64Array,
        starts: Int64Array,
        sizes: Int64Array,
        at: Int64Array,
    ) -> None:
        starts, sizes, at = starts[places], sizes[places], at[places]
        ends = np.cumsum(sizes)
        inside = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        self.places += places.tolist()
        self.counts += [1] * len(places)
        self.references.append(data[np.repeat(starts + 2, sizes) + inside].tobytes())
        self.sizes += sizes.tolist()
        self.records.append(data[at[:, None] + np.arange(FULL.itemsize)].tobytes())
        behind = (at - starts + FULL.itemsize + 2).tolist()
        self.metadata += [bodies[p][b:] for p, b in zip(places.tolist(), behind, strict=True)]

    def take(self, place: int, body: bytes) -> None:
        """Add an encoded TimeSeries, if it is of that shape."""
        if len(body) < 3 or body[0] != _LABELS or not 0 < body[1] < 0x80:
            return
        at = end = body[1] + 2
        size = len(body)
        if end > size or body[end - 1] >= 0x80:
            return
        before, count = len(self.records), 0
        while at + 2 < size and body[at] == _SAMPLE:
            begin = at
            while at + 2 < size and body[at] == _SAMPLE and body[at + 1] == _SAMPLE_BYTES:
                at += FULL.itemsize
            if at > begin:
                self.records.append(body[begin:at])
                count += (at - begin) // FULL.itemsize
            elif body[at + 1] == _ZERO_SAMPLE_BYTES and body[at + 2] == 0x10:
                self.records.append(ZERO_VALUE + body[at + 2 : at + 9])
                at += 9
                count += 1
            else:
                break
        rest = body[at:]
        if at > size or not count or (rest and not _is_metadata(rest)):
            del self.records[before:]
            return
        self.places.append(place)
        self.references.append(body[2:end])
        self.sizes.append(end - 2)
        self.counts.append(count)
        self.metadata.append(rest[2:])


def _is_metadata(field_: bytes) -> bool:
    return field_[0] == _METADATA and 0 <= len(field_) - 2 == field_[1] < 0x80


class _References:
    """References of many series into the body's table of texts."""

    def __init__(self, symbols: list[bytes], references: Int64Array, counts: Int64Array) -> None:
        self._symbols = symbols
        self._references = references
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        self._keys: list[bytes] = []

    def keys(self, table: SeriesTable) -> list[bytes]:
        """By which the table knows these series."""
        data = table.text_numbers(self._symbols)[self._references].tobytes()
        edges = zip((4 * self._starts).tolist(), (4 * self._ends).tolist(), strict=True)
        self._keys = [data[start:end] for start, end in edges]
        return self._keys

    def key(self, at: int) -> bytes:
        """Of one series, after :meth:`keys`."""
        return self._keys[at]

    def texts(self, at: int) -> list[bytes]:
        """Names and values of one series."""
        places = self._references[self._starts[at] : self._ends[at]].tolist()
        return [self._symbols[place] for place in places]


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
        for place in found.take_single(bodies):
            found.take(place, bodies[place])
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
        references = self._all_references(found.references, found.sizes)
        known = self._table.known_by_texts
        numbers = list(map(known.get, references.keys(self._table), repeat(UNKNOWN)))
        for at, place in enumerate(found.places):
            if place not in odd:
                if numbers[at] == UNKNOWN:
                    numbers[at] = self._learned(references, at, found.counts[at])
                self._numbers[place] = numbers[at]
        self._take_metadata(found.metadata, numbers, references)
        order = np.argsort(owners, kind="stable")
        owners, records = owners[order], records[order]
        taken = np.array(self._numbers)[owners] >= 0
        self._samples.take(owners[taken], records[taken])

    def _learned(self, references: _References, at: int, samples: int) -> int:
        """The number of a series that is not known by its texts, as :meth:`_number`."""
        texts = references.texts(at)
        number = self._number(texts, samples)
        if number >= 0:
            self._table.know_by_texts(references.key(at), number)
        return number

    def _take_metadata(
        self, metadata: Sequence[bytes], numbers: Sequence[int], references: _References
    ) -> None:
        """What the metrics are; it comes with each of their series, nearly always the same."""
        valid = np.array(numbers) >= 0
        mids = np.where(valid, self._table.mids[np.where(valid, numbers, 0)], 0)
        first: dict[tuple[int, bytes], int] = {}
        for at, key in enumerate(zip(mids.tolist(), metadata, strict=True)):
            first.setdefault(key, at)
        for (_, encoded), at in first.items():
            if encoded and valid[at]:
                self._metadata[_metric(references.texts(at)), encoded] = None

    def _all_references(self, packed: Sequence[bytes], sizes: Sequence[int]) -> _References:
        """Packed lists of references, none of which is cut or empty."""
        data = np.frombuffer(b"".join(packed), dtype=np.uint8)
        is_last = data < 0x80
        ends = np.flatnonzero(is_last)
        starts = np.concatenate([[0], ends[:-1] + 1])
        inside = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
        if inside.max() > 9:
            raise Malformed("proto: a label reference of more than ten bytes")
        # One of more than eight bytes is no reference: its upper bits stay in sight.
        parts = (data & 0x7F).astype(np.uint64) << (7 * np.minimum(inside, 8)).astype(np.uint64)
        references = np.add.reduceat(parts, starts)
        if (most := int(references.max())) >= len(self._symbols):
            self._symbol(most)
        firsts = np.cumsum([0, *sizes[:-1]])
        counts = np.add.reduceat(is_last.astype(np.int64), firsts)
        return _References(self._symbols, references.astype(np.int64), counts)

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
