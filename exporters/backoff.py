"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Doubles from ``first_s`` to ``longest_s``, each wait shortened at random by up to half.

    The jitter keeps many clients of one server from coming back at the same moment.
    """

    def __init__(
        self,
        first_s: float = 0.5,
        longest_s: float = 30.0,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first = first_s
        self._longest = longest_s
        self._chance = chance
        self._failures = 0

    def failed(self) -> float:
        """One more failure: the seconds to wait now."""
        ceiling = min(self._longest, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return ceiling * (1.0 - self._chance() / 2)

    def succeeded(self) -> None:
        """Start over at the shortest wait."""
        self._failures = 0
