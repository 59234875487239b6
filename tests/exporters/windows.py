"""Makes this Linux process as much like one on Windows as the library can notice.

Run first in a process of its own. Modules that only POSIX has cannot be imported any more,
functions that only POSIX has are gone, ``msvcrt`` locks bytes, and no file can be renamed or
deleted while anybody in this process has it open. What cannot be had here: the real system's
paths, sharing modes between processes and clock. Nothing of ours may be imported before.
"""

from __future__ import annotations

import asyncio  # noqa: F401 -- the standard library must see the real platform
import fcntl
import logging.handlers  # noqa: F401
import multiprocessing.util  # noqa: F401
import os
import socket  # noqa: F401
import subprocess  # noqa: F401
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cramjam  # noqa: F401
import msgspec  # noqa: F401
import opentelemetry.context  # noqa: F401
import orjson  # noqa: F401
import psutil  # noqa: F401
import urllib3  # noqa: F401

POSIX_MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "pty", "tty", "syslog")
POSIX_FUNCTIONS = ("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getgid", "chown",
                   "setsid", "getloadavg", "mkfifo", "uname", "sched_getaffinity")  # fmt: skip


def _locking(descriptor: int, mode: int, count: int) -> None:
    """As the C runtime's: EACCES where another holds the bytes."""
    kind = {0: fcntl.LOCK_UN, 1: fcntl.LOCK_EX, 2: fcntl.LOCK_EX | fcntl.LOCK_NB}[mode]
    fcntl.flock(descriptor, kind)


def _held_open(path: Path) -> bool:
    real = os.path.realpath(path)
    for link in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(link) == real:
                return True
        except OSError:
            continue
    return False


def _unless_open(function: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(path: Any, *rest: Any, **options: Any) -> Any:
        for name in (path, *rest[:1]):
            if isinstance(name, str | os.PathLike) and _held_open(Path(name)):
                raise PermissionError(13, "used by another process (as Windows says)", str(name))
        return function(path, *rest, **options)

    return guarded


def pretend() -> None:
    """From here on."""
    msvcrt: Any = types.ModuleType("msvcrt")
    msvcrt.locking, msvcrt.LK_UNLCK, msvcrt.LK_LOCK, msvcrt.LK_NBLCK = _locking, 0, 1, 2
    sys.modules["msvcrt"] = msvcrt
    for name in POSIX_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in POSIX_FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    for name in ("rename", "replace", "unlink", "remove"):
        setattr(os, name, _unless_open(getattr(os, name)))
    sys.platform = "win32"
