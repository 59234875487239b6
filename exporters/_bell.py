"""Wakes one sleeping thread."""

from __future__ import annotations

import contextlib
import threading


class Bell:
    """Like an event that clears itself, on one raw lock.

    Unlike :class:`threading.Event` it may be rung from a signal handler or a finalizer that
    interrupts another ``ring`` on the same thread: there is no lock to wait for.
    """

    __slots__ = ("_gate",)

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def ring(self) -> None:
        """Wake the waiting thread, or let its next wait return at once."""
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._gate.release()

    def wait(self, seconds: float) -> bool:
        """Wait until rung, at most ``seconds``. True when it was rung."""
        return self._gate.acquire(timeout=max(0.0, seconds))
