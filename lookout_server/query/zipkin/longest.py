"""The SQL of a search by duration: the longest spans first, some at a time.

How many spans each step of durations has comes from the narrow table. It says from which duration
on there are about as many as are wanted; only those are looked at, with their exact durations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...spans.tables import BUCKET_US, duration_steps
from .candidates import Driver, Reading, range_parameters
from .request import QueryRequest

_LONG_MAX = 2**63 - 1
_STEPS = 256
_BUCKET_SECONDS = BUCKET_US // 1_000_000
#: Up to so many spans are found one by one; for more the durations of the whole range are read.
_POINTS_MOST = 200_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One query for candidates: durations in microseconds, both ends in it."""

    least: int
    most: int


class LongestFirst:
    """The SQL of one search. Times in microseconds."""

    def __init__(
        self,
        tenant: str,
        request: QueryRequest,
        others: Sequence[Driver],
        slack_us: int,
        until: int,
    ) -> None:
        """``until`` is the last time that is looked at."""
        self._others = others
        self._of_service = "service = {service:String}" if request.service else ""
        since = max(request.begin_us - slack_us, 0)
        self._parameters: dict[str, Any] = {
            "tenant": tenant,
            "service": request.service,
            **range_parameters("at", since, until),
            **range_parameters("near", max(since - slack_us, 0), until),
        }
        for driver in others:
            self._parameters |= driver.parameters

    def histogram(self, most: int) -> Reading:
        """SQL for the number of spans by step of duration, up to the step of ``most``."""
        rows = self._narrow("duration_step AS step, count() AS spans", "step <= {step1:UInt8}")
        sql = f"{rows} GROUP BY step ORDER BY step DESC"
        return Reading((sql,), self._parameters | {"step1": _step_of(most)})

    def candidates(self, asked: Asked, spans: int, limit: int) -> Reading:
        """SQL for traces whose longest span is in the durations asked for, longest first.

        Columns ``fold`` and ``last``, the duration. ``spans`` says how many have that duration or
        a longer one, by the histogram.
        """
        at = Driver("spans", (self._of_service,) if self._of_service else ())
        further = ["duration >= {least:Int64}"]
        if spans <= _POINTS_MOST:
            narrow = self._narrow(
                f"intDiv(second, {_BUCKET_SECONDS}), fold", "duration_step >= {step0:UInt8}"
            )
            further.append(f"(bucket, fold) GLOBAL IN ({narrow})")
        else:
            further += self._narrowed()
        rows = at.select("fold, max(duration) AS last", "at", *further)
        sql = f"{rows} GROUP BY fold HAVING last <= {{most:Int64}} ORDER BY last DESC LIMIT {limit}"
        durations = {
            "least": asked.least,
            "most": asked.most,
            "step0": _step_of(asked.least),
        }
        return Reading((sql,), self._parameters | durations)

    def _narrow(self, columns: str, condition: str) -> str:
        of_service = (self._of_service,) if self._of_service else ()
        table = Driver("span_search", (*of_service, condition))
        return table.select(columns, "at", *self._narrowed())

    def _narrowed(self) -> list[str]:
        return [f"fold GLOBAL IN ({other.select('fold', 'near')})" for other in self._others]


class Histogram:
    """Spans by step of duration."""

    def __init__(self, steps: Sequence[int], spans: Sequence[int]) -> None:
        counts = np.zeros(_STEPS, np.int64)
        counts[list(steps)] = spans
        self._reaching = np.cumsum(counts[::-1])[::-1]

    def least(self, wanted: int) -> tuple[int, int]:
        """A duration that at least so many spans reach, the longest there is, and how many do.

        The duration is the shortest of its step; 0 where there are not so many.
        """
        enough = np.flatnonzero(self._reaching >= wanted)
        step = int(enough[-1]) if len(enough) else 0
        return _shortest_of_step(step), int(self._reaching[step])


def _step_of(duration: int) -> int:
    return int(duration_steps(np.array([min(duration, _LONG_MAX)], np.int64))[0])


def _shortest_of_step(step: int) -> int:
    """The shortest duration that falls into a step."""
    guess = max(int(2 ** (step / 8)) - 2, 0)
    while _step_of(guess) < step:
        guess += 1
    while guess > 0 and _step_of(guess - 1) >= step:
        guess -= 1
    return guess
