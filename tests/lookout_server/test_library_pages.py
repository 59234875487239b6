"""What a large library was only read for does not stay in memory, and nothing of it is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lookout_server.library_pages import Mapping, mappings

_LIBRARY = "/usr/lib/big.so"
_SMAPS = f"""\
7f0000000000-7f0001000000 r-xp 00001000 fe:00 77 {_LIBRARY}
Size:              16384 kB
Rss:                1024 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
7f0001000000-7f0002000000 r--p 01001000 fe:00 77 {_LIBRARY}
Rss:                 512 kB
Anonymous:            64 kB
Swap:                  4 kB
7f0003000000-7f0004000000 rw-p 00000000 00:00 0
Rss:                9999 kB
Anonymous:          9999 kB
"""

_SCRIPT = """
from chdb.state.sqlitelike import Connection
from lookout_server.library_pages import let_go

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

connection = Connection(":memory:")
asked = "SELECT sum(cityHash64(number)), toString(max(number)) FROM numbers(100000)"
before = str(connection.query(asked)), resident()
assert let_go(least=1 << 40) == 0
gone = let_go()
after = resident()
assert str(connection.query(asked)) == before[0]
print(gone, before[1] - after)
"""


def test_mappings_are_read_as_the_system_lists_them() -> None:
    """Each mapping of a file has its resident bytes and those that are not the file's own."""
    code, relocated = mappings(_SMAPS)
    assert code == Mapping(0x7F0000000000, 0x7F0001000000, "r-xp", _LIBRARY, 1 << 20, 0)
    assert relocated.own == 68 << 10


@pytest.mark.parametrize(
    ("rights", "path", "size", "own", "goes"),
    [
        ("r-xp", _LIBRARY, 16 << 20, 0, True),
        ("r--p", _LIBRARY, 16 << 20, 0, True),
        ("r--p", _LIBRARY, 16 << 20, 4096, False),  # relocated, or a breakpoint
        ("rw-p", _LIBRARY, 16 << 20, 0, False),
        ("r--s", _LIBRARY, 16 << 20, 0, False),
        ("r-xp", _LIBRARY, 1 << 20, 0, False),
        ("r-xp", "/data/table.bin", 16 << 20, 0, False),
        ("r-xp", "/usr/lib/big.so.2.1", 16 << 20, 0, True),
    ],
)
def test_only_unwritten_pages_of_large_libraries_go(
    rights: str, path: str, size: int, own: int, goes: bool
) -> None:
    """Nothing that was written, may be written or is no library is ever given up."""
    assert Mapping(0x1000, 0x1000 + size, rights, path, own=own).can_go is goes


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no /proc/self/smaps here")
def test_a_library_works_on_after_its_pages_went() -> None:
    """ClickHouse answers the same, and tens of megabytes go, unless that is too little."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    gone, less = map(int, done.stdout.split())
    assert gone > 50 << 20
    assert less > gone * 0.8
