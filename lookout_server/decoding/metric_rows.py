"""Rows of metrics between processes: their columns, and the series that are new.

Series are numbers of a table there as here; each answer brings what got numbers since the last
one. What a body rarely has goes as Python's objects, pickled: the other process is our own.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from ..ingest.remote_write import read_labels
from ..metrics.reading import MetricReader
from ..metrics.rows import MetricRows
from ..metrics.series_table import SeriesColumn, SeriesTable
from ..signal import Receipt

#: Numbers of series, samples, whether they have start times; padding.
_SIZES: Final = struct.Struct("<3I4x")


class News(msgspec.Struct, array_like=True):
    """Series that got the next numbers."""

    begin: bool  # in a table that is new
    raws: list[bytes]
    ids: bytes
    mids: bytes


_news_encoder = msgspec.msgpack.Encoder()
_news_decoder = msgspec.msgpack.Decoder(News)


class MetricSource:
    """Metrics as the decoding process sends them."""

    def __init__(self, reader: MetricReader) -> None:
        self._reader = reader
        self._table: SeriesTable | None = None
        self._told = 0

    def answer(self, fmt: str, body: bytes, receipt: Receipt) -> tuple[bytes, bytes]:
        """News and rows of a body. Raises Malformed."""
        rows = self._reader.read(fmt, body, receipt)
        encoded = encode(rows)
        table = rows.series.table
        return b"" if table is None else self._news(table), encoded

    def _news(self, table: SeriesTable) -> bytes:
        begin = table is not self._table
        told, count = 0 if begin else self._told, len(table)
        if not begin and told == count:
            return b""
        ids, mids = table.ids[told:count], table.mids[told:count]
        news = News(begin, table.raws_since(told), ids.tobytes(), mids.tobytes())
        encoded = _news_encoder.encode(news)
        self._table, self._told = table, count
        return encoded


class MetricMirror:
    """The same rows in the collector; of one process, in the order of its answers.

    ``admit`` leaves out of them the series that would exceed a limit: the collector counts them.
    """

    def __init__(self, admit: Callable[[MetricRows], None]) -> None:
        self._admit = admit
        self._table = SeriesTable(read_labels)

    def rows(self, news: bytes, encoded: bytes, receipt: Receipt) -> MetricRows:
        """What was decoded there."""
        if news:
            self._follow(_news_decoder.decode(news))
        rows = decode(encoded, self._table, receipt)
        self._admit(rows)
        return rows

    def _follow(self, news: News) -> None:
        if news.begin:
            self._table = SeriesTable(read_labels)
        ids, mids = np.frombuffer(news.ids, np.uint64), np.frombuffer(news.mids, np.uint64)
        self._table.follow(news.raws, ids, mids)


def encode(rows: MetricRows) -> bytes:
    """All but the table of series and what the receipt says."""
    starts, series = rows.starts, rows.series
    columns = [series.numbers, rows.timestamps, *([] if starts is None else [starts])]
    objects = list(series) if series.table is None else []
    rare = (objects, rows.created, rows.histograms, rows.exemplars, rows.metadata, rows.problems)
    return b"".join(
        [
            _SIZES.pack(len(series.numbers), len(rows.timestamps), starts is not None),
            *(column.astype(np.int64, copy=False).tobytes() for column in columns),
            rows.values.astype(np.float64, copy=False).tobytes(),
            rows.sample_series.astype(np.int32, copy=False).tobytes(),
            pickle.dumps(rare) if any(rare) else b"",
        ]
    )


def decode(data: bytes, table: SeriesTable, receipt: Receipt) -> MetricRows:
    """What :func:`encode` was given; the arrays stay where they are in ``data``."""
    count, samples, started = _SIZES.unpack_from(data)
    at = _SIZES.size
    longs = np.frombuffer(data, np.int64, count + (1 + started) * samples, at)
    at += longs.nbytes
    values = np.frombuffer(data, np.float64, samples, at)
    at += values.nbytes
    sample_series = np.frombuffer(data, np.int32, samples, at)
    at += sample_series.nbytes
    rare: Any = pickle.loads(memoryview(data)[at:]) if at < len(data) else _NOTHING
    objects, created, histograms, exemplars, metadata, problems = map(list, rare)
    return MetricRows(
        receipt.tenant,
        receipt.received_ms,
        SeriesColumn(table, longs[:count]) if count else SeriesColumn.of(objects),
        sample_series,
        longs[count : count + samples],
        values,
        longs[count + samples :] if started else None,
        created,
        histograms,
        exemplars,
        metadata,
        problems,
    )


_NOTHING: Final = ((),) * 6
