"""Info: facts that are texts, such as a version, shown as the labels of a metric of value 1."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

from .bound import Meter
from .metric import Kind, Tags, tag_set
from .snapshot import NumberPoint

if TYPE_CHECKING:
    from .family import Family

Facts = Mapping[str, object]


class Poll:
    """When a step report includes an info. Scrapes and pushes always do.

    ``Poll()`` always, ``Poll.NEVER`` never, ``Poll.WHEN_UPDATED`` after each change,
    ``Poll(interval_ms)`` at most that often.
    """

    NEVER: Poll
    WHEN_UPDATED: Poll

    def __init__(self, interval_ms: int = 0) -> None:
        self.interval_ms = interval_ms


Poll.NEVER = Poll(-1)
Poll.WHEN_UPDATED = Poll(-3)


class BoundInfo(Meter["BoundInfo"]):
    """One series of an info. ``set`` replaces the facts; a callable is asked each time."""

    __slots__ = ("_facts", "_modified_ms", "_polled_ms", "poll")
    kind = Kind.INFO

    def __init__(self, family: Family, tags: Tags, created_ns: int) -> None:
        super().__init__(family, tags, created_ns)
        self._facts: Facts | Callable[[], Facts] | None = None
        self._modified_ms = -1
        self._polled_ms = -1
        self.poll = Poll()

    def set(self, facts: Facts | Callable[[], Facts], modified_ms: int | None = None) -> None:
        """Make ``facts`` the current ones."""
        self._facts = facts
        self._modified_ms = time.time_ns() // 1_000_000 if modified_ms is None else modified_ms

    @property
    def facts(self) -> Tags | None:
        """The current facts as texts; None where there are none or asking for them failed."""
        try:
            facts = self._facts() if callable(self._facts) else self._facts
            return None if facts is None else tag_set(facts)
        except Exception:
            self.family.refuse("callback")
            return None

    def is_due(self, step_ms: int, now_ms: int) -> bool:
        """Whether a report at ``now_ms`` includes it; a report that does is remembered."""
        if self.poll is Poll.NEVER:
            return False
        if self.poll is Poll.WHEN_UPDATED:
            due = self._polled_ms <= self._modified_ms
        else:
            interval = self.poll.interval_ms
            due = interval < step_ms or self._polled_ms < 0 or now_ms - self._polled_ms >= interval
        if due:
            self._polled_ms = now_ms
        return due

    @property
    def touched(self) -> bool:
        return self._facts is not None

    @property
    def mark(self) -> object:
        return object()  # facts do not age

    def take(self, other: Self) -> None:
        if other._facts is not None:
            self._facts, self._modified_ms = other._facts, other._modified_ms

    def point(self) -> NumberPoint | None:
        facts = self.facts
        if facts is None:
            return None
        tags = tuple(sorted({**dict(facts), **dict(self.tags)}.items()))
        return NumberPoint(tags, 1, self.created_ns)


class Info(BoundInfo):
    """Facts about the process or a part of it: ``info("build").set({"version": "1.2"})``."""

    __slots__ = ()
