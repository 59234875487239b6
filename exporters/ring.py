"""The bounded buffer between the application's threads and the flusher.

Producers take no lock. The storage is a :class:`collections.deque`, whose ``append``,
``popleft`` and ``len`` are single C calls:

* with the GIL each of them is atomic, because no other thread runs Python code inside one;
* on free-threaded builds each of them runs in the deque's own critical section, an
  uncontended per-object lock inside the interpreter, so the deque stays consistent too.

What is *not* atomic is the pair "look at the length, then append". Two producers may both see
the last free place; the ring then holds one record too many for each further producer. The
bound is therefore exact for one producer and soft by one record per producing thread otherwise;
the counts are exact always.

The producer compares the length with one number, the *mark*. Below it a record is appended and
that is all. At or above it the slow path decides: ring the flusher's bell, or apply the policy
because the ring is full. The flusher moves the mark: 0 when it sleeps (the next record wakes
it), half of the capacity while it naps, the capacity while it works. So waking costs the usual
record nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Generic, TypeVar

from ._tally import Tally

T = TypeVar("T")


class Policy(StrEnum):
    """What happens to a record offered to a full ring."""

    DROP_NEWEST = "drop_newest"
    DROP_OLDEST = "drop_oldest"
    BLOCK = "block"


def power_of_two(wanted: int) -> int:
    """The smallest power of two that is not below ``wanted``."""
    return 1 << (wanted - 1).bit_length()


class Ring(Generic[T]):
    """A bounded queue: any number of producers, one consumer at a time.

    ``capacity`` is rounded up to a power of two. A waiting record costs the ring one reference.
    With :attr:`Policy.BLOCK` a producer waits up to ``block_s`` seconds for room, then drops.
    Raises ValueError for a capacity below 1 or an unknown policy.
    """

    #: Offers a record; False when it was dropped. A closure rather than a method: with the
    #: queue in a cell the call is a third cheaper (benchmarks/flush.py).
    offer: Callable[[T], bool]

    def __init__(
        self,
        capacity: int = 16_384,
        policy: Policy | str = Policy.DROP_NEWEST,
        *,
        block_s: float = 0.1,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"ring capacity must be at least 1, not {capacity}")
        self.capacity = power_of_two(capacity)
        self.policy = Policy(policy)
        self.block_s = block_s
        self._queue: deque[T] = deque()
        self._taken = 0
        self._dropped = Tally()
        self._refused = Tally()
        self._room = threading.Condition()
        self._bell: Callable[[], object] = _silent
        self._closed = False
        self._build()

    def _build(self) -> None:
        queue = self._queue
        append = queue.append
        slow = self._offer_slowly
        mark = 0

        def offer(record: T) -> bool:
            if len(queue) < mark:
                append(record)
                return True
            return slow(record)

        def set_mark(value: int) -> None:
            nonlocal mark
            mark = value

        self.offer = offer
        self._set_mark = set_mark

    def listen(self, bell: Callable[[], object]) -> None:
        """Have ``bell`` called, on the producer's thread, when a record reaches the mark."""
        self._bell = bell

    def set_mark(self, waiting: int) -> None:
        """Ring the bell for records offered while ``waiting`` or more are in the ring."""
        self._set_mark(0 if self._closed else min(waiting, self.capacity))

    def drain(self, limit: int) -> list[T]:
        """Take up to ``limit`` records, oldest first. One consumer at a time."""
        queue = self._queue
        popleft = queue.popleft
        taken: list[T] = []
        with contextlib.suppress(IndexError):  # a drop_oldest producer was faster
            for _ in range(min(limit, len(queue))):
                taken.append(popleft())  # noqa: PERF401 -- what was taken must survive the error
        self._taken += len(taken)
        if taken and self.policy is Policy.BLOCK:
            with self._room:
                self._room.notify_all()
        return taken

    def __len__(self) -> int:
        """Records waiting."""
        return len(self._queue)

    @property
    def taken(self) -> int:
        """Records the consumer has drained."""
        return self._taken

    @property
    def dropped(self) -> int:
        """Records given up because the ring was full."""
        return self._dropped.value()

    @property
    def refused(self) -> int:
        """Records offered after :meth:`close`."""
        return self._refused.value()

    @property
    def offered(self) -> int:
        """Records ever offered: taken + waiting + dropped + refused.

        Exact once producers are quiet.
        """
        return self._taken + len(self._queue) + self.dropped + self.refused

    def close(self) -> None:
        """Refuse further records, and count them. What waits can still be drained."""
        self._closed = True
        self._set_mark(0)

    def reset(self) -> None:
        """Forget everything: for the child after a fork, whose records are the parent's."""
        self._queue.clear()
        self._taken = 0
        self._dropped.reset()
        self._refused.reset()
        self._room = threading.Condition()
        self._set_mark(0)

    def _offer_slowly(self, record: T) -> bool:
        if self._closed:
            self._refused.add()
            return False
        if len(self._queue) < self.capacity or self._make_room():
            # One ring is enough: a thread that computes keeps the flusher waiting for the
            # interpreter, and every record until then would ring again. The mark goes up before
            # the bell, so that a flusher that answers at once has the last word about the mark.
            self._set_mark(self.capacity)
            self._queue.append(record)
            self._bell()
            return True
        self._bell()
        self._dropped.add()
        return False

    def _make_room(self) -> bool:
        if self.policy is Policy.DROP_OLDEST:
            return self._drop_oldest()
        if self.policy is Policy.BLOCK:
            return self._wait_for_room()
        return False

    def _drop_oldest(self) -> bool:
        try:
            self._queue.popleft()
        except IndexError:  # the consumer emptied the ring meanwhile
            return True
        self._dropped.add()
        return True

    def _wait_for_room(self) -> bool:
        deadline = time.monotonic() + self.block_s
        self._bell()
        with self._room:
            while len(self._queue) >= self.capacity:
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    return False
                self._room.wait(left)
        return True


def _silent() -> None:
    """The bell of a ring nobody listens to."""
