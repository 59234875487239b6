"""The second process as the collector holds it: its socket, its number, its end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from .frames import Settings

_BUFFER_BYTES: Final = 4 * 2**20
_MAIN: Final = Path(__file__).with_name("__main__.py")
#: It has one thread that computes; NumPy's library would make more, with memory for each.
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class Process:
    """A fresh interpreter, not a fork: the embedded database does not survive one.

    It ends when the socket is closed, also when the collector was killed.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises OSError where it cannot be started."""
        self.socket, theirs = socket.socketpair()
        for end in (self.socket, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)  # or what is allowed
        with theirs:
            try:
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [sys.executable, "-P", str(_MAIN), msgspec.json.encode(settings).decode()],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **_ENVIRONMENT},
                )
            except BaseException:
                self.socket.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self, patience: float) -> str:
        """Wait so many seconds for its end, then end it; how it ended."""
        self.socket.close()
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        return f"signal {-status}" if status < 0 else f"status {status}"
