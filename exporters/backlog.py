"""Parcels on their way, oldest first: in memory, and on disk while the destination is down."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Sequence

from .ledger import SHUTDOWN, SPILL_DAMAGED, SPILL_FULL, Account, Ledger
from .parcel import Parcel
from .spill import Spill

_log = logging.getLogger("lookout")


class Backlog:
    """A bounded queue of parcels.

    Without ``directory`` it holds up to ``memory_bytes`` of bodies. With it, parcels move to
    disk while the destination is down, and up to ``disk_bytes`` wait there, also over a restart
    of the process. In both the oldest give way. One thread at a time, but ``put`` may be called
    by any.
    """

    def __init__(
        self,
        memory_bytes: int = 16_000_000,
        directory: str | os.PathLike[str] | None = None,
        disk_bytes: int = 256_000_000,
    ) -> None:
        self.what = "spans"  # what is in the parcels, for people
        self._memory_bytes = memory_bytes
        self._spill = Spill(directory, disk_bytes) if directory is not None else None
        self._ledger = Ledger()
        self._account = Account("backlog")
        self._parcels: deque[Parcel] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._disk_failing = False
        self._head: Parcel | None = None  # the oldest on disk, read once

    def open(self, ledger: Ledger, account: Account) -> None:
        """Count what is lost in ``account``."""
        self._ledger = ledger
        self._account = account

    @property
    def where(self) -> str:
        """Where parcels wait, for people."""
        return "in memory" if self._spill is None or self._disk_failing else "on disk"

    def __len__(self) -> int:
        return len(self._parcels) + (len(self._spill) if self._spill is not None else 0)

    @property
    def has_room(self) -> bool:
        """Whether memory can take more before :meth:`settle` is called."""
        return self._bytes < self._memory_bytes

    def put(self, parcel: Parcel) -> None:
        """Keep ``parcel`` behind all others. The bound is restored by :meth:`settle`."""
        with self._lock:
            self._parcels.append(parcel)
            self._bytes += len(parcel.body)

    def put_first(self, parcels: Sequence[Parcel]) -> None:
        """Keep ``parcels`` before all others in memory."""
        with self._lock:
            self._parcels.extendleft(reversed(parcels))
            self._bytes += sum(len(parcel.body) for parcel in parcels)

    def peek(self) -> Parcel | None:
        """The oldest parcel, which stays until :meth:`pop`."""
        if self._head is None and self._spill:
            self._head = self._read_head(self._spill)
        if self._head is not None:
            return self._head
        with self._lock:
            return self._parcels[0] if self._parcels else None

    def pop(self) -> None:
        """Remove the parcel that ``peek`` gave."""
        if self._head is not None and self._spill is not None:
            self._head = None
            self._spill.pop()
            return
        with self._lock:
            self._bytes -= len(self._parcels.popleft().body)

    def settle(self, down: bool) -> None:
        """Move what waits to disk while the destination is down, or slower than memory lasts.

        Have the oldest give way where that does not help.

        Not between ``peek`` and ``pop``.
        """
        if self._spill is not None and (down or self._bytes > self._memory_bytes):
            self._to_disk()
        while self._bytes > self._memory_bytes and len(self._parcels) > 1:
            with self._lock:
                oldest = self._parcels.popleft()
                self._bytes -= len(oldest.body)
            self.lose(SPILL_FULL, oldest.count, oldest.process)

    def adopt(self) -> None:
        """Take over what dead processes left on disk, and tell where nothing can be kept there."""
        if self._spill is not None:
            try:
                if found := self._spill.adopt():
                    _log.info("sending %d %s an earlier process left", found, self.what)
                self._spill.probe()
            except OSError as error:
                self._disk_trouble(error)

    def lose(self, reason: str, count: int, process: str) -> None:
        """Count records given up, if they are this process's."""
        if process == self._ledger.process:
            self._account.drop(reason, count)

    def close(self) -> None:
        """Keep the rest on disk, or give it up, counted, where there is none."""
        if self._spill is not None:
            self._to_disk()
            self._spill.close()
        while self._parcels:
            parcel = self._parcels.popleft()
            self.lose(SHUTDOWN, parcel.count, parcel.process)
        self._bytes = 0

    def after_fork(self) -> None:
        """In the child: all of it is the parent's."""
        self._lock = threading.Lock()
        self._parcels.clear()
        self._bytes = 0
        self._head = None
        if self._spill is not None:
            self._spill.after_fork()

    def _read_head(self, spill: Spill) -> Parcel | None:
        head, lost = spill.peek()
        if lost:
            count = sum(gone.count for gone in lost)
            _log.warning("%d %s kept on disk were damaged or removed there", count, self.what)
        for gone in lost:
            self.lose(SPILL_DAMAGED, gone.count, gone.process)
        return head

    def _to_disk(self) -> None:
        assert self._spill is not None
        while self._parcels:
            parcel = self._parcels[0]
            if not parcel.ledger:
                parcel.ledger = self._ledger.report(self._account.name).header()
            try:
                lost = self._spill.put(parcel)
            except OSError as error:
                self._disk_trouble(error)
                return
            if lost:
                self._head = None
            with self._lock:
                self._parcels.popleft()
                self._bytes -= len(parcel.body)
            for gone in lost:
                self.lose(SPILL_FULL, gone.count, gone.process)
            self._disk_failing = False

    def _disk_trouble(self, error: OSError) -> None:
        if not self._disk_failing:
            _log.warning("cannot keep %s on disk, keeping them in memory: %s", self.what, error)
        self._disk_failing = True
