"""A collector as a process of its own, for tests that need a real one."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Serving:
    """A ``lookout serve`` process."""

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)

    def await_ready(self, timeout: float = 30.0) -> None:
        """Wait for the line that names the address."""
        deadline = time.monotonic() + timeout
        assert self.process.stdout is not None
        # Past the stream's own buffer, of whose lines select knows nothing.
        output = self.process.stdout.fileno()
        said = ""
        while time.monotonic() < deadline:
            if select.select([output], [], [], 0.1)[0]:
                piece = os.read(output, 65_536).decode()
                said += piece
                if match := re.search(r"ready on (\S+)\n", said):
                    self.url = match[1]
                    break
                assert piece or self.process.poll() is None, said
        self.lines += said.splitlines(keepends=True)
        assert self.url, "the collector was not ready in time: " + said

    def request(
        self,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers (lower-case names) and text of the answer."""
        asked = urllib.request.Request(self.url + path, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, _lower(answer.headers), answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), error.read().decode(errors="replace")

    def metric(self, name: str) -> float:
        """A value of ``/metrics`` by its full name with labels; 0 where there is none."""
        for line in self.request("/metrics")[2].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    def eventually(self, check: Callable[[], bool], timeout: float = 20.0) -> None:
        """Wait until ``check`` holds."""
        deadline = time.monotonic() + timeout
        while not check():
            assert time.monotonic() < deadline, "did not become true in time"
            time.sleep(0.02)

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self._reap()

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        status = self.process.wait(60)
        if self.process.stdout:
            self.lines += self.process.stdout.readlines()
            self.process.stdout.close()
        return status


def _lower(headers: object) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}  # type: ignore[attr-defined]


Serve = Callable[..., Serving]


def started(data_dir: Path, *flags: str, env: Mapping[str, str] | None = None) -> Serving:
    """A ``lookout serve`` on a free port, which may not be ready yet."""
    command = [sys.executable, "-m", "lookout_server", "serve", "--listen", "127.0.0.1:0"]
    return Serving(
        subprocess.Popen(
            [*command, "--data-dir", str(data_dir), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
        )
    )


@contextmanager
def serving(data_dir: Path, *flags: str, env: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """One that is ready, and is stopped at the end."""
    running = started(data_dir, *flags, env=env)
    try:
        running.await_ready()
        yield running
    finally:
        running.terminate()


_ASK = """
import json, sys
from pathlib import Path
from lookout_server.store.embedded import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
print(json.dumps(store.fetch(sys.argv[2]).to_pylist()))
store.close()
"""


def rows(data_dir: Path, sql: str) -> list[dict[str, Any]]:
    """Ask the database of a collector that is not running, past every merge and read path."""
    command = [sys.executable, "-c", _ASK, str(data_dir / "clickhouse"), sql]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer
