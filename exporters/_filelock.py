"""Advisory locks on open files: ``flock`` where there is one, byte ranges on Windows.

Both are given back by the kernel when the holder dies, whatever it dies of.
"""

from __future__ import annotations

import errno
import os
import sys
import time

#: How long a waiting locker sleeps between two tries. Holders write one batch: well under 1 ms.
_RETRY_S = 0.001

if sys.platform == "win32":
    import msvcrt

    # Behind most data, because Windows locks keep others from reading the range, and within 31
    # bits, because the C runtime asks for the place with a function of so many.
    _PLACE = 2**31 - 2

    def _try(descriptor: int) -> None:
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock now. False when another holds it.

    Raises OSError when the file system knows no locks.
    """
    try:
        _try(descriptor)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES, errno.EDEADLK}:
            return False
        raise
    return True


def lock(descriptor: int, timeout_s: float) -> bool:
    """Take the exclusive lock, waiting for it up to ``timeout_s`` seconds."""
    if try_lock(descriptor):
        return True
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        time.sleep(_RETRY_S)
        if try_lock(descriptor):
            return True
    return False
