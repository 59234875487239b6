"""Samples of recent queries, kept in memory: a dashboard asks for the same series again and again.

What is held of a set of series is all their samples between two times. It stays true up to the
earliest sample that was stored since (:mod:`lookout_server.metrics.freshness`), so a later query
reads from there only. Where other processes write too, nothing is held.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...metrics.freshness import Freshness
from .asking import stage
from .source import Int64Array, Labels, SeriesBlock

#: The tenant, and the ids of the series.
Key: TypeAlias = tuple[str, bytes]
#: Reads the samples between two times (ms), both included.
Read: TypeAlias = Callable[[int, int], SeriesBlock]

#: Read anew after so long: retention deletes without telling.
_AGE_S = 600.0
SAMPLE_BYTES = 16
#: A series' place in the block; its labels belong to the series index.
_SERIES_BYTES = 16
#: The objects of what is held: key, block and arrays, however little is in them.
_HOLDING_BYTES = 1_500


@dataclass(slots=True)
class Holding:
    """All samples of some series between two times, both included (ms)."""

    block: SeriesBlock
    start_ms: int
    end_ms: int
    number: int  # of the newest batch that was readable before
    read_at: float  # monotonic, s
    span_ms: int  # the widest window asked for


class HeldSamples:
    """Thread-safe. ``capacity`` bytes are held, of one set of series at most half."""

    def __init__(
        self,
        freshness: Freshness,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._freshness = freshness
        self._capacity = capacity
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, Holding] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """How much is held."""
        return self._bytes

    def has_room(self, samples: int) -> bool:
        """Whether so many samples of one set of series would be held."""
        return samples * SAMPLE_BYTES <= self._capacity // 2

    def get(self, key: Key, start_ms: int, end_ms: int, read: Read) -> SeriesBlock:
        """The samples between two times, read from where on they are not held."""
        number = self._freshness.number()
        known = self._current(key, start_ms)
        if known is None or known.end_ms < start_ms:
            block = read(start_ms, end_ms)
            span = end_ms - start_ms
            self._hold(key, Holding(block, start_ms, end_ms, number, self._clock(), span))
            return block
        if known.end_ms < end_ms:
            tail = read(known.end_ms + 1, end_ms)
            span = max(known.span_ms, end_ms - start_ms)
            first = max(known.start_ms, min(start_ms, end_ms - span))
            block = joined(_kept(known.block, first, known.end_ms), tail)
            known = Holding(block, first, end_ms, number, known.read_at, span)
            self._hold(key, known)
            return between(block, start_ms, end_ms)
        return _kept(known.block, start_ms, end_ms)

    def _current(self, key: Key, start_ms: int) -> Holding | None:
        """What is held and reaches back far enough, up to where it is true."""
        with self._lock:
            known = self._held.get(key)
            if known is None:
                return None
            self._held.move_to_end(key)
        if known.start_ms > start_ms or self._of_age(known):
            return None
        changed = self._freshness.changed_from(key[0], known.number)
        if changed is None or changed > known.end_ms:
            return known
        return Holding(
            known.block, known.start_ms, changed - 1, known.number, known.read_at, known.span_ms
        )

    def _hold(self, key: Key, holding: Holding) -> None:
        size = _bytes(key, holding)
        with self._lock:
            self._forget(key)
            if size <= self._capacity // 2:
                self._held[key] = holding
                self._bytes += size
            # What was not asked for since it came of age stands before all that was.
            while self._held and (self._bytes > self._capacity or self._oldest_is_of_age()):
                self._forget(next(iter(self._held)))

    def _forget(self, key: Key) -> None:
        holding = self._held.pop(key, None)
        if holding is not None:
            self._bytes -= _bytes(key, holding)

    def _oldest_is_of_age(self) -> bool:
        return self._of_age(next(iter(self._held.values())))

    def _of_age(self, holding: Holding) -> bool:
        return self._clock() - holding.read_at > _AGE_S


def _bytes(key: Key, holding: Holding) -> int:
    block = holding.block
    arrays = SAMPLE_BYTES * len(block.timestamps) + _SERIES_BYTES * len(block)
    return arrays + len(key[1]) + _HOLDING_BYTES


def _kept(block: SeriesBlock, start_ms: int, end_ms: int) -> SeriesBlock:
    with stage("memory") as told:
        found = between(block, start_ms, end_ms)
        told.rows = len(found.timestamps)
        return found


def between(block: SeriesBlock, start_ms: int, end_ms: int) -> SeriesBlock:
    """Samples between two times, both included; series without any are left out."""
    low = _first_after(block, start_ms - 1)
    high = _first_after(block, end_ms)
    if (low == block.offsets[:-1]).all() and (high == block.offsets[1:]).all():
        return block
    lengths = high - low
    rows = np.flatnonzero(lengths > 0)
    pieces = list(zip(low[rows].tolist(), high[rows].tolist(), strict=True))
    return SeriesBlock(
        [block.labels[row] for row in rows.tolist()],
        _offsets(lengths[rows]),
        _concatenated(block.timestamps, pieces),
        _concatenated(block.values, pieces),
    )


def _first_after(block: SeriesBlock, time_ms: int) -> Int64Array:
    """Index of each series' first sample later than a time: one binary search for all."""
    low, high = block.offsets[:-1].copy(), block.offsets[1:].copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        later = block.timestamps.take(middle, mode="clip") > time_ms
        high = np.where(open_ & later, middle, high)
        low = np.where(open_ & ~later, middle + 1, low)
    return low


def joined(head: SeriesBlock, tail: SeriesBlock) -> SeriesBlock:
    """The samples of both; those of ``tail`` are later."""
    if not len(tail):
        return head
    rows: dict[Labels, int] = {labels: row for row, labels in enumerate(head.labels)}
    labels = list(head.labels)
    of_tail = [-1] * len(labels)
    for row, one in enumerate(tail.labels):
        place = rows.get(one)
        if place is None:
            labels.append(one)
            of_tail.append(row)
        else:
            of_tail[place] = row
    pieces = [piece for place, row in enumerate(of_tail) for piece in _both(head, place, tail, row)]
    lengths = np.array([high - low for low, high in pieces], dtype=np.int64)
    return SeriesBlock(
        labels,
        _offsets(lengths.reshape(-1, 2).sum(axis=1)),
        _concatenated(np.concatenate([head.timestamps, tail.timestamps]), pieces),
        _concatenated(np.concatenate([head.values, tail.values]), pieces),
    )


def _both(
    head: SeriesBlock, place: int, tail: SeriesBlock, row: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a series' samples stand when the arrays of both blocks are put behind each other."""
    shift = len(head.timestamps)
    before = (0, 0)
    if place < len(head):
        before = int(head.offsets[place]), int(head.offsets[place + 1])
    after = (0, 0)
    if row >= 0:
        after = int(tail.offsets[row]) + shift, int(tail.offsets[row + 1]) + shift
    return before, after


def _offsets(lengths: Int64Array) -> Int64Array:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _concatenated(values: Any, pieces: list[tuple[int, int]]) -> Any:
    return np.concatenate([values[:0], *(values[low:high] for low, high in pieces)])
