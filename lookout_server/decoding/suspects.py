"""Bodies that processes ended over, remembered for some minutes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final

_SECONDS: Final = 300.0
_MOST: Final = 1_000


class Suspects:
    """They are known by their digests; beyond a thousand the oldest is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[bytes, float] = {}  # in the order of these times

    def __contains__(self, body: bytes) -> bool:
        now = self._clock()
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
        return bool(self._until) and _digest(body) in self._until

    def add(self, body: bytes) -> None:
        """A process ended while it was to answer for this one."""
        self.discard(body)
        if len(self._until) >= _MOST:
            del self._until[next(iter(self._until))]
        self._until[_digest(body)] = self._clock() + _SECONDS

    def discard(self, body: bytes) -> None:
        """A process lived through it."""
        self._until.pop(_digest(body), None)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
