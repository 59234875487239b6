"""Child processes that say where they listen: started, waited for, stopped in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

#: A service says once, on a line of its own, where it listens.
ADDRESS = re.compile(r"https?://[\w.\-\[\]:]+:\d+")
#: On the same line: how its spans' ledger names it.
UID = re.compile(r" as process (\w+)")


class DidNotStart(Exception):
    """A child ended or stayed silent; the text holds what it last printed."""


class Child:
    """One process. Its output is read all the time, so that a full pipe never stops it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.url = ""
        self.uid = ""
        self.output: deque[str] = deque(maxlen=200)
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C in the terminal is for the parent alone: it stops its children in order.
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line.rstrip())
            found = ADDRESS.search(line)
            if found and not self.url:
                uid = UID.search(line)
                self.uid = uid[1] if uid else ""
                self.url = found.group()
                self._ready.set()
        self._ready.set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, seconds: float = 60.0) -> str:
        """The address it printed. Raises DidNotStart with its last words."""
        self._ready.wait(seconds)
        if not self.url:
            self.kill()
            raise DidNotStart(f"{self.name} did not start: " + "\n".join(self.output))
        return self.url

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM, then its exit status; killed when it takes longer than ``seconds``."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._close()
        return status

    def kill(self) -> None:
        """SIGKILL: what a power cut looks like to the process."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        """Read what is left of the output and let go of the pipe."""
        self._reader.join(5)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Poll ``condition()`` until it is true. Raises TimeoutError naming ``what``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
