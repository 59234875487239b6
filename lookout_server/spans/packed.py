"""Spans as they wait to be written: numbers and blocks of text instead of Python objects.

A span as text is some fifteen strings strewn over the heap. Ten thousands of spans wait for a
second; by then none of it is in the processor's caches, and each look at a string has to wait.
Packed while it is still warm a span takes a tenth of the space, and a batch is put together by
copying a few blocks.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..signal import Receipt
from .columns import Ints, SpanColumns
from .primitives import codes

Codes = npt.NDArray[np.int32]

#: Columns of 64 bits; their places in :attr:`PackedSpans.longs`. Ids are without a sign.
HIGH, LOW, PARENT, ID, TIMESTAMP, DURATION = range(6)
#: Columns of words and of counts; their places in :attr:`PackedSpans.codes`.
NAME, SERVICE, ADDRESS, REMOTE_SERVICE, REMOTE, SHAPE, TAGS, ANNOTATIONS = range(8)
LONGS: Final = DURATION + 1
CODES: Final = ANNOTATIONS + 1

#: Beyond these a new vocabulary is begun: span names with ids in them must not stay for ever.
_MOST_WORDS: Final = 65_536
_MOST_CHARACTERS: Final = 8_000_000


class Words:
    """Distinct texts, each with a number. Grows only, so that numbers given stay true."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}
        self._characters = 0
        self._adding = threading.Lock()

    @property
    def full(self) -> bool:
        return len(self.texts) > _MOST_WORDS or self._characters > _MOST_CHARACTERS

    def codes(self, texts: list[str]) -> Codes:
        """The number of each text."""
        try:
            return self._known_codes(texts)
        except KeyError:
            self._add(texts)
            return self._known_codes(texts)

    def learn(self, texts: list[str]) -> None:
        """Texts that get the next numbers: :attr:`texts` alone follows those of another process."""
        self.texts += texts

    def _known_codes(self, texts: list[str]) -> Codes:
        return np.frombuffer(codes(self._codes, texts), np.int32)

    def _add(self, texts: list[str]) -> None:
        with self._adding:
            for text in texts:
                if text not in self._codes:
                    self.texts.append(text)  # before its number can be seen by other threads
                    self._codes[text] = len(self.texts) - 1
                    self._characters += len(text)


class Vocabulary:
    """The words in use now. Rows keep those they were packed with."""

    def __init__(self) -> None:
        self._words = Words()

    def words(self) -> Words:
        if self._words.full:
            self._words = Words()
        return self._words


class Blocks(NamedTuple):
    """Spans of one body in a few pieces of memory, where all were accepted."""

    longs: bytes  # in 64 bits: the columns HIGH to DURATION; annotation times
    codes: bytes  # in 32 bits: the columns NAME to ANNOTATIONS; tag keys
    flags: bytes
    tag_values: bytes  # as Texts joins them; none has a NUL in it
    annotation_values: bytes


class PackedSpans:
    """The spans of one body; see :class:`.columns.SpanColumns` for what the columns mean.

    Numbers are in two tables with a row a column, which a batch puts side by side at once.
    """

    __slots__ = (
        "annotation_times",
        "annotation_values",
        "codes",
        "flags",
        "longs",
        "received_ms",
        "refusal",
        "refused",
        "sampled_out",
        "tag_keys",
        "tag_values",
        "tenant",
        "words",
    )

    def __init__(self, columns: SpanColumns, words: Words) -> None:
        self.tenant = columns.tenant
        self.received_ms = columns.received_ms
        self.refused = columns.refused
        self.refusal = columns.refusal
        self.sampled_out = columns.sampled_out
        self.words = words
        ids = columns.high, columns.low, columns.parents, columns.ids
        moments = columns.timestamps, columns.durations
        self.longs: Ints = np.stack([*(column.view(np.int64) for column in ids), *moments])
        self.flags: npt.NDArray[np.uint8] = np.frombuffer(bytes(columns.flags), np.uint8)
        # In the order of NAME, SERVICE ...
        texts = columns.names + columns.services + columns.local_address
        texts += columns.remote_services + columns.remote + columns.shapes
        ends = len(texts)
        codes = words.codes(texts + columns.tag_keys)
        counts = _ints(columns.tag_counts), _ints(columns.annotation_counts)
        self.codes: Codes = np.concatenate([codes[:ends], *counts]).reshape(CODES, -1)
        self.tag_keys: Codes = codes[ends:]
        self.tag_values = Texts(columns.tag_values)
        self.annotation_times: Ints = np.array(columns.annotation_times, np.int64)
        self.annotation_values = Texts(columns.annotation_values)

    @classmethod
    def laid_out(
        cls,
        words: Words,
        receipt: Receipt,
        longs: Ints,
        codes: Codes,
        flags: npt.NDArray[np.uint8],
        tag_values: Texts,
        annotation_values: Texts,
    ) -> PackedSpans:
        """Of columns that lie one after the other as in :class:`Blocks`, all spans accepted."""
        rows, spans = cls.__new__(cls), len(flags)
        rows.tenant, rows.received_ms = receipt.tenant, receipt.received_ms
        rows.refused, rows.refusal, rows.sampled_out = 0, "", 0
        rows.words = words
        rows.longs = longs[: LONGS * spans].reshape(LONGS, spans)
        rows.annotation_times = longs[LONGS * spans :]
        rows.codes = codes[: CODES * spans].reshape(CODES, spans)
        rows.tag_keys = codes[CODES * spans :]
        rows.flags = flags
        rows.tag_values, rows.annotation_values = tag_values, annotation_values
        return rows

    def __len__(self) -> int:
        return len(self.flags)


class Texts:
    """Texts in one piece of memory, each ended by a NUL; one after the other where one has a NUL.

    An Arrow array of them is made for the batch (:mod:`.united`): making one lets go of the
    interpreter, and while other threads compute the thread that decodes would wait for it once a
    body.
    """

    __slots__ = ("joined", "lengths")

    def __init__(self, texts: list[str]) -> None:
        self.joined: bytes = b"".join((_SEPARATOR.join(texts).encode(), b"\0")) if texts else b""
        #: Bytes of each text, where one has a NUL in it.
        self.lengths: Codes | None = None
        if self.joined.count(0) != len(texts):
            encoded = [text.encode() for text in texts]
            self.joined, self.lengths = b"".join(encoded), _ints(list(map(len, encoded)))

    @classmethod
    def of(cls, joined: bytes, lengths: Codes | None = None) -> Texts:
        """What the attributes of another were."""
        made = cls.__new__(cls)
        made.joined, made.lengths = joined, lengths
        return made


_SEPARATOR: Final = "\0"


def _ints(values: Sequence[int]) -> Codes:
    return np.frombuffer(array("i", values), np.int32)
