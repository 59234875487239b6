"""Reads the lines of a directory of rolling logs: each once, whatever becomes of its file.

A file is known by its first line, not by its name: it stays the same file when it is rolled,
compressed, moved or copied, also while nobody is reading. How far each has been read is kept in
a small state file, which is replaced after what was read has been dealt with.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

#: Current, rolled and compressed digests of all kinds of work, in this directory or its shadow.
_DIGEST = re.compile(r".+-digest(\.\d+)?\.log(\..+)?\Z")
_UNFINISHED = (".unfinished", ".tmp", ".new")
_COMPRESSED = (".gz", ".zst")
_CHUNK = 1 << 20
#: How often files are looked for again that were gone when their turn came.
_LOOKS = 10
#: A line longer than this is damage.
_LONGEST_LINE = 64 << 20
#: What reading a file raises that is cut off, is not what its name says, or is not ours to read.
_DAMAGE = (OSError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of one file, and where reading goes on once they are dealt with."""

    file: str  # the fingerprint
    lines: tuple[bytes, ...]
    end: int  # offset in the uncompressed content


class Positions:
    """How far each file has been read; without a ``path`` for one reading, and saved nowhere.

    Raises ValueError for a state file that is none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._offsets: dict[str, int] = {}
        if path is None:
            return
        with contextlib.suppress(FileNotFoundError):
            try:
                self._offsets = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
            except msgspec.DecodeError as error:
                raise ValueError(f"{path} is not a state file of lookout ship: {error}") from None

    def __getitem__(self, file: str) -> int:
        return self._offsets.get(file, 0)

    def done(self, piece: Piece) -> None:
        """Remember that ``piece`` needs no second reading."""
        self._offsets.pop(piece.file, None)
        self._offsets[piece.file] = piece.end  # the latest stand last

    def keep(self, files: int) -> None:
        """Bound what is remembered, for a directory that has so many files now.

        Not exactly those: one that is being renamed may be missing from a single look.
        """
        superfluous = len(self._offsets) - max(1_000, 2 * files)
        for file in list(self._offsets)[: max(0, superfluous)]:
            del self._offsets[file]

    def save(self) -> None:
        """Write the state in one step, so that a crash leaves the old or the new one."""
        if self._path is None:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_bytes(msgspec.json.encode(self._offsets))
        fresh.replace(self._path)


class LogDirectory:
    """The digest files of ``directory``, and of its ``shadow`` when asked.

    Of a file that cannot be read to its end ``on_damage`` hears once, in words; what stands before
    the damage is read, and so are the other files.
    """

    def __init__(
        self,
        directory: Path,
        *,
        shadow: bool = False,
        on_damage: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._folders = [directory, directory / "shadow"] if shadow else [directory]
        self._finished: set[tuple[str, int, int]] = set()  # compressed files read to their end
        self._on_damage = on_damage
        self._damaged: set[Path] = set()

    def files(self) -> list[Path]:
        """All digest files, oldest first."""
        found = [path for folder in self._folders for path in _digests_in(folder)]
        return sorted(found, key=_age)

    def unread(self, positions: Positions) -> Iterator[Piece]:
        """What was not dealt with yet, file by file."""
        read: set[str] = set()
        for _ in range(_LOOKS):
            files = self.files()
            gone = False
            for path in files:
                try:
                    yield from self._unread_in(path, positions, read)
                except FileNotFoundError:  # rolled or compressed just now: it has another name
                    gone = True
                except _DAMAGE as error:
                    self._tell(path, error)
            self._damaged &= set(files)
            positions.keep(len(files))
            if not gone:
                return

    def _unread_in(self, path: Path, positions: Positions, read: set[str]) -> Iterator[Piece]:
        state = _state(path)
        if state in self._finished:
            return
        # The file is opened once: the name may mean another one a moment later.
        with open_log(path) as content:
            first = content.readline(_LONGEST_LINE)
            file = hashlib.sha256(first).hexdigest()[:32]
            whole = first.endswith(b"\n") or len(first) == _LONGEST_LINE
            if not whole or file in read:
                return  # nothing whole yet; or compressed, and the original not removed yet
            read.add(file)
            yield from _pieces(content, file, positions[file])
        if path.suffix in _COMPRESSED:
            self._finished.add(state)

    def _tell(self, path: Path, error: Exception) -> None:
        """Of damage, once; a compressed file is what it is, and is not read again."""
        if path not in self._damaged:
            self._damaged.add(path)
            what = getattr(error, "strerror", None) or str(error)
            self._on_damage(
                f"{path} cannot be read to its end ({what}); the rest of it is left out"
            )
        if path.suffix in _COMPRESSED:
            with contextlib.suppress(OSError):
                self._finished.add(_state(path))


def _state(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns


def open_log(path: Path) -> BinaryIO:
    """A log file for reading, compressed or not. Raises OSError, EOFError or zlib.error for one
    that is damaged, now or when it is read."""
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    if path.suffix == ".zst":
        import cramjam

        try:
            return io.BytesIO(bytes(cramjam.zstd.decompress(path.read_bytes())))
        except cramjam.DecompressionError as error:
            raise OSError(str(error)) from None
    return open(path, "rb")


def _digests_in(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if _DIGEST.match(path.name) and not path.name.endswith(_UNFINISHED) and path.is_file():
            yield path


def _age(path: Path) -> tuple[float, str]:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime, path.name
    return 0.0, path.name


def _pieces(content: BinaryIO, file: str, offset: int) -> Iterator[Piece]:
    """The whole lines behind ``offset``, in pieces of about a megabyte."""
    content.seek(offset)
    rest = b""
    for chunk in _chunks(content):
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            offset += len(whole) + 1
            yield Piece(file, tuple(line + b"\n" for line in whole.split(b"\n")), offset)
        elif len(rest) > _LONGEST_LINE:
            offset += len(rest)
            rest = b""


def _chunks(content: BinaryIO) -> Iterator[bytes]:
    """About a megabyte each; what stands before damage comes before it is raised."""
    going_on = True
    while going_on:
        chunk = bytearray()
        try:
            while going_on and len(chunk) < _CHUNK:
                some = cast("io.BufferedReader", content).read1(_CHUNK)
                chunk += some
                going_on = bool(some)
        except _DAMAGE:
            yield bytes(chunk)
            raise
        if chunk:
            yield bytes(chunk)
