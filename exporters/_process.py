"""Hooks for what happens to a process: it forks, it exits."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

_Hook = Callable[[], Any]


class _Forks:
    """What to call in forked children: bound methods while their objects live, and functions.

    One hook is registered with Python, whose own are never given back, and one with uWSGI, which
    forks without Python's unless it is told to (``py-call-osafterfork``).
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.is_child = False  # of the process that imported this
        self._hooks: list[Callable[[], _Hook | None]] = []
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self.forked)
        if (server := sys.modules.get("uwsgi")) is not None:
            _hook_into_uwsgi(server, self.forked)

    def add(self, hook: Callable[[], _Hook | None]) -> None:
        self._hooks.append(hook)

    def forked(self) -> None:
        """In the child, once, whoever calls."""
        pid = os.getpid()
        if pid == self._pid:
            return
        self._pid = pid
        self.is_child = True
        self._hooks = [hook for hook in self._hooks if hook() is not None]
        for hook in self._hooks:
            if (living := hook()) is not None:
                living()


def _hook_into_uwsgi(server: Any, forked: _Hook) -> None:
    """Have uWSGI call ``forked`` in its workers, besides what the application registers there."""
    try:
        importlib.import_module("uwsgidecorators").postfork_chain.append(forked)
    except Exception:  # not installed, or no master process, which is what it needs
        before = getattr(server, "post_fork_hook", None)

        def hook() -> None:
            forked()
            if before is not None:
                before()

        server.post_fork_hook = hook


_forks = _Forks()


def may_start_threads() -> bool:
    """False in uWSGI's master while it loads the application for its workers.

    It forks them whatever its threads do; a thread that has the interpreter lock then keeps it,
    in the child, for ever.
    """
    server: Any = sys.modules.get("uwsgi")
    if server is None:
        return True
    try:
        return not server.masterpid() or server.worker_id() > 0 or _forks.is_child
    except Exception:  # not that uwsgi
        return True


def after_fork_in_child(method: _Hook) -> None:
    """Call a bound method in every forked child, for as long as its object lives."""
    _forks.add(weakref.WeakMethod(method))


def always_after_fork_in_child(function: _Hook) -> None:
    """Call a function in every forked child."""
    _forks.add(lambda: function)


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
