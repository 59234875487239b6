"""What is called in forked children."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

HOOKS = """
import os, sys, threading, time
from exporters import _process
called = []
def fails():
    raise OSError("no")
_process.always_after_fork_in_child(fails)
_process.always_after_fork_in_child(lambda: called.append(os.getpid()))
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """``code`` after the hooks above, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", HOOKS + code],
        check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def test_a_hook_that_fails_keeps_no_other_from_its_work() -> None:
    """The later ones are called, once, and nothing is printed into the application's output."""
    done = run(
        """
child = os.fork()
if child == 0:
    _process.notice_fork()
    os._exit(called != [os.getpid()])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_added_in_a_child_has_nothing_to_forget() -> None:
    """A child that nobody told of its fork finds out before it has anything of its own."""
    done = run(
        """
_process._forks._pid = _process._forks._begun = os.getppid()  # as one that uWSGI forked
late = []
_process.always_after_fork_in_child(lambda: late.append(1))
_process.notice_fork()
sys.exit((called, late) != ([os.getpid()], []))
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_two_threads_that_notice_a_fork_both_wait_for_the_hooks() -> None:
    """Neither goes on, with ids of the parent for example, before all of them are called."""
    done = run(
        """
_process.always_after_fork_in_child(lambda: (begun.set(), go.wait(10), called.append("last")))
_process._forks._pid = _process._forks._begun = os.getppid()
begun, go, seen = threading.Event(), threading.Event(), []
first = threading.Thread(target=_process.notice_fork)
first.start()
begun.wait(10)
second = threading.Thread(target=lambda: (_process.notice_fork(), seen.extend(called)))
second.start()
second.join(0.2)
waits = second.is_alive()
go.set()
first.join(10), second.join(10)
sys.exit(not waits or seen != [os.getpid(), "last"])
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
