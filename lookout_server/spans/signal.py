"""Spans as the collector's straight way sees them: bodies to columns, columns to tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from ..config import ServerConfig
from ..signal import Receipt
from .columns import SpanColumns
from .known import KnownNames
from .news import NewsDesk
from .packed import PackedSpans
from .reading import SpanReader
from .tables import span_tables


class SpanSignal:
    """The signal "spans" (:class:`lookout_server.signal.Signal`)."""

    name = "spans"

    def __init__(self, config: ServerConfig) -> None:
        self._reader = SpanReader(config.collector_sample_rate)
        self._names = KnownNames()
        #: Where those register who remember what they read.
        self.news = NewsDesk()
        self._autocomplete_keys = tuple(config.autocomplete_keys)

    def decode(self, fmt: str, body: bytes, receipt: Receipt) -> PackedSpans:
        """Rows of a body in one of :data:`lookout_server.ingest.span_formats.FORMATS`."""
        return self._reader.rows(fmt, body, receipt)

    def read(self, fmt: str, body: bytes, receipt: Receipt) -> SpanColumns:
        """The same as columns of Python's objects, which stages can work on."""
        return self._reader.read(fmt, body, receipt)

    def pack(self, columns: SpanColumns) -> PackedSpans:
        """The columns as they wait to be written."""
        return self._reader.pack(columns)

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
