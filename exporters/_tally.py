"""A counter many threads may add to without a lock."""

from __future__ import annotations

import itertools
import threading


class Tally:
    """Counts events exactly; adding takes no lock, reading does.

    ``add`` is ``itertools.count.__next__``: one C call, atomic under the GIL and made so on
    free-threaded builds from 3.14 on. Reading consumes a number too, so the reads are counted
    and taken off again.
    """

    __slots__ = ("_base", "_lock", "_reads", "add")

    def __init__(self) -> None:
        self.add = itertools.count().__next__
        self._lock = threading.Lock()
        self._reads = 0
        self._base = 0

    def value(self) -> int:
        """How often ``add`` was called since the start or the last reset."""
        with self._lock:
            return self._total() - self._base

    def reset(self) -> None:
        """Start from zero. Keeps ``add`` itself, which callers hold on to; for forked children."""
        self._lock = threading.Lock()  # the inherited one may be held by a thread that is gone
        self._base = self._total()

    def _total(self) -> int:
        total = self.add() - self._reads
        self._reads += 1
        return total
