"""Which roots a plain ratio keeps, chosen ahead of them.

Asking a ratio about each root takes a trace id, a fifth of what a span that is not kept costs.
What is drawn here instead is how many roots are turned down before the next one is kept; each of
those only counts down, and gets an id only where somebody asks for one. The ids are then drawn from
those about which the ratio says the same, so that other processes agree.
"""

from __future__ import annotations

import math
import random
import threading

from exporters.ledger import Count

from .forks import renew_after_fork
from .sampling import NONE_KEPT, RANDOM_MASK

#: How many roots are turned down at once: CPython makes ints up to here once and for all, so that
#: counting down takes no memory.
BATCH = 256


class RootChoice:
    """Chooses roots for one sampler that keeps trace ids from ``floor`` on.

    :param floor: of the low 56 bits of a trace id, above 0; with ``NONE_KEPT`` none is kept.
    :param count: its ``ahead`` is the number of roots to be turned down without asking again.
    """

    def __init__(self, floor: int, count: Count) -> None:
        self.floor = floor
        self.source = random.Random()
        self._count = count
        self._log_rejected = math.log1p((floor - NONE_KEPT) / NONE_KEPT)
        self._lock = threading.Lock()
        renew_after_fork(self)
        self._later = self._until_kept()
        self._advance()

    def renew(self) -> None:
        """In a forked child: another random state, and nobody there who could hold the lock."""
        self._lock = threading.Lock()
        self.source.seed()

    def keeps(self) -> bool | None:
        """Whether the root that asks is kept. One that is not has been counted.

        None where somebody else is being answered: another thread, or this one, which a signal
        handler has interrupted. Who asks then asks the ratio about an id instead.
        """
        # Of several that saw the last one go, one is the next kept.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._choose()
        finally:
            self._lock.release()

    def _choose(self) -> bool:
        count = self._count
        if not count.ahead:
            if not self._later:
                self._later = self._until_kept()
                self._advance()
                return True
            self._advance()
        count.ahead -= 1
        return False

    def _advance(self) -> None:
        """Turn down as many as are counted at once."""
        batch = min(self._later, BATCH)
        if self.floor < NONE_KEPT:
            self._later -= batch
        self._count.advance(batch)

    def kept(self, trace_id: int) -> int:
        """``trace_id`` where the ratio keeps it, else with other low bits that it keeps."""
        if trace_id & RANDOM_MASK >= self.floor:
            return trace_id
        return trace_id & ~RANDOM_MASK | self.source.randrange(self.floor, NONE_KEPT)

    def rejected(self, trace_id: int) -> int:
        """``trace_id`` where the ratio turns it down, else with other low bits."""
        if trace_id & RANDOM_MASK < self.floor:
            return trace_id
        return trace_id & ~RANDOM_MASK | self.source.randrange(self.floor)

    def _until_kept(self) -> int:
        """How many are turned down before the next is kept: geometrically distributed.

        By inversion, floor(ln U / ln q), where q is the share turned down (L. Devroye,
        "Non-Uniform Random Variate Generation", 1986, chapter X.2).
        """
        if self.floor == NONE_KEPT:
            return BATCH
        chance = 1.0 - self.source.random()  # above 0, which has no logarithm
        return int(math.log(chance) / self._log_rejected)
