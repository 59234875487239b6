"""Series in columns: those known by the bytes of their labels, and those of one body.

Most of a body is label sets the collector has seen before. A table numbers them, so that what the
limits and the writer want to know of a body's series is a look into arrays, not into objects;
labels become texts again only when somebody reads them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, repeat
from operator import attrgetter
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from .series import InvalidLabels, LabelLimits, Labels, Series, series_of, sorted_labels

Int64Array: TypeAlias = npt.NDArray[np.int64]
UInt64Array: TypeAlias = npt.NDArray[np.uint64]

#: Names and values out of the bytes of a label set. Raises InvalidLabels.
ReadLabels: TypeAlias = Callable[[bytes], list[tuple[str, str]]]

#: Instead of a series' number: never seen, and no series at all.
UNKNOWN, INVALID = -1, -2

#: What a series takes beside the bytes of its labels: two hashes, places in a dict and a list.
_SERIES_BYTES = 200
#: What a text takes beside its bytes: an object, its number, a place in a dict.
_TEXT_BYTES = 150


class SeriesTable:
    """Series numbered in the order in which their labels' bytes were first seen. Thread-safe."""

    def __init__(self, read: ReadLabels, limits: LabelLimits | None = None) -> None:
        #: The bytes of label sets and their numbers, INVALID where it is no series'.
        self.known: dict[bytes, int] = {}
        self.ids: UInt64Array = np.zeros(1024, dtype=np.uint64)
        self.mids: UInt64Array = np.zeros(1024, dtype=np.uint64)
        #: Memory taken, about.
        self.bytes = 0
        #: Of label sets that came as references into a table of texts: see :meth:`text_numbers`.
        self.known_by_texts: dict[bytes, int] = {}
        self._text_numbers: dict[bytes, int] = {}
        self._next_text = count()
        self._read = read
        self._limits = limits
        self._raws: list[bytes] = []
        self._faults: dict[bytes, InvalidLabels] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._raws)

    def learn(self, raw: bytes) -> int:
        """The number of the series with these labels. Raises InvalidLabels."""
        with self._lock:
            number = self.known.get(raw)
            if number is None:
                self.bytes += len(raw) + _SERIES_BYTES
                try:
                    return self._add(raw, series_of(self._read(raw), self._limits))
                except InvalidLabels as error:
                    self._faults[raw] = error
                    self.known[raw] = INVALID
                    raise
            if number == INVALID:
                raise self._faults[raw]
            return number

    def raws_since(self, count: int) -> list[bytes]:
        """The labels' bytes of the series but for the first so many."""
        return self._raws[count:]

    def follow(self, raws: list[bytes], ids: UInt64Array, mids: UInt64Array) -> None:
        """Take over the next series of another process' table, which alone is asked for numbers."""
        first, count = len(self._raws), len(self._raws) + len(raws)
        if count > len(self.ids):
            more = np.zeros(max(count, 2 * len(self.ids)) - len(self.ids), dtype=np.uint64)
            self.ids = np.concatenate([self.ids, more])
            self.mids = np.concatenate([self.mids, more])
        self.ids[first:count], self.mids[first:count] = ids, mids
        self._raws += raws

    def text_numbers(self, texts: Sequence[bytes]) -> npt.NDArray[np.uint32]:
        """A number for each text, the same for the same text as long as this table lives.

        The numbers of a label set's texts, four bytes each, are a key of ``known_by_texts``.
        """
        numbers = np.fromiter(map(self._text_numbers.get, texts, repeat(-1)), np.int64, len(texts))
        for place in np.flatnonzero(numbers < 0).tolist():
            text = texts[place]
            # Two threads may draw a number for one text; the first one's stays.
            numbers[place] = self._text_numbers.setdefault(text, next(self._next_text))
            self.bytes += len(text) + _TEXT_BYTES
        return numbers.astype(np.uint32)

    def know_by_texts(self, key: bytes, number: int) -> None:
        """Know the series of a number by the numbers of its texts too."""
        self.bytes += len(key) + _TEXT_BYTES
        self.known_by_texts[key] = number

    def series(self, number: int) -> Series:
        """The series of a number."""
        return series_of(self._read(self._raws[number]))

    def labels(self, number: int) -> Labels:
        """Its labels alone, a quarter of the work."""
        return sorted_labels(self._read(self._raws[number]))

    def _add(self, raw: bytes, series: Series) -> int:
        number = len(self._raws)
        if number == len(self.ids):
            self.ids = np.concatenate([self.ids, np.zeros_like(self.ids)])
            self.mids = np.concatenate([self.mids, np.zeros_like(self.mids)])
        self.ids[number], self.mids[number] = series.id, series.mid
        self._raws.append(raw)
        self.known[raw] = number  # last: who finds the number finds all of it
        return number


class SeriesColumn:
    """The series of one body, as numbers of a table or as objects. Not changed once made."""

    def __init__(self, table: SeriesTable, numbers: Int64Array) -> None:
        self.ids: UInt64Array = table.ids[numbers]
        self.mids: UInt64Array = table.mids[numbers]
        self.table: SeriesTable | None = table
        self.numbers = numbers
        self._objects: Sequence[Series] = ()

    @classmethod
    def of(cls, series: Iterable[Series]) -> SeriesColumn:
        """The column of these objects."""
        column = cls.__new__(cls)
        column._objects = objects = tuple(series)
        column.ids = np.fromiter(map(attrgetter("id"), objects), np.uint64, len(objects))
        column.mids = np.fromiter(map(attrgetter("mid"), objects), np.uint64, len(objects))
        column.table = None
        column.numbers = np.zeros(0, dtype=np.int64)
        return column

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, at: int) -> Series:
        if self.table is None:
            return self._objects[at]
        return self.table.series(int(self.numbers[at]))

    def labels(self, at: int) -> Labels:
        """The labels of the series at a place."""
        if self.table is None:
            return self._objects[at].labels
        return self.table.labels(int(self.numbers[at]))

    def __iter__(self) -> Iterator[Series]:
        return (self[at] for at in range(len(self)))


class Marks:
    """The last mark each series of a table was given: a quick "nothing new", which may forget.

    Series that are not of a table have none. Not thread-safe.
    """

    def __init__(self) -> None:
        #: There are two tables at a time where another process decodes too.
        self._marks: WeakKeyDictionary[SeriesTable, Int64Array] = WeakKeyDictionary()

    def others(self, series: SeriesColumn, at: Int64Array, mark: int) -> Int64Array:
        """Of the series at these places those whose last mark is another."""
        if series.table is None:
            return at
        others: Int64Array = at[self._of(series.table)[series.numbers[at]] != mark]
        return others

    def put(self, series: SeriesColumn, at: Int64Array, mark: int) -> None:
        """Mark the series at these places."""
        if series.table is not None:
            self._of(series.table)[series.numbers[at]] = mark

    def _of(self, table: SeriesTable) -> Int64Array:
        marks = self._marks.get(table)
        if marks is None or len(marks) < len(table):
            known = 0 if marks is None else len(marks)
            more = np.zeros(len(table.ids) - known, dtype=np.int64)
            marks = more if marks is None else np.concatenate([marks, more])
            self._marks[table] = marks
        return marks
