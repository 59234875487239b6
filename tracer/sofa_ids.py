"""SOFATracer's ids, where a site's tools and habits depend on them.

A trace id is the host's IPv4 address (8 hex digits), the time in milliseconds (13 decimal digits),
a sequence number (4) and the process id: all of them hex digits, so it is a 128-bit id too. SOFA's
sequence has 8,002 values, and more ids in one millisecond than that collide. Here the millisecond
part counts on when the sequence is used up, so that ids of one process never repeat.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable

from .forks import renew_after_fork
from .identity import MASK_64

_FIRST, _LAST = 1_000, 9_001  # of the sequence
_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3


def fnv1a_64(text: str) -> int:
    """FNV-1a, as SOFATracer turns a dotted span id into 64 bits for Zipkin."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = (value ^ byte) * _FNV_PRIME & MASK_64
    return value


class SofaIds:
    """An :class:`tracer.identity.IdGenerator` in SOFATracer's form."""

    random = False

    def __init__(
        self,
        address: str | None = None,
        pid: int | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._prefix = "".join(f"{int(part):02x}" for part in (address or _address()).split("."))
        self._pid = pid
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._time = 0
        self._sequence = _FIRST
        self._source = random.Random()
        self._suffix = str(os.getpid() if pid is None else pid)
        renew_after_fork(self)

    def text(self) -> str:
        """The next trace id as SOFA writes it."""
        with self._lock:
            now = self._clock_ms()
            self._time = max(self._time, now)
            if self._sequence >= _LAST:
                # Used up: go on in a millisecond of its own, whether or not it has begun. A
                # clock that was set back does no harm for the same reason.
                self._sequence = _FIRST
                self._time += 1
            self._sequence += 1
            return f"{self._prefix}{self._time:013d}{self._sequence:04d}{self._suffix}"

    def spell(self, trace_id: int) -> str:
        """A trace id made here as SOFA writes it, its leading zeros included."""
        return f"{trace_id:0{25 + len(self._suffix)}x}"

    def generate_trace_id(self) -> int:
        return int(self.text(), 16)

    def generate_span_id(self) -> int:
        return self._source.getrandbits(64) or 1

    def renew(self) -> None:
        """In a forked child: the process id and the random state are others."""
        self._lock = threading.Lock()
        self._source.seed()
        if self._pid is None:
            self._suffix = str(os.getpid())


def _address() -> str:
    """This host's first IPv4 address that is no loopback; SOFA writes ffffffff without one."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only picks the outgoing interface
            address = str(probe.getsockname()[0])
    except OSError:
        return "255.255.255.255"
    return "255.255.255.255" if address.startswith("127.") else address
