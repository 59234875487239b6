"""Tells others of stored batches, on a thread of its own: measuring must not slow the writing."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

log = logging.getLogger("lookout.observing")

T = TypeVar("T")

#: Batches that may wait for slow observers; then the writer waits for them.
_MAX_BEHIND = 8


class Observers(Generic[T]):
    """Whoever wants to see what was stored, in order, once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._observers: list[Callable[[T], None]] = []
        self._queue: queue.Queue[T | None] = queue.Queue(_MAX_BEHIND)
        self._thread = threading.Thread(target=self._run, name=f"lookout-{name}", daemon=True)

    def add(self, observer: Callable[[T], None]) -> None:
        """Before :meth:`start`."""
        self._observers.append(observer)

    def start(self) -> None:
        """Begin; without observers there is nothing to begin."""
        if self._observers:
            self._thread.start()

    def tell(self, seen: T) -> None:
        """Have the observers called; waits where they are far behind."""
        if self._observers:
            self._queue.put(seen)

    def stop(self, timeout: float = 5.0) -> None:
        """End when the observers have seen what there is."""
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(None, timeout=timeout)
            self._thread.join(timeout)

    def _run(self) -> None:
        while (seen := self._queue.get()) is not None:
            for observer in self._observers:
                try:
                    observer(seen)
                except Exception:  # one observer's fault is not the others'
                    log.exception("%s: an observer of stored batches failed", self._name)
