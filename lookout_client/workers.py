"""Several processes scraped as one: the workers of gunicorn and the like.

Every worker writes what it holds into a shared directory, once a second and when it ends. Who is
scraped reads the files of the others, so any worker answers for all. The file of a worker that is
gone is added to one file of ended workers and removed: sums stay right over restarts, and the
directory holds no more files than workers live. A worker that is killed loses at most its last
second.

Counters, timers, summaries and histograms are added up, exemplars are the latest, up-down counters
are those of the living. A gauge says by its option ``across`` what it is: ``all`` (the default)
keeps one series per process, tagged ``pid``; ``sum``, ``min``, ``max`` and ``latest`` make one of
them.

A push needs none of this: there, processes are told apart by ``service.instance.id``.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .aggregate import Sums
from .family import Definition
from .registry import Registry
from .snapshot import BucketPoint, ExponentialPoint, NumberPoint, Point, Snapshot

_log = logging.getLogger("lookout")

ENDED = "ended.metrics"
LOCK = "lock"
SUFFIX = ".metrics"


class _Stored(NamedTuple):
    """A snapshot as it is kept in a file."""

    definition: Definition
    numbers: list[NumberPoint]
    buckets: list[BucketPoint]
    exponentials: list[ExponentialPoint]


class _File(NamedTuple):
    """What one process holds, and when it wrote it."""

    pid: int
    time_ns: int
    metrics: list[_Stored]


_decoder = msgspec.msgpack.Decoder(_File)


#: By registry and directory, as long as the process lives.
_begun: dict[tuple[int, str], Workers] = {}


def workers_of(registry: Registry, directory: str | os.PathLike[str]) -> Workers:
    """Those of ``registry`` in ``directory``.

    The same as long as the process lives: what it counted is in its file, so metrics that are
    started again must go on there, or it would count twice.
    """
    key = (id(registry), os.path.realpath(directory))
    return _begun.get(key) or _begun.setdefault(key, Workers(registry, directory))


class Workers:
    """The metrics of all processes that share ``directory``, with ``registry``'s own."""

    def __init__(self, registry: Registry, directory: str | os.PathLike[str]) -> None:
        self._registry = registry
        self._directory = Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._pid = 0
        self._claim: int | None = None
        self._path = self._directory

    def write(self) -> None:
        """Put what this process holds into its file; add ended processes' files to one."""
        self._own_file()
        snapshots = self._registry.collect()
        self._replace(self._path, snapshots)
        with self._locked(fcntl.LOCK_EX):
            self._bury()

    def collect(self) -> list[Snapshot]:
        """This process's metrics as they are, and all others' as they were last written."""
        sums = Sums()
        sums.add(os.getpid(), self._registry.clock_ns(), self._registry.collect())
        with self._locked(fcntl.LOCK_SH):
            for path in self._files():
                if path != self._path or self._pid != os.getpid():
                    self._add(sums, path)
            self._add(sums, self._directory / ENDED)
        return sums.snapshots()

    def close(self) -> None:
        """Write a last time. Once the process has ended another one adds its file to the ended."""
        if self._pid == os.getpid():
            self.write()

    def _own_file(self) -> None:
        """The file of this process, claimed by a lock that ends with the process."""
        pid = os.getpid()
        if self._pid == pid:
            return
        if self._claim is not None:  # inherited by a fork; POSIX locks are not
            os.close(self._claim)
        token = f"{pid}-{self._registry.clock_ns():x}"
        self._claim = os.open(self._directory / f"{token}.claim", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.lockf(self._claim, fcntl.LOCK_EX)
        self._path = self._directory / f"{token}{SUFFIX}"
        self._pid = pid

    def _files(self) -> Iterator[Path]:
        return (path for path in self._directory.glob(f"*-*{SUFFIX}") if path.name != ENDED)

    def _bury(self) -> None:
        """Add the files of ended processes to one. The directory is locked."""
        ended = [path for path in self._files() if path != self._path and not _is_claimed(path)]
        if not ended:
            return
        sums = Sums()
        for path in (self._directory / ENDED, *ended):
            self._add(sums, path)
        self._replace(self._directory / ENDED, sums.snapshots(living=False))
        for path in ended:
            path.unlink(missing_ok=True)
            path.with_suffix(".claim").unlink(missing_ok=True)

    def _add(self, sums: Sums, path: Path) -> None:
        try:
            file = _decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("%s cannot be read, its counts are missing: %s", path, error)
            return
        pid = None if path.name == ENDED or not _is_claimed(path) else file.pid
        sums.add(pid, file.time_ns, [_restored(stored) for stored in file.metrics])

    def _replace(self, path: Path, snapshots: Iterable[Snapshot]) -> None:
        """Write the whole file or nothing."""
        file = _File(os.getpid(), self._registry.clock_ns(), [_stored(item) for item in snapshots])
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_bytes(msgspec.msgpack.encode(file))
        os.replace(partial, path)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """The directory, so that no file is read twice or not at all while it is buried."""
        descriptor = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            # Said, not left to closing: a child forked meanwhile shares the lock and never closes.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _is_claimed(path: Path) -> bool:
    """Whether the process that owns the file lives, which its lock tells even if pids repeat.

    For files of other processes only: closing the claim here lets go of one's own.
    """
    try:
        descriptor = os.open(path.with_suffix(".claim"), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _stored(snapshot: Snapshot) -> _Stored:
    groups: dict[type[Any], list[Any]] = {NumberPoint: [], BucketPoint: [], ExponentialPoint: []}
    for point in snapshot.points:
        groups[type(point)].append(_sized(point))
    return _Stored(snapshot.definition, *groups.values())


def _sized(point: Point) -> Point:
    """``point`` with a value that the format can hold: a sum may outgrow 64 bits."""
    if isinstance(point, NumberPoint) and not -(2**63) <= point.value < 2**63:
        return point._replace(value=float(point.value))
    return point


def _restored(stored: _Stored) -> Snapshot:
    points: list[Point] = [*stored.numbers, *stored.buckets, *stored.exponentials]
    return Snapshot(stored.definition, points)
