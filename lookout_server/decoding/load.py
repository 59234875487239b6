"""When a second process for decoding pays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

#: So much of a second spent decoding is a load: some 30,000 spans of OTLP's protobuf.
_BUSY_SECONDS: Final = 0.1
#: After so many such seconds in a row: a shorter burst is over before a process has started.
_LASTING: Final = 1


class Load:
    """How long decoding took in each second, and how many in a row were busy with it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._spent = 0.0
        self._streak = 0

    def add(self, seconds: float) -> bool:
        """Note what a body took; whether decoding has been a load for some seconds."""
        second = int(self._clock())
        if second != self._second:
            goes_on = second == self._second + 1 and self._spent > _BUSY_SECONDS
            self._streak = self._streak + 1 if goes_on else 0
            self._second, self._spent = second, 0.0
        self._spent += seconds
        return self._streak >= _LASTING
