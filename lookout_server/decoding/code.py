"""Which code a process runs. Rows go between two processes as they lie in memory, so both are to
run the same; the second one finds another where Lookout was upgraded beneath a running collector.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

#: To be raised when the frames, or the rows in them, get another form.
_LAYOUT: Final = 2


def _version() -> str:
    try:
        return version("lookout-telemetry")
    except PackageNotFoundError:  # it runs from its sources
        return "without a version"


#: Where ``lookout_server`` was imported from.
HOME: Final = os.path.realpath(Path(__file__).parents[2])
#: Asked for at once: what is installed may be another version by the time a process starts.
CODE: Final = f"{_version()}, layout {_LAYOUT}, of {HOME}"
