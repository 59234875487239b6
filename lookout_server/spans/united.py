"""The packed spans of many bodies side by side, as Arrow columns of one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .columns import Ids, Ints
from .packed import LONGS, Codes, PackedSpans, Texts, Words
from .primitives import pairs


class United:
    """One column of words over many rows: a code for each span and the distinct texts."""

    def __init__(self, columns: Sequence[tuple[Words, Codes]]) -> None:
        """Columns of :attr:`PackedSpans.codes` or tag keys, in order, with their words."""
        places: dict[str, int] = {}
        self.codes: Codes = np.concatenate([np.zeros(0, np.int32), *_parts(columns, places)])
        self.texts: list[str] = list(places)

    def at(self, places: Ints) -> list[str]:
        """The texts at these places."""
        return [self.texts[code] for code in self.codes[places].tolist()]

    def as_arrow(self) -> pa.DictionaryArray:
        """What ClickHouse takes as LowCardinality without looking at each text again."""
        return dictionary(self.codes, self.texts)


class Numbers:
    """The numbers of many bodies side by side."""

    def __init__(self, rows: Sequence[PackedSpans]) -> None:
        self.longs: Ints = np.concatenate(
            [np.zeros((LONGS, 0), np.int64), *(one.longs for one in rows)], axis=1
        )
        self.flags: npt.NDArray[np.uint8] = np.concatenate(
            [np.zeros(0, np.uint8), *(one.flags for one in rows)]
        )
        self._codes = [
            (words, np.concatenate([one.codes for one in run], axis=1))
            for words, run in _runs(rows)
        ]

    def ids(self, column: int) -> Ids:
        """One of the columns HIGH, LOW, PARENT, ID."""
        found: Ids = self.longs[column].view(np.uint64)
        return found

    def counts(self, column: int) -> Codes:
        """One of the columns TAGS, ANNOTATIONS."""
        return np.concatenate([np.zeros(0, np.int32), *(codes[column] for _, codes in self._codes)])

    def words(self, column: int) -> United:
        """One of the columns NAME, SERVICE ..."""
        return United([(words, codes[column]) for words, codes in self._codes])


def _runs(rows: Sequence[PackedSpans]) -> Iterator[tuple[Words, list[PackedSpans]]]:
    """The rows in order, as long as they have the same words."""
    for _, run in groupby(rows, key=lambda one: id(one.words)):
        together = list(run)
        yield together[0].words, together


def dictionary(codes: npt.NDArray[np.integer], texts: Sequence[str]) -> pa.DictionaryArray:
    """An Arrow column of codes into distinct texts."""
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32, copy=False)), pa.array(texts, pa.string())
    )


def _parts(columns: Sequence[tuple[Words, Codes]], places: dict[str, int]) -> list[Codes]:
    """The columns with the numbers of ``places``, which grow; in one piece where the words are."""
    owners: dict[int, list[int]] = {}  # by vocabulary: which of the columns
    for at, (words, _) in enumerate(columns):
        owners.setdefault(id(words), []).append(at)
    parts = [np.zeros(0, np.int32)] * len(columns)
    for run in owners.values():
        codes = np.concatenate([columns[at][1] for at in run])
        codes = _renumbered(columns[run[0]][0], codes, places)
        if len(owners) == 1:
            return [codes]
        lengths = [len(columns[at][1]) for at in run]
        for at, end, length in zip(run, accumulate(lengths), lengths, strict=True):
            parts[at] = codes[end - length : end]
    return parts


def _renumbered(words: Words, codes: Codes, places: dict[str, int]) -> Codes:
    """The same texts by their place among those that are used."""
    if not len(codes):
        return codes
    used = np.flatnonzero(np.bincount(codes))
    renumbering = np.zeros(int(used[-1]) + 1, np.int32)
    renumbering[used] = [
        places.setdefault(words.texts[code], len(places)) for code in used.tolist()
    ]
    return renumbering.take(codes)


def united_texts(parts: Sequence[Texts]) -> pa.Array:
    """All texts, in order; other threads can run meanwhile."""
    arrays: list[pa.Array] = []
    for apart, run in groupby(parts, key=lambda part: part.lengths is not None):
        if apart:
            arrays += map(_measured, run)
        else:
            arrays.append(_separated(b"".join([part.joined for part in run])))
    return pa.concat_arrays(arrays) if arrays else pa.array([], pa.string())


def united_pairs(
    prefixes: Sequence[str], codes: Codes, parts: Sequence[Texts]
) -> pa.DictionaryArray:
    """All texts, in order, each behind the prefix of its code."""
    if pairs is not None and all(part.lengths is None for part in parts):
        texts = b"".join([part.joined for part in parts])
        found = pairs([prefix.encode() for prefix in prefixes], codes, texts)
        if found is not None:
            numbers, ends, joined = found
            return pa.DictionaryArray.from_arrays(
                pa.array(np.frombuffer(numbers, np.int32)),
                _ending(np.frombuffer(ends, np.int32), joined),
            )
    before = pa.array(prefixes, pa.string()).take(pa.array(codes))
    return pc.binary_join_element_wise(before, united_texts(parts), "").dictionary_encode()


def _ending(ends: Codes, joined: bytes) -> pa.Array:
    """Texts in one piece: where each begins, and the last ends."""
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(joined))


def _measured(texts: Texts) -> pa.Array:
    """Texts of known lengths."""
    assert texts.lengths is not None
    ends = np.zeros(len(texts.lengths) + 1, np.int32)
    np.cumsum(texts.lengths, out=ends[1:])
    return _ending(ends, texts.joined)


def _separated(joined: bytes) -> pa.Array:
    """The texts that each end with the separator."""
    if not joined:
        return pa.array([], pa.string())
    ends = np.array([0, len(joined) - 1], np.int32)
    return pc.split_pattern(_ending(ends, joined), "\0").values
