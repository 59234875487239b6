"""Parcels that could not be sent, kept on disk until they can.

Each process writes into a directory of its own, holding a lock on it for as long as it lives.
A directory whose lock can be had has lost its owner: the next process of the application takes
it over and sends what is inside, so a restart loses nothing. A parcel is one file, written
under another name and renamed, so a crash never leaves half of one.

    DIR/<process>/lock
    DIR/<process>/00000000000000000001-000123.parcel     number, records inside
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import _filelock
from .parcel import Parcel

_NAME = re.compile(r"(\d{20})-(\d+)\.parcel\Z")


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    size: int
    count: int
    process: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that had to give way, and whose they were."""

    count: int
    process: str


class Spill:
    """A bounded queue of parcels on disk, oldest out first. One thread at a time.

    ``put``, ``probe`` and ``adopt`` raise OSError when the disk does not do as asked; nothing
    is lost by that which was in the queue before.
    """

    def __init__(self, directory: str | os.PathLike[str], max_bytes: int = 256_000_000) -> None:
        self._root = Path(directory)
        self._max_bytes = max_bytes
        self._entries: deque[_Entry] = deque()
        self._locks: dict[Path, int] = {}
        self._own: Path | None = None
        self._number = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def records(self) -> int:
        """Records inside all parcels kept."""
        return sum(entry.count for entry in self._entries)

    def put(self, parcel: Parcel) -> list[Lost]:
        """Keep ``parcel`` behind all others. The answer tells what had to give way for it."""
        data = parcel.pack()
        if len(data) > self._max_bytes:
            return [Lost(parcel.count, parcel.process)]
        lost = list(self._make_room(len(data)))
        own = self._own_directory(parcel.process)
        self._number += 1
        path = own / f"{self._number:020d}-{parcel.count:06d}.parcel"
        _write_whole(path, data)
        self._entries.append(_Entry(path, len(data), parcel.count, parcel.process))
        self.bytes += len(data)
        return lost

    def peek(self) -> tuple[Parcel | None, list[Lost]]:
        """The oldest parcel, which stays, and what was lost before it.

        Files that are damaged or were removed are passed over.
        """
        lost: list[Lost] = []
        while self._entries:
            entry = self._entries[0]
            try:
                return Parcel.unpack(entry.path.read_bytes()), lost
            except (OSError, ValueError):
                lost.append(Lost(entry.count, entry.process))
                self.pop()
        return None, lost

    def pop(self) -> None:
        """Remove the oldest parcel.

        One whose file cannot be removed, as on a disk that became read-only, is forgotten all
        the same; the next process that takes over the directory sends it again.
        """
        entry = self._entries.popleft()
        self.bytes -= entry.size
        with contextlib.suppress(OSError):
            entry.path.unlink()
        if not self._entries:
            self._release_adopted()

    def probe(self) -> None:
        """Write and remove an empty file, so that an unusable directory is known at once."""
        self._root.mkdir(parents=True, exist_ok=True)
        trial = self._root / f"{os.getpid()}-{id(self):x}.trial"
        trial.touch()
        trial.unlink()

    def adopt(self) -> int:
        """Take over what dead processes left; the number of records that came in."""
        if not self._root.is_dir():
            return 0
        found: list[_Entry] = []
        for directory in sorted(self._root.iterdir()):
            if directory.is_dir() and directory not in self._locks and self._take(directory):
                with contextlib.suppress(FileNotFoundError):  # removed by its owner just now
                    found.extend(_parcels_in(directory))
        self._entries.extendleft(reversed(found))
        self.bytes += sum(entry.size for entry in found)
        if not self._entries:
            self._release_adopted()
        return sum(entry.count for entry in found)

    def close(self) -> None:
        """Leave what is kept for the next process, or nothing behind when nothing is kept."""
        for directory in list(self._locks):
            self._release(directory)
        self._entries.clear()
        self.bytes = 0
        self._own = None

    def after_fork(self) -> None:
        """In the child: the parcels and the locks are the parent's."""
        for descriptor in self._locks.values():
            os.close(descriptor)  # the parent's copy keeps the lock
        self._locks.clear()
        self._entries.clear()
        self._own = None
        self._number = 0
        self.bytes = 0

    def _make_room(self, size: int) -> Iterator[Lost]:
        while self._entries and self.bytes + size > self._max_bytes:
            oldest = self._entries[0]
            self.pop()
            yield Lost(oldest.count, oldest.process)

    def _own_directory(self, process: str) -> Path:
        if self._own is None or not self._own.is_dir():
            own = self._root / f"{process}-{os.getpid()}"
            own.mkdir(parents=True, exist_ok=True)
            self._take(own)
            self._own = own
        return self._own

    def _take(self, directory: Path) -> bool:
        try:
            descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o600)
        except OSError:  # being removed by its owner
            return False
        if not _filelock.try_lock(descriptor):
            os.close(descriptor)
            return False
        self._locks[directory] = descriptor
        return True

    def _release_adopted(self) -> None:
        for directory in [d for d in self._locks if d != self._own]:
            self._release(directory)

    def _release(self, directory: Path) -> None:
        descriptor = self._locks.pop(directory)
        if sys.platform == "win32":  # which removes no open file, also none that another opens now
            os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty: the next process takes it over
            if not any(directory.glob("*.parcel")):
                (directory / "lock").unlink()
                directory.rmdir()
        if sys.platform != "win32":
            os.close(descriptor)


_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


def _parcels_in(directory: Path) -> Iterator[_Entry]:
    process = directory.name.rpartition("-")[0]
    for path in sorted(directory.iterdir()):
        if match := _NAME.match(path.name):
            yield _Entry(path, path.stat().st_size, int(match[2]), process)
        elif path.suffix == ".new":  # its writer died over it
            path.unlink()


def _write_whole(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
