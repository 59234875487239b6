"""Spans as the collector's straight way sees them: bodies to columns, columns to tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..config import ServerConfig
from ..ingest.span_formats import decoder
from ..signal import Receipt
from .columns import DEBUG, Ids, SpanColumns
from .known import KnownNames
from .news import NewsDesk
from .packed import PackedSpans, Vocabulary
from .tables import span_tables

_MAX = np.int64(2**63 - 1)


class SpanSignal:
    """The signal "spans" (:class:`lookout_server.signal.Signal`)."""

    name = "spans"

    def __init__(self, config: ServerConfig) -> None:
        self._sample_rate = config.collector_sample_rate
        self._vocabulary = Vocabulary()
        self._names = KnownNames()
        #: Where those register who remember what they read.
        self.news = NewsDesk()
        self._autocomplete_keys = tuple(config.autocomplete_keys)

    def decode(self, fmt: str, body: bytes, receipt: Receipt) -> PackedSpans:
        """Rows of a body in one of :data:`lookout_server.ingest.span_formats.FORMATS`."""
        return self.pack(self.read(fmt, body, receipt))

    def read(self, fmt: str, body: bytes, receipt: Receipt) -> SpanColumns:
        """The same as columns of Python's objects, which stages can work on."""
        columns = decoder(fmt)(body)
        columns.tenant = receipt.tenant
        columns.received_ms = receipt.received_ms
        if self._sample_rate < 1:
            kept = columns.select(sampled(columns, self._sample_rate))
            kept.sampled_out = len(columns) - len(kept)
            return kept
        return columns

    def pack(self, columns: SpanColumns) -> PackedSpans:
        """The columns as they wait to be written."""
        return PackedSpans(columns, self._vocabulary.words())

    def tables(self, rows: Sequence[PackedSpans]) -> Mapping[str, pa.Table]:
        """The batch as tables (:func:`.tables.span_tables`)."""
        made = span_tables(rows, self._autocomplete_keys, self._names)
        self.news.underway(made)
        return made

    def stored(self) -> None:
        """The tables made last are in the store."""
        self._names.stored()
        self.news.stored()

    def forget(self) -> None:
        """Tables that were made have not been stored: leave no name out any more."""
        self._names.forget()
        self.news.forget()


def sampled(columns: SpanColumns, rate: float) -> npt.NDArray[np.bool_]:
    """Which spans a collector keeps at this rate, as every Zipkin collector would decide.

    Whole traces by their low 64 bits; debug spans always. Source: Zipkin's CollectorSampler.
    """
    boundary = np.int64(min(int(2**63 * rate), int(_MAX)))
    debug = (np.array(columns.flags, np.uint8) & DEBUG) != 0
    kept: npt.NDArray[np.bool_] = (_magnitude(columns.low) <= boundary) | debug
    return kept


def _magnitude(low: Ids) -> npt.NDArray[np.int64]:
    signed = low.view(np.int64)
    return np.where(signed == np.iinfo(np.int64).min, _MAX, np.abs(signed))
