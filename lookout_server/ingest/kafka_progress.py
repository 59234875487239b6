"""How far a partition was taken, and up to where it may be committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Slot:
    """One message on its way to ClickHouse."""

    offset: int
    seq: int | None = None  # the journal's number; 0: nothing to store; None: not kept yet


class Progress:
    """The messages of one partition that were taken and are not committed, in order."""

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()
        self.stored: int | None = None  # the offset after the last one that is stored
        self.committed: int | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def expect(self, offset: int) -> Slot:
        """A place for the next message."""
        slot = Slot(offset)
        self._slots.append(slot)
        return slot

    def advance(self, written: int) -> int | None:
        """The offset to commit now that entries up to ``written`` are stored; None: no news."""
        slots = self._slots
        while slots and (seq := slots[0].seq) is not None and seq <= written:
            self.stored = slots.popleft().offset + 1
        return self.stored if self.stored != self.committed else None

    def kept(self) -> int:
        """The highest number in the journal of what waits; 0: nothing waits."""
        return max((slot.seq or 0 for slot in self._slots), default=0)


def waiting(partitions: Iterable[Progress]) -> int:
    """Messages taken and not committed."""
    return sum(len(progress) for progress in partitions)
