"""Packed spans between processes: the bytes of their columns, and the words that are new.

The decoding process numbers words, the collector follows: each answer brings the texts that got
numbers since the last one, so that codes mean the same on both sides. A full vocabulary is
begun anew on both at once.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from ..signal import Receipt
from ..spans.packed import CODES, LONGS, Blocks, Codes, PackedSpans, Texts, Words
from ..spans.reading import SpanReader

#: Spans, tags, annotations; bytes of tag values and of annotations; whether the lengths of either
#: are told; refused and sampled out; padding.
_SIZES: Final = struct.Struct("<9I4x")


class News(msgspec.Struct, array_like=True):
    """Texts that got the next numbers."""

    begin: bool  # in a vocabulary that is new
    texts: list[str]


_news_encoder = msgspec.msgpack.Encoder()
_news_decoder = msgspec.msgpack.Decoder(News)


class SpanSource:
    """Spans as the decoding process sends them."""

    def __init__(self, reader: SpanReader) -> None:
        self._reader = reader
        self._words: Words | None = None
        self._told = 0

    def answer(self, fmt: str, body: bytes, receipt: Receipt) -> tuple[bytes, bytes]:
        """News and rows of a body. Raises Malformed."""
        scanned = self._reader.scanned(fmt, body)
        if scanned is None:
            rows = self._reader.pack(self._reader.read(fmt, body, receipt))
            words, encoded = rows.words, encode(rows)
        else:
            words, encoded = scanned[0], encode_blocks(scanned[1])
        return self._news(words), encoded  # told only when nothing can fail any more

    def _news(self, words: Words) -> bytes:
        begin = words is not self._words
        told = 0 if begin else self._told
        if not begin and told == len(words.texts):
            return b""
        news = _news_encoder.encode(News(begin, words.texts[told:]))
        self._words, self._told = words, len(words.texts)
        return news


class SpanMirror:
    """The same spans in the collector; of one process, in the order of its answers."""

    def __init__(self) -> None:
        self._words = Words()

    def rows(self, news: bytes, encoded: bytes, receipt: Receipt) -> PackedSpans:
        """What was packed there."""
        if news:
            told = _news_decoder.decode(news)
            if told.begin:
                self._words = Words()
            self._words.learn(told.texts)
        return decode(encoded, self._words, receipt)


def encode(rows: PackedSpans) -> bytes:
    """All but the words and what the receipt says."""
    refusal = rows.refusal.encode()
    values, notes = rows.tag_values, rows.annotation_values
    columns: tuple[npt.NDArray[np.generic], ...] = (
        rows.longs,
        rows.annotation_times,
        rows.codes,
        rows.tag_keys,
        *(texts.lengths for texts in (values, notes) if texts.lengths is not None),
        rows.flags,
    )
    sizes = _SIZES.pack(
        len(rows),
        len(rows.tag_keys),
        len(rows.annotation_times),
        len(values.joined),
        len(notes.joined),
        values.lengths is not None,
        notes.lengths is not None,
        rows.refused,
        rows.sampled_out,
    )
    parts = [column.tobytes() for column in columns]
    return b"".join([sizes, *parts, values.joined, notes.joined, refusal])


def encode_blocks(blocks: Blocks) -> bytes:
    """The same of spans that are in such pieces already."""
    spans = len(blocks.flags)
    tags = len(blocks.codes) // 4 - CODES * spans
    notes = len(blocks.longs) // 8 - LONGS * spans
    values = len(blocks.tag_values), len(blocks.annotation_values)
    return b"".join([_SIZES.pack(spans, tags, notes, *values, False, False, 0, 0), *blocks])


def decode(data: bytes, words: Words, receipt: Receipt) -> PackedSpans:
    """What :func:`encode` was given; the arrays stay where they are in ``data``."""
    spans, tags, notes, tag_bytes, note_bytes, tags_told, notes_told, refused, sampled_out = (
        _SIZES.unpack_from(data)
    )
    at = _SIZES.size
    longs = np.frombuffer(data, np.int64, LONGS * spans + notes, at)
    at += longs.nbytes
    laid_out, lengths = CODES * spans + tags, (tags * tags_told, notes * notes_told)
    codes: Codes = np.frombuffer(data, np.int32, laid_out + sum(lengths), at)
    at += codes.nbytes
    flags = np.frombuffer(data, np.uint8, spans, at)
    at += spans
    told = codes[laid_out : laid_out + lengths[0]] if tags_told else None
    tag_values = Texts.of(data[at : at + tag_bytes], told)
    at += tag_bytes
    told = codes[laid_out + lengths[0] :] if notes_told else None
    note_values = Texts.of(data[at : at + note_bytes], told)
    codes = codes[:laid_out]
    rows = PackedSpans.laid_out(words, receipt, longs, codes, flags, tag_values, note_values)
    rows.refused, rows.sampled_out = refused, sampled_out
    rows.refusal = data[at + note_bytes :].decode()
    return rows
