"""What becomes of rolled files: compressed, and deleted when there are too many."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from . import _filelock
from ._process import always_after_fork_in_child, may_start_threads
from .compression import zstd_available
from .rhythm import reserve_seconds

_log = logging.getLogger("lookout")

_CHUNK = 1 << 20
_COMPRESSED = (".gz", ".zst")
_UNFINISHED = ".unfinished"

_tidying = threading.Lock()  # one at a time


def _renew_tidying() -> None:
    global _tidying
    _tidying = threading.Lock()


always_after_fork_in_child(_renew_tidying)


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits on the rolled files of one log; the file being written is never touched.

    ``reserve`` is an age in SOFATracer's form ("7", "1D", "0D12H"): a whole day more than it
    says is kept when it counts days, a whole hour more when it counts hours, so that "1" keeps
    all of yesterday. ``files`` and ``total_bytes`` bound number and size; None means no limit.
    The work is done by a short-lived thread after each roll, never by the writer.
    """

    reserve: str = "7"
    files: int | None = None
    total_bytes: int | None = None
    compress: Literal["none", "gzip", "zstd", "auto"] = "none"
    clock: Callable[[], float] = time.time

    def rolled(self, path: Path, others: re.Pattern[str] | None = None) -> None:
        """Put things in order after ``path`` was rolled, without making anyone wait.

        Where no thread may be started, the next process that rolls it does so.
        """
        if not may_start_threads():
            return
        worker = threading.Thread(
            target=self.tidy, args=(path, others), name="lookout-housekeeping", daemon=True
        )
        with contextlib.suppress(RuntimeError):  # at exit: the next process does it
            worker.start()

    def tidy(self, path: Path, others: re.Pattern[str] | None = None) -> None:
        """Compress and delete rolled files of ``path`` now.

        Where each process has a file of its own, ``others`` matches the names of all of them, so
        that those of ended processes go too.
        """
        with _tidying:
            try:
                self._compress_all(path)
                self._delete_superfluous(path, others)
            except OSError as error:
                _log.warning("cannot tidy up after %s: %s", path, error)

    def _compress_all(self, path: Path) -> None:
        kind = self.compress
        if kind == "none":
            return
        if kind == "auto":
            kind = "zstd" if zstd_available() else "gzip"
        for rolled in rolled_files(path):
            if rolled.suffix not in _COMPRESSED:
                _compress(rolled, kind)

    def _delete_superfluous(self, path: Path, others: re.Pattern[str] | None) -> None:
        kept_bytes = 0
        oldest = self._oldest_kept()
        for number, rolled in enumerate(reversed(rolled_files(path, others))):  # newest first
            # Another process is at it too, or (on Windows) still reads it.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                status = rolled.stat()
                kept_bytes += status.st_size
                # The plain file of another process may be written to: it goes by its age alone.
                written = others is not None and rolled.suffix == path.suffix
                if status.st_mtime < oldest or (
                    not written
                    and (
                        (self.files is not None and number >= self.files)
                        or (self.total_bytes is not None and kept_bytes > self.total_bytes)
                    )
                ):
                    rolled.unlink()

    def _oldest_kept(self) -> float:
        seconds = reserve_seconds(self.reserve)
        moment = time.localtime(self.clock() - seconds)
        hour = moment.tm_hour if seconds % 86_400 else 0
        return time.mktime((*moment[:3], hour, 0, 0, 0, 0, -1))


def rolled_files(path: Path, others: re.Pattern[str] | None = None) -> list[Path]:
    """The rolled files of the log ``path``, oldest first, and all that ``others`` matches."""

    def age(rolled: Path) -> tuple[float, str]:
        try:
            return rolled.stat().st_mtime, rolled.name
        except FileNotFoundError:
            return 0.0, rolled.name

    return sorted(_rolled(path, others), key=age)


def _rolled(path: Path, others: re.Pattern[str] | None) -> Iterator[Path]:
    for other in path.parent.iterdir():
        name = other.name
        mine = name.startswith(path.name + ".") or (others is not None and others.fullmatch(name))
        if mine and name != path.name and other.suffix != _UNFINISHED:
            yield other


def _compress(source: Path, kind: str) -> None:
    """Replace ``source`` by its compressed form, unless another process is doing it.

    The lock is on the new file: nobody else may be kept waiting by this.
    """
    target = source.with_name(source.name + (".zst" if kind == "zstd" else ".gz"))
    fresh = target.with_name(target.name + _UNFINISHED)
    with contextlib.suppress(FileNotFoundError), open(fresh, "ab") as packed:
        if not _try_lock(packed.fileno()):
            return
        if not source.exists():  # another process was faster
            fresh.unlink()
            return
        packed.truncate(0)
        with open(source, "rb") as plain:
            (_zstd if kind == "zstd" else _gzip)(plain, packed)
        packed.flush()
        status = source.stat()
        os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
        if sys.platform == "win32":  # which renames no open file; no other process is at it there
            packed.close()
        fresh.replace(target)
        source.unlink()


def _try_lock(descriptor: int) -> bool:
    try:
        return _filelock.try_lock(descriptor)
    except OSError:  # no locks here: then no two processes share a file either
        return True


def _gzip(plain: BinaryIO, packed: BinaryIO) -> None:
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as sink:
        while chunk := plain.read(_CHUNK):
            sink.write(chunk)


def _zstd(plain: BinaryIO, packed: BinaryIO) -> None:
    import cramjam

    sink = cramjam.zstd.Compressor(3)
    while chunk := plain.read(_CHUNK):
        sink.compress(chunk)
        packed.write(bytes(sink.flush()))
    packed.write(bytes(sink.finish()))
