"""The second process as the collector holds it: its socket, its number, its end."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import msgspec

from .code import HOME
from .frames import Settings

_BUFFER_BYTES: Final = 4 * 2**20
_MAIN: Final = Path(__file__).with_name("__main__.py")
#: It has one thread that computes; NumPy's library would make more, with memory for each.
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
#: What is kept of its last words.
_LAST_BYTES: Final = 1024
_LAST_SECONDS: Final = 0.5


def missing() -> str | None:
    """What this system lacks for a second process; None where it has all that it takes.

    On Windows a socket is no file, so none can be the standard input of a program, and no event
    loop reads a pipe of Popen's. A program that Python is built into would start itself again.
    """
    if os.name != "posix" or not hasattr(socket, "AF_UNIX"):
        return f"sockets of {sys.platform} cannot be handed to another process"
    if not sys.executable or getattr(sys, "frozen", False):
        return "there is no interpreter beside this program"
    return None


class Process:
    """A fresh interpreter, not a fork: the embedded database does not survive one.

    It ends when the socket is closed, also when the collector was killed.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises OSError where it cannot be started."""
        self.socket, theirs = socket.socketpair()
        for end in (self.socket, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                with suppress(OSError):  # Linux gives what is allowed, others refuse
                    end.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        with theirs:
            try:
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [sys.executable, "-P", str(_MAIN), msgspec.json.encode(settings).decode()],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": _path()},
                )
            except BaseException:
                self.socket.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def errors(self) -> IO[bytes]:
        """Its standard error, to be read as long as it runs."""
        assert self._process.stderr is not None
        return self._process.stderr

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


class LastWords(asyncio.Protocol):
    """The end of what comes through a pipe. For ``loop.connect_read_pipe``."""

    def __init__(self) -> None:
        self._last = b""
        self._transport: asyncio.BaseTransport | None = None
        self._ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._last = (self._last + data)[-_LAST_BYTES:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set_result(None)

    async def take(self) -> str:
        """All of it in one line, when who spoke has ended."""
        if self._transport is not None:
            await asyncio.wait([self._ended], timeout=_LAST_SECONDS)
            self._transport.close()
        lines = self._last.decode(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines if line.strip())


def _path() -> str:
    """Where this process finds modules: the other one is to find the same ones."""
    places = [os.path.realpath(place) for place in sys.path]
    return os.pathsep.join(places if HOME in places else [HOME, *places])
