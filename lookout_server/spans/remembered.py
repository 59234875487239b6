"""Answers of a function kept for keys that come again and again, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Answers that are kept at most, and the size of the largest with its key: some 50 MB.
_MOST: Final = 65_536
_LARGEST: Final = 512
#: Marks for keys that came once, by their hash.
_MARKS: Final = 2**18


class Remembered(dict[K, V]):
    """A dictionary that asks the function for what it does not have.

    Only what comes a second time is kept: paths with numbers in them come once, and keeping each of
    them would cost more than asking, and push out what does come again. ``size`` is that of a
    key and its answer together, in characters: either may be large alone. When it is full it begins
    anew.

    A look costs a third of what ``lru_cache`` takes, which makes a key of its own and keeps the
    order; ``map`` with ``__getitem__`` makes one for each of a list.
    """

    def __init__(self, function: Callable[[K], V], size: Callable[[K, V], int]) -> None:
        super().__init__()
        self._function = function
        self._size = size
        self._came = bytearray(_MARKS)
        self._marked = 0

    def __missing__(self, key: K) -> V:
        answer = self._function(key)
        mark = hash(key) & (_MARKS - 1)
        if self._came[mark]:
            self._keep(key, answer)
        else:
            self._came[mark] = 1
            self._marked += 1
        return answer

    def _keep(self, key: K, answer: V) -> None:
        if self._marked > _MARKS // 2:  # by now most new keys would seem to have come before
            self._came, self._marked = bytearray(_MARKS), 0
        if self._size(key, answer) <= _LARGEST:
            if len(self) >= _MOST:
                self.clear()
            self[key] = answer
