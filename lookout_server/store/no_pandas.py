"""Keeps pyarrow from importing pandas.

pyarrow looks for pandas whenever it converts NumPy arrays, to recognise pandas objects. We have
none, but where pandas is installed (chDB asks for it) the look costs half a second at the first
batch and 50 MB for as long as the process lives.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Without(MetaPathFinder):
    """Says that there is no pandas."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not for this process", name=fullname)
        return None


def hide_pandas() -> None:
    """Make ``import pandas`` fail in this process, as if it were not installed."""
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _Without())
