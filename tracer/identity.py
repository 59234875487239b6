"""Trace and span ids.

Ids are integers until somebody writes them down: 128 bits for a trace, 64 bits for a span, never 0.
The root span of a trace has the low half of the trace id as its span id (as Zipkin's libraries do),
so a trace costs one random number and each further span one more.
"""

from __future__ import annotations

import random
from typing import Protocol

from .forks import renew_after_fork

MASK_64 = (1 << 64) - 1
MASK_128 = (1 << 128) - 1


class IdGenerator(Protocol):
    """Where ids come from. Both results must be non-zero and fit their width."""

    def generate_trace_id(self) -> int: ...  # 128 bits
    def generate_span_id(self) -> int: ...  # 64 bits


class RandomIds:
    """Random ids from a Mersenne twister seeded by the operating system, re-seeded after fork.

    ``bits`` is the C method the hot path calls directly.
    """

    random = True  # the low 56 bits are random: W3C trace-context level 2 lets us say so

    def __init__(self) -> None:
        self._source = random.Random()
        self.bits = self._source.getrandbits
        renew_after_fork(self)

    def renew(self) -> None:
        """Forget the inherited state, so that a forked child does not repeat its parent's ids."""
        self._source.seed()

    def generate_trace_id(self) -> int:
        return self.bits(128) or 1

    def generate_span_id(self) -> int:
        return self.bits(64) or 1


class SequentialIds:
    """1, 2, 3 ... for tests that compare whole traces."""

    random = False

    def __init__(self, first: int = 1) -> None:
        self._next = first

    def bits(self, width: int) -> int:
        value, self._next = self._next, self._next + 1
        return value & ((1 << width) - 1) or 1

    def generate_trace_id(self) -> int:
        return self.bits(128)

    def generate_span_id(self) -> int:
        return self.bits(64)


def format_trace_id(trace_id: int) -> str:
    """32 lower-case hex digits."""
    return f"{trace_id:032x}"


def format_span_id(span_id: int) -> str:
    """16 lower-case hex digits."""
    return f"{span_id:016x}"
