"""Hooks for what happens to a process: it forks, it exits."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any


def after_fork_in_child(method: Callable[[], Any]) -> None:
    """Call a bound method in every forked child, for as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def hook() -> None:
        living = reference()
        if living is not None:
            living()

    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=hook)


def at_exit(method: Callable[[], Any]) -> Callable[[], None]:
    """Call a bound method when the interpreter exits; the answer takes it back."""
    reference = weakref.WeakMethod(method)

    def hook() -> None:
        living = reference()
        if living is not None:
            living()

    atexit.register(hook)
    if _is_multiprocessing_child():
        _finalize(hook)
    return lambda: atexit.unregister(hook)


def at_exit_of_child(method: Callable[[], Any]) -> None:
    """In a child just forked: call a bound method when multiprocessing ends it.

    Its children end without atexit; it runs finalizers of its own, which it clears when a child
    begins and which can be made again by what it calls then.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(method.__self__, lambda owner: _finalize(method))  # type: ignore[attr-defined]


def _is_multiprocessing_child() -> bool:
    process: Any = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _finalize(hook: Callable[[], Any]) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, hook, exitpriority=0)
