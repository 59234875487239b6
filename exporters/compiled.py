"""The compiled parts of the library, which do what Python code beside them does, in less time.

They are optional. A wheel built where no C compiler was has none, and none is used on PyPy, on
builds without the interpreter lock (loading one would bring the lock back), or where
``LOOKOUT_PURE_PYTHON`` is set.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import platform
from pathlib import Path
from types import ModuleType

from .interpreter import has_gil

#: The compiled modules there may be, and what each of them makes faster.
MODULES = {
    "tracer._core": "spans",
    "lookout_server.ingest._zipkin_scan": "the passes over Zipkin's JSON",
    "lookout_server.spans._primitives": "the loops of decoding",
}

#: The variable that leaves all of them out, whatever it is set to but "", "0", "false" and "no".
SWITCH = "LOOKOUT_PURE_PYTHON"

_HOME = Path(__file__).resolve().parent.parent


def load(name: str) -> ModuleType | None:
    """The compiled module ``name``; None where Python has to do without. Never raises."""
    if ruled_out():
        return None
    try:
        return importlib.import_module(name)
    except Exception:  # not built, or for another interpreter
        return None


def ruled_out() -> str | None:
    """Why this process uses no compiled module, whether there are some or not."""
    if os.environ.get(SWITCH, "").strip().lower() not in ("", "0", "false", "no"):
        return f"{SWITCH} is set"
    if platform.python_implementation() != "CPython":
        return f"{platform.python_implementation()} has its own compiler"
    if not has_gil():
        return "this interpreter runs without its lock"
    return None


def missing(name: str) -> str | None:
    """Why the compiled module ``name`` is not used here; None where it is. Imports nothing."""
    package, _, module = name.rpartition(".")
    if reason := ruled_out():
        return reason
    place = _HOME.joinpath(*package.split("."))
    if importlib.machinery.PathFinder.find_spec(module, [str(place)]) is None:
        return "it was not built: there was no C compiler where the library was installed"
    return None
