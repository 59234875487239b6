"""What the interpreter promises to threads."""

from __future__ import annotations

import sys
from collections.abc import Callable


def has_gil() -> bool:
    """Whether threads of this interpreter take turns.

    :mod:`lookout_client.free_threading` asks the same by itself: it has to work where an
    application's own module hides this package.
    """
    asked: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)
    return True if asked is None else asked()
