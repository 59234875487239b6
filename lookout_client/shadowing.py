"""An application's own ``tracer.py`` or ``exporters`` may hide our packages of these names.

Python looks beside the script first. Meters work all the same. What needs the hidden package fails
with an ImportError that names the file; entry points never fail: they give the application
something that does nothing, and name the file in one log line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def intruder(packages: Iterable[str] = ("tracer", "exporters")) -> str:
    """What hides one of our packages, and what to do about it; empty where nothing does.

    Looks without importing: that would run the application's module.
    """
    for name in packages:
        path = _path(name)
        if path and not os.path.abspath(path).startswith(_HOME + os.sep):
            return f"{path} hides Lookout's package {name}: rename it, or start Python with -P"
    return ""


def _path(name: str) -> str | None:
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None else None
