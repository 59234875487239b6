"""What must be made anew in a forked child: locks that another thread may have held, random state.

The hook does nothing but call ``renew`` of what is registered: no I/O, no joins, no logging.
"""

from __future__ import annotations

import weakref
from typing import Protocol

from exporters._process import always_after_fork_in_child


class Renewable(Protocol):
    """Something that a forked child cannot use as it was."""

    def renew(self) -> None: ...


_registered: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(item: Renewable) -> None:
    """Call ``item.renew()`` in every forked child, for as long as the item lives."""
    _registered.add(item)


def _renew_all() -> None:
    for item in list(_registered):
        item.renew()


always_after_fork_in_child(_renew_all)
