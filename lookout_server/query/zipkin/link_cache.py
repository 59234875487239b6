"""Links kept in memory for as long as the count of their spans says that they are true."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol

#: Bytes of all that is kept.
_BYTES_MOST = 50_000_000
#: What a place costs however little is in it.
_PLACE_BYTES = 1250


class Kept(Protocol):
    """What knows how much memory it takes."""

    @property
    def nbytes(self) -> int: ...


class LinkCache:
    """Least recently used values by place, each with the mark it is true for. Thread-safe."""

    def __init__(self, most: int = _BYTES_MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Hashable, Kept]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, place: Hashable, mark: Hashable) -> Any:
        """The value kept at a place under this very mark, else None."""
        with self._lock:
            kept = self._kept.get(place)
            if kept is None or kept[0] != mark:
                return None
            self._kept.move_to_end(place)
            return kept[1]

    def put(self, place: Hashable, mark: Hashable, value: Kept) -> None:
        """Keep a value, instead of what was kept at its place; the oldest make room.

        What would take most of the room alone is not kept: all else would go for it.
        """
        with self._lock:
            self._forget(place)
            if value.nbytes > self._most // 2:
                return
            self._kept[place] = (mark, value)
            self._bytes += value.nbytes + _PLACE_BYTES
            while self._bytes > self._most:
                self._forget(next(iter(self._kept)))

    def _forget(self, place: Hashable) -> None:
        kept = self._kept.pop(place, None)
        if kept is not None:
            self._bytes -= kept[1].nbytes + _PLACE_BYTES
