"""The collector does not keep memory it no longer uses."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import numpy as np
from lookout_server.memory import return_large_blocks

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

return_large_blocks()
before, kept = resident(), []
for _ in range(4):
    large = [np.ones(1 << 20) for _ in range(8)]  # 8 MiB each
    kept.append([np.ones(100) for _ in range(1000)])  # behind them
    del large
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc is not the C library")
def test_large_blocks_are_given_back() -> None:
    """What large arrays took is the system's again, whatever small ones were made after them."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 32 << 20
