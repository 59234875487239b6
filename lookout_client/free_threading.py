"""Recording without the interpreter lock.

The meters rely on CPython handing the interpreter over only at calls (see
:mod:`lookout_client.bound`). A free-threaded interpreter does not hold that promise; there, and
only there, each recording takes a lock of its kind of meter.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any


def has_gil() -> bool:
    """Whether threads of this interpreter take turns."""
    asked: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)
    return True if asked is None else asked()


#: Of counters: whoever touches their sums, bound or open.
SUMS = threading.RLock()


def guard(cls: type[Any], methods: Iterable[str], lock: threading.RLock | None = None) -> None:
    """Have ``methods`` of ``cls`` run one at a time, re-entrantly, over all its instances.

    A ``lock`` is given where subclasses touch the same attributes.
    """
    lock = threading.RLock() if lock is None else lock
    for name in methods:
        setattr(cls, name, _guarded(lock, vars(cls)[name]))


def _guarded(lock: threading.RLock, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return method(*args, **kwargs)

    return locked
