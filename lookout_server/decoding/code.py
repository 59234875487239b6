"""Which code a process runs. Rows go between two processes as they lie in memory, so both are to
run the same; the second one finds another where Lookout was upgraded beneath a running collector.
"""

from __future__ import annotations

import hashlib
import os
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_SUFFIXES: Final = (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)


def digest(package: Path) -> str:
    """Of all its modules, as they are on disk. Nothing is told apart that decides the form of rows:
    frames, columns, codes, what is pickled and its classes are all over the package.
    """
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(package.rglob("*")):
        if path.name.endswith(_SUFFIXES):
            code = path.read_bytes()
            found.update(f"{path.relative_to(package)} {len(code)}\n".encode())
            found.update(code)
    return found.hexdigest()


def _version() -> str:
    try:
        return version("lookout-telemetry")
    except PackageNotFoundError:  # it runs from its sources
        return "without a version"


_PACKAGE: Final = Path(os.path.realpath(__file__)).parents[1]
#: Where ``lookout_server`` was imported from.
HOME: Final = os.path.realpath(Path(__file__).parents[2])
#: Asked for at once: what is installed may be another version by the time a process starts.
CODE: Final = f"{_version()}, digest {digest(_PACKAGE)}, of {HOME}"
