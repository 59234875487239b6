"""A log file that several processes may write and roll at once without losing a line.

All processes append to one file under its plain name. The alternative, a file per process, was
turned down: with eight workers and six kinds of work it makes fifty files to follow, workers
that are recycled leave thousands, and "keep the last seven" loses its meaning.

Each batch is appended under the file's own lock (``flock``), which costs a few microseconds and
buys these guarantees:

* Lines never mix, also where ``O_APPEND`` alone promises nothing (network file systems).
* Only the holder of the lock renames the file. A writer that gets the lock afterwards sees that
  the name now means another file, and opens that one. So nothing is written to a rolled file,
  which may be compressed at once.
* The same comparison notices a file deleted or moved away by others.
* A writer that was killed in the middle of a line is noticed by the next one, which starts on a
  fresh line. A batch that did not fit on the disk is cut off again.

Where locks do not exist (some network mounts) or an open file cannot be renamed (Windows), each
process writes a file of its own, with its process id before the extension. A file that cannot be
renamed because somebody reads it, as on Windows, is written on and rolled later.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import _filelock
from .retention import Retention
from .rhythm import Rhythm

_log = logging.getLogger("lookout")

#: How long until rolling is tried again where it was refused.
_ROLL_AGAIN_S = 10.0

#: A holder writes one batch. One that takes this long is stopped, not slow.
_LOCK_TIMEOUT_S = 2.0

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_FLAGS = (
    os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class RollingLog:
    """Appends whole lines to ``path``; used by one thread at a time.

    The file is rolled when its period is over (``rhythm``: "daily", "hourly" or a date pattern)
    and before it grows beyond ``max_bytes`` (0: no limit). A rolled file gets the period's
    suffix, and a number when that name is taken. ``fsync_s`` says how often what was written is
    forced to the disk: None never, 0 with each batch, else at most every so many seconds.
    A clock that moves back never rolls a file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rhythm: str = "daily",
        max_bytes: int = 0,
        retention: Retention | None = None,
        fsync_s: float | None = None,
        shared: bool = sys.platform != "win32",
        mode: int = 0o644,
        quiet: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wanted = Path(path)
        self._rhythm = Rhythm(rhythm)
        self._max_bytes = max_bytes
        self._retention = retention if retention is not None else Retention(clock=clock)
        self._fsync_s = fsync_s
        self._shared = shared
        self._mode = mode
        self._quiet = quiet
        self._clock = clock
        self._descriptor: int | None = None
        self._identity = (0, 0)  # the open file's inode and device
        self._period = ""  # the suffix of the open file's period
        self._latest = 0.0  # the latest moment known of it
        self._end = 0  # where our last write ended
        self._synced = 0.0
        self._roll_after = 0.0  # not before this moment: rolling was refused
        self._failing = False

    @property
    def path(self) -> Path:
        """The file written to."""
        if self._shared:
            return self._wanted
        return self._wanted.with_name(f"{self._wanted.stem}.{os.getpid()}{self._wanted.suffix}")

    def write(self, lines: bytes) -> bool:
        """Append ``lines``, which end in a line break. False when they could not be written.

        The first failure of a row is logged, and so is that it is over.
        """
        try:
            self._write(lines)
        except OSError as error:
            self._close()
            self._note(error)
            return False
        self._note(None)
        return True

    def roll_if_due(self) -> None:
        """Roll a file whose period is over though nothing is written."""
        with contextlib.suppress(OSError):
            if self._descriptor is not None and self._is_over(self._clock()):
                self._with_current_file(0, None)

    def sync(self) -> None:
        """Force what was written to the disk, when the policy is to do so at all."""
        if self._descriptor is not None and self._fsync_s is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        self.sync()
        self._close()

    def after_fork(self) -> None:
        """In the child: let go of the parent's descriptor, and of nothing it has locked."""
        self._close()

    def _write(self, lines: bytes) -> None:
        self._with_current_file(len(lines), lambda size: self._append(lines, size))
        if self._fsync_s is not None and self._clock() - self._synced >= self._fsync_s:
            self._synced = self._clock()
            assert self._descriptor is not None
            os.fsync(self._descriptor)

    def _with_current_file(self, coming: int, use: Callable[[int], None] | None) -> None:
        """Call ``use(size)`` while holding the lock of the file that ``path`` means now.

        The file is rolled first when it is due; without ``use`` that is all.
        """
        for _ in range(100):  # each round another process rolled in between
            descriptor = self._open()
            locked = self._lock(descriptor)
            if locked is None:
                continue  # no locks here: start over with a file of our own
            try:
                size = self._size_if_current()
                if size is not None and not self._is_due(size, coming):
                    if use is not None:
                        use(size)
                    return
                if size is not None:
                    self._roll()
            finally:
                if locked:
                    _filelock.unlock(descriptor)
            self._close()
            if use is None:
                return
        raise OSError(errno.EBUSY, "the file is replaced all the time", str(self.path))

    def _open(self) -> int:
        if self._descriptor is None:
            try:
                descriptor = os.open(self.path, _FLAGS, self._mode)
            except FileNotFoundError:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.path, _FLAGS, self._mode)
            self._descriptor = descriptor
            status = os.fstat(descriptor)
            known, self._identity = self._identity, (status.st_ino, status.st_dev)
            # What could not be rolled was written on since: its time says nothing of its period.
            if not (self._roll_after and self._identity == known):
                self._roll_after = 0.0
                self._latest = status.st_mtime if status.st_size else self._clock()
                self._period = self._rhythm.suffix(self._latest)
            self._end = -1  # unknown: look at the last byte
        return self._descriptor

    def _lock(self, descriptor: int) -> bool | None:
        """Whether the lock is held; None when there are no locks and the path has changed."""
        if not self._shared:
            return False
        try:
            return _filelock.lock(descriptor, _LOCK_TIMEOUT_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        self._close()
        self._shared = False
        return None

    def _size_if_current(self) -> int | None:
        """The open file's size; None when the path means another file by now, or none."""
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return None
        same = (named.st_ino, named.st_dev) == self._identity
        return named.st_size if same else None

    def _is_due(self, size: int, coming: int) -> bool:
        if not size:
            self._period = self._rhythm.current(self._clock())
            return False
        now = self._clock()
        if now < self._roll_after <= now + _ROLL_AGAIN_S:
            return False
        too_large = bool(self._max_bytes) and size + coming > self._max_bytes
        return too_large or self._is_over(now)

    def _is_over(self, now: float) -> bool:
        if now < self._latest:  # the clock went back
            return False
        self._latest = now
        return self._rhythm.current(now) != self._period

    def _append(self, lines: bytes, size: int) -> None:
        descriptor = self._descriptor
        assert descriptor is not None
        if size and size != self._end and _byte_at(descriptor, size - 1) != b"\n":
            lines = b"\n" + lines  # someone died in the middle of a line
        try:
            written = os.write(descriptor, lines)
            while written < len(lines):
                written += os.write(descriptor, lines[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)  # no half lines
            raise
        self._end = size + len(lines)

    def _roll(self) -> None:
        source = self.path
        target = _free_name(source, self._period)
        if not self._shared:
            self._close()  # Windows does not rename open files
        try:
            os.rename(source, target)
        except PermissionError as error:
            if not self._roll_after and not self._quiet:
                _log.warning("cannot roll %s now, writing on: %s", source, error)
            self._roll_after = self._clock() + _ROLL_AGAIN_S
            return
        self._roll_after = 0.0
        self._retention.rolled(source, None if self._shared else self._all_processes())

    def _all_processes(self) -> re.Pattern[str]:
        """Matches the files of all processes that write this log, rolled ones too."""
        stem, suffix = re.escape(self._wanted.stem), re.escape(self._wanted.suffix)
        return re.compile(rf"{stem}\.\d+{suffix}(\..+)?")

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _note(self, error: OSError | None) -> None:
        if (error is not None) != self._failing and not self._quiet:
            if error is not None:
                _log.warning("cannot write %s: %s", self.path, error)
            else:
                _log.warning("%s can be written again", self.path)
        self._failing = error is not None


def _byte_at(descriptor: int, offset: int) -> bytes:
    os.lseek(descriptor, offset, os.SEEK_SET)  # writes go to the end all the same: O_APPEND
    return os.read(descriptor, 1)


def _free_name(path: Path, suffix: str) -> Path:
    """``path`` with the suffix, and the first number that no rolled file has."""
    plain = path.with_name(path.name + suffix)
    candidate, number = plain, 0
    while any(candidate.with_name(candidate.name + end).exists() for end in ("", ".gz", ".zst")):
        number += 1
        candidate = plain.with_name(f"{plain.name}.{number}")
    return candidate
