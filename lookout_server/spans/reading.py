"""From the bytes of a body to packed spans: all that decoding needs, and nothing of the store."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..ingest.span_formats import ZIPKIN_JSON, decoder
from ..ingest.zipkin_scan import AVAILABLE, ZipkinScan
from ..signal import Receipt
from .columns import DEBUG, Ids, SpanColumns
from .packed import Blocks, PackedSpans, Texts, Vocabulary, Words

_MAX = np.int64(2**63 - 1)


class SpanReader:
    """Reads bodies of every format, with a vocabulary of its own."""

    def __init__(self, sample_rate: float = 1.0) -> None:
        self._sample_rate = sample_rate
        self._vocabulary = Vocabulary()
        self._scan: ZipkinScan | None = None

    def rows(self, fmt: str, body: bytes, receipt: Receipt) -> PackedSpans:
        """Packed spans of a body in one of :data:`..ingest.span_formats.FORMATS`."""
        scanned = self.scanned(fmt, body)
        if scanned is None:
            return self.pack(self.read(fmt, body, receipt))
        words, blocks = scanned
        return PackedSpans.laid_out(
            words,
            receipt,
            np.frombuffer(blocks.longs, np.int64),
            np.frombuffer(blocks.codes, np.int32),
            np.frombuffer(blocks.flags, np.uint8),
            Texts.of(blocks.tag_values),
            Texts.of(blocks.annotation_values),
        )

    def scanned(self, fmt: str, body: bytes) -> tuple[Words, Blocks] | None:
        """The same by the shortest way there is; None where the long one is to be taken."""
        if fmt != ZIPKIN_JSON or not AVAILABLE or self._sample_rate < 1:
            return None
        words, scan = self._vocabulary.words(), self._scan
        if scan is None or scan.words is not words:
            scan = self._scan = ZipkinScan(words)
        blocks = scan.blocks(body)
        return None if blocks is None else (words, blocks)

    def read(self, fmt: str, body: bytes, receipt: Receipt) -> SpanColumns:
        """Columns of a body in one of :data:`lookout_server.ingest.span_formats.FORMATS`."""
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
