"""A destination that keeps what it gets, for tests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from .destination import LocalDestination
from .records import SpanRecord


class MemoryDestination(LocalDestination):
    """Keeps the latest ``limit`` spans, oldest first in :attr:`spans`."""

    name = "memory"

    def __init__(self, limit: int = 100_000) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._spans: deque[SpanRecord] = deque(maxlen=limit)

    def accept(self, records: Sequence[SpanRecord]) -> None:
        with self._lock:
            self._spans.extend(records)
        self._done(len(records))

    @property
    def spans(self) -> list[SpanRecord]:
        """What arrived so far; flush first to see all."""
        with self._lock:
            return list(self._spans)

    def clear(self) -> None:
        """Forget the spans kept."""
        with self._lock:
            self._spans.clear()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._spans.clear()
