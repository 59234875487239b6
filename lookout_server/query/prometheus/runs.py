"""Rows of ClickHouse's answers, put into the order wanted of them.

ClickHouse reads parts in parallel, so blocks arrive in any order, but inside of them the samples of
one series stand together in ascending time. Sorting these runs, a few hundred samples each, and
gathering once is several times cheaper than sorting samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .source import Int64Array

AnyArray: TypeAlias = np.ndarray
#: A column as it came: one array a block.
Pieces: TypeAlias = Sequence[AnyArray]

#: Copying a run costs as much as gathering so many rows one by one.
_WORTH_COPYING = 16


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of columns in pieces that stand together: their piece, first row and number."""

    pieces: Int64Array
    starts: Int64Array
    lengths: Int64Array

    @classmethod
    def of(cls, keys: Pieces) -> Runs:
        """The rows that have the same key as their neighbours."""
        starts = [_heads(piece) for piece in keys]
        sizes = zip(starts, keys, strict=True)
        lengths = [np.diff(heads, append=len(piece)) for heads, piece in sizes]
        pieces = [np.full(len(heads), number) for number, heads in enumerate(starts)]
        return cls(joined(pieces), joined(starts), joined(lengths))

    def __len__(self) -> int:
        return len(self.starts)

    def firsts(self, column: Pieces) -> AnyArray:
        """The first value of each run as they were found, before any :meth:`take`."""
        ends = np.searchsorted(self.pieces, np.arange(len(column) + 1)).tolist()
        return joined([piece[self.starts[ends[n] : ends[n + 1]]] for n, piece in enumerate(column)])

    def take(self, order: Int64Array) -> Runs:
        """Some of the runs, in another order."""
        return Runs(self.pieces[order], self.starts[order], self.lengths[order])

    def gathered(self, column: Pieces) -> AnyArray:
        """The values of all runs behind each other."""
        if self._are_whole(column):
            return column[0]
        if self.lengths.sum() < _WORTH_COPYING * len(self):
            return self._by_row(column)
        ends = (self.starts + self.lengths).tolist()
        runs = zip(self.pieces.tolist(), self.starts.tolist(), ends, strict=True)
        return joined([column[piece][start:end] for piece, start, end in runs])

    def _are_whole(self, column: Pieces) -> bool:
        """Whether they are all of a single piece, in its order."""
        if len(column) != 1 or self.lengths.sum() != len(column[0]):
            return False
        return bool((self.starts[1:] > self.starts[:-1]).all())

    def _by_row(self, column: Pieces) -> AnyArray:
        begins = np.cumsum([0, *map(len, column)])[self.pieces] + self.starts
        ends = np.cumsum(self.lengths)
        first = np.repeat(begins - (ends - self.lengths), self.lengths)
        values: AnyArray = joined(column)[first + np.arange(len(first))]
        return values


def joined(column: Pieces) -> AnyArray:
    """All of it in one array."""
    if len(column) == 1:
        return column[0]
    return np.concatenate(column) if len(column) else np.zeros(0, dtype=np.int64)


def _heads(keys: AnyArray) -> Int64Array:
    differs = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=differs[1:])
    return np.flatnonzero(differs)
