"""Pages of large libraries that were read once and stay in the resident set for it.

ClickHouse's library is half a gigabyte. Starting it reads tens of megabytes of tables that nobody
needs again, and each page of code that runs brings its fifteen neighbours along. Nothing of this
was ever written, so that letting go of it loses nothing: what is used again is mapped again out of
the system's file cache, for about a microsecond each sixteen pages.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Mappings smaller than this are left alone.
_LARGE = 8 << 20
_MADV_DONTNEED = 4  # <asm-generic/mman-common.h>
_SMAPS = Path("/proc/self/smaps")
# A mapping's first line, see proc_pid_smaps(5): addresses, rights, offset, device, inode, path.
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) *(.*)")
#: What is not the file's own: written pages, and those of them that are swapped out.
_OWN = ("Anonymous:", "Swap:")


@dataclass(slots=True)
class Mapping:
    """A piece of a file in the address space."""

    start: int
    end: int
    rights: str
    path: str
    resident: int = 0  # bytes
    own: int = 0  # bytes that are not the file's any more

    @property
    def can_go(self) -> bool:
        """Large, of a library, and never written: a page of it is the file's page."""
        library = ".so" in self.path.rpartition("/")[2]
        untouched = "w" not in self.rights and self.rights.endswith("p") and not self.own
        return library and untouched and self.end - self.start >= _LARGE


def mappings(smaps: str) -> Iterator[Mapping]:
    """The mappings of files that ``/proc/PID/smaps`` lists."""
    found: Mapping | None = None
    for line in smaps.splitlines():
        if match := _MAPPING.fullmatch(line):
            if found:
                yield found
            start, end, rights, inode, path = match.groups()
            of_file = int(inode) != 0
            found = Mapping(int(start, 16), int(end, 16), rights, path) if of_file else None
        elif found:
            name, _, rest = line.partition(" ")
            if name == "Rss:":
                found.resident = _bytes(rest)
            elif name in _OWN:
                found.own += _bytes(rest)
    if found:
        yield found


def let_go(least: int = 0) -> int:
    """Take large libraries' unwritten pages out of the resident set; how many bytes these were.

    Nothing happens where they are less than ``least`` bytes: what is in use comes back at once.
    Nor on systems without ``/proc/self/smaps``.
    """
    with suppress(OSError, AttributeError):
        madvise = ctypes.CDLL(None, use_errno=True).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        found = [one for one in mappings(_SMAPS.read_text("utf-8", "replace")) if one.can_go]
        if sum(one.resident for one in found) >= least:
            return sum(
                one.resident
                for one in found
                if madvise(one.start, one.end - one.start, _MADV_DONTNEED) == 0
            )
    return 0


def _bytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) * 1024  # "123 kB"
