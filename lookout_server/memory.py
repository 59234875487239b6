"""How memory goes back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: Parameters of ``mallopt``, see its manual page.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE, _SPARE = 4 << 20, 8 << 20


def return_large_blocks() -> None:
    """Give every block of 4 MiB or more back to the system as soon as it is free.

    Left to itself glibc raises that bound to the largest block freed (up to 32 MiB) and keeps
    what is free: after a few wide queries the process held 400 MB that nobody used. Where the C
    library is another one, nothing changes.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_TRIM_THRESHOLD, _SPARE)
