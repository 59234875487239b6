"""Hooks for what happens to a process: it forks, it exits."""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

_log = logging.getLogger("lookout")

_Hook = Callable[[], Any]


class _Forks:
    """What to call in forked children: bound methods while their objects live, and functions.

    One hook is registered with Python, whose own are never given back, and one with uWSGI, which
    forks without Python's unless it is told to (``py-call-osafterfork``). Where the application
    takes uWSGI's away again, a child finds out by itself, see :func:`notice_fork`.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._begun = self._pid  # what is called for it runs, or has run
        self._lock = threading.RLock()
        self._hooks: list[Callable[[], _Hook | None]] = []
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self.forked)
        if (server := sys.modules.get("uwsgi")) is not None:
            _hook_into_uwsgi(server, self.forked)

    def add(self, hook: Callable[[], _Hook | None]) -> None:
        self.notice()  # what is made in a child has nothing to forget
        self._hooks.append(hook)

    def forked(self) -> None:
        """By who forks, in the child, where no other thread is yet."""
        self._lock = threading.RLock()  # a thread of the parent may have held it
        self.notice()

    def notice(self) -> None:
        """In the child, once, whoever calls; another thread that calls meanwhile waits for it."""
        pid = os.getpid()
        if pid == self._pid:
            return
        with self._lock:
            if pid == self._begun:
                return
            self._begun = pid
            self._call()
            self._pid = pid

    def _call(self) -> None:
        self._hooks = [hook for hook in self._hooks if hook() is not None]
        for hook in self._hooks:
            try:
                if (living := hook()) is not None:
                    living()
            except Exception:  # the others have their work too, and the application its output
                _log.debug("a hook for forked processes failed", exc_info=True)


def _hook_into_uwsgi(server: Any, forked: _Hook) -> None:
    """Have uWSGI call ``forked`` in its workers, besides what the application registers there.

    The chain of ``uwsgidecorators`` is used: imported later, it would replace another hook. When
    it is imported it replaces what the application has set itself, which is put back.
    """
    own = {name: vars(server)[name] for name in _UWSGI_HOOKS if name in vars(server)}
    try:
        decorators: Any = importlib.import_module("uwsgidecorators")
        chain, chained = decorators.postfork_chain, decorators.postfork_chain_hook
    except Exception:  # not installed, or no master process, which is what it needs
        chain = chained = None
    before = own.pop("post_fork_hook", None)
    vars(server).update(own)
    if chained is None or vars(server).get("post_fork_hook") is not chained:
        server.post_fork_hook = _both(forked, before)
        return
    chain.append(forked)
    if before not in (None, chained):
        chain.append(before)


#: What uWSGI calls, that ``uwsgidecorators`` sets when it is imported.
_UWSGI_HOOKS = ("post_fork_hook", "spooler", "mule_msg_hook")


def _both(forked: _Hook, before: _Hook | None) -> _Hook:
    def hook() -> None:
        try:
            forked()
        finally:
            if before is not None:
                before()

    return hook


_forks = _Forks()


def may_start_threads() -> bool:
    """False in uWSGI's master while it loads the application for its workers.

    It forks them whatever its threads do; a thread that has the interpreter lock then keeps it,
    in the child, for ever. Workers, mules and spoolers may start threads.
    """
    server: Any = sys.modules.get("uwsgi")
    if server is None:
        return True
    try:
        return bool(os.getpid() != server.masterpid())  # which is 0 without a master
    except Exception:  # not that uwsgi
        return True


def notice_fork() -> None:
    """Do in a child what forked children do, where nobody told it that it was forked."""
    _forks.notice()


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
