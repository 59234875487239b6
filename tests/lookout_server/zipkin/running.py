"""A real ``lookout serve`` for a test, on a free port and a directory of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(
    data_dir: Path, *, env: Mapping[str, str] | None = None, multitenancy: bool = True
) -> Iterator[str]:
    """The base URL of a collector that keeps everything and tells tenants apart."""
    command = [sys.executable, "-m", "lookout_server", "serve"]
    command += ["--multitenancy"] if multitenancy else []
    command += ["--retention", "0", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        command, env=os.environ | dict(env or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield _ready(process)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _ready(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line.decode())
        if match := re.search(r"ready on (http://\S+)", said[-1]):
            return match[1]
    raise AssertionError("lookout serve ended: " + "".join(said))
