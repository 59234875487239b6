"""Prometheus remote write 2.0: ``io.prometheus.write.v2.Request`` to columns.

Labels, help texts and units are references into one table of strings. A series' references are
the key under which it is looked up once per body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ..metrics.rows import ExemplarSample, Metadata, MetricRows, ProblemLog, in_bounds
from ..metrics.series import METRIC_NAME, InvalidLabels, Labels
from ..metrics.series_table import UNKNOWN, SeriesColumn, SeriesTable
from ..signal import Malformed, Receipt
from .remote_write import (
    SEPARATOR,
    LabelCache,
    decompress,
    keep_in_bounds,
    metric_type,
    take_histograms,
)
from .remote_write_messages import RequestV2

_NAME = METRIC_NAME.encode()


def decode(body: bytes, receipt: Receipt, cache: LabelCache) -> MetricRows:
    """Rows of a ``Request``; ``body`` is still compressed. Raises Malformed."""
    try:
        request = RequestV2.FromString(decompress(body))
    except DecodeError as error:
        raise Malformed(f"proto: {error}") from error
    return _Decoder(receipt, cache.table(), request.symbols).rows(request.timeseries)


class _Decoder:
    def __init__(self, receipt: Receipt, table: SeriesTable, symbols: Sequence[bytes]) -> None:
        self._rows = MetricRows(receipt.tenant, receipt.received_ms)
        self._table = table
        # A byte that is not UTF-8 becomes another such byte, so that it separates nothing.
        self._symbols = [symbol.replace(SEPARATOR, b"\xfe") for symbol in symbols]
        self._problems = ProblemLog()
        self._series: list[int] = []
        self._samples: list[tuple[int, int, float, int]] = []

    def rows(self, messages: Sequence[Any]) -> MetricRows:
        for message in messages:
            self._take(message)
        self._columns()
        rows = self._rows
        rows.series = SeriesColumn(self._table, np.array(self._series, dtype=np.int64))
        rows.metadata = list(dict.fromkeys(rows.metadata))
        keep_in_bounds(rows, self._problems)
        rows.problems = self._problems.list()
        return rows

    def _take(self, message: Any) -> None:
        try:
            series = self._number(message.labels_refs)
        except InvalidLabels as error:
            count = len(message.samples) + len(message.histograms)
            self._problems.add("invalid_labels", count, str(error))
            return
        rows = self._rows
        index = len(self._series)
        self._series.append(series)
        created = message.created_timestamp
        for sample in message.samples:
            start = sample.start_timestamp or created
            self._samples.append((index, sample.timestamp, sample.value, start))
        self._samples += take_histograms(rows, self._problems, index, message.histograms, created)
        for exemplar in message.exemplars:
            self._take_exemplar(index, exemplar)
        self._take_metadata(self._metric(message.labels_refs), message.metadata)

    def _take_exemplar(self, index: int, exemplar: Any) -> None:
        if in_bounds(exemplar.timestamp, self._rows.received_ms):
            labels = self._labels(exemplar.labels_refs)
            self._rows.exemplars.append(
                ExemplarSample(index, exemplar.timestamp, exemplar.value, labels)
            )

    def _number(self, refs: Sequence[int]) -> int:
        """The number of the series with these labels. Raises InvalidLabels."""
        texts = [self._symbol(ref) for ref in refs]
        if len(texts) % 2:
            raise InvalidLabels(f"invalid labels: odd number of label references ({len(texts)})")
        raw = SEPARATOR + SEPARATOR.join(texts)
        number = self._table.known.get(raw, UNKNOWN)
        return number if number >= 0 else self._table.learn(raw)

    def _labels(self, refs: Sequence[int]) -> Labels:
        texts = [self._symbol(ref).decode(errors="replace") for ref in refs]
        return tuple(sorted(zip(texts[::2], texts[1::2], strict=False)))

    def _metric(self, refs: Sequence[int]) -> str:
        texts = [self._symbols[ref] for ref in refs]
        pairs = zip(texts[::2], texts[1::2], strict=True)
        return next((value for name, value in pairs if name == _NAME), b"").decode()

    def _take_metadata(self, metric: str, message: Any) -> None:
        if message.type or message.help_ref or message.unit_ref:
            help_ = self._symbol(message.help_ref).decode(errors="replace")
            unit = self._symbol(message.unit_ref).decode(errors="replace")
            self._rows.metadata.append(Metadata(metric, metric_type(message.type), help_, unit))

    def _symbol(self, ref: int) -> bytes:
        if ref >= len(self._symbols):
            raise Malformed(
                f"symbol reference {ref} is outside of the table of {len(self._symbols)} symbols"
            )
        return self._symbols[ref]

    def _columns(self) -> None:
        rows = self._rows
        if not self._samples:
            return
        owners, timestamps, values, starts = zip(*self._samples, strict=True)
        rows.sample_series = np.array(owners, dtype=np.int32)
        rows.timestamps = np.array(timestamps, dtype=np.int64)
        rows.values = np.array(values, dtype=np.float64)
        if any(starts):
            rows.starts = np.array(starts, dtype=np.int64)
