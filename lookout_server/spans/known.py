"""Remembers which names ``span_names`` has, so that a batch without a new one writes none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeAlias

#: Tenant, kind, service, value and day: a row of ``span_names``.
Name: TypeAlias = tuple[str, str, str, str, int]
#: Tenant, kind and service: a list of names to choose from.
NameList: TypeAlias = tuple[str, str, str]

_MOST = 200_000


class KnownNames:
    """Names handed over within this hour (the writer's thread).

    Names are forgotten every hour: a day that was dropped for its space gets them again.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._hour = 0
        self._known: set[Name] = set()
        self._underway: set[Name] = set()

    def news(self, names: Iterable[Name]) -> list[Name]:
        """Those that are not known to be stored."""
        hour = int(self._clock()) // 3600
        if hour != self._hour or len(self._known) > _MOST:
            self._known.clear()
            self._hour = hour
        found = [name for name in names if name not in self._known]
        self._underway.update(found)
        return found

    def stored(self) -> None:
        """What was handed over is in the store."""
        self._known |= self._underway
        self._underway.clear()

    def forget(self) -> None:
        """What was handed over may not be in the store."""
        self._known.clear()
        self._underway.clear()
