"""Hooks for what happens to a process: it forks, it exits."""

from __future__ import annotations

import atexit
import os
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
    return lambda: atexit.unregister(hook)
