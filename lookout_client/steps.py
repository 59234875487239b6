"""Steps: the intervals SOFALookout reports in, and the values of each completed one.

Meters only ever accumulate. A step's value is the difference between two readings at its edges,
so steps cost a recording nothing, every priority reads its own metrics, and mixins, buckets and
timers all see the same window (SOFALookout rolls each cell by itself when it is next written).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from .errors import MeterError


class Priority(enum.Enum):
    """How often a metric is reported; the value is the default interval in milliseconds."""

    HIGH = 2_000
    NORMAL = 30_000
    LOW = 60_000

    @classmethod
    def of(cls, word: object) -> Priority:
        """The priority of that name in any case; NORMAL for anything else.

        >>> Priority.of("high"), Priority.of("xX")
        (<Priority.HIGH: 2000>, <Priority.NORMAL: 30000>)
        """
        if isinstance(word, Priority):
            return word
        return cls.__members__.get(str(word).upper(), cls.NORMAL)


#: Shortest interval, as in SOFALookout.
MIN_INTERVAL_MS = 1_000


class Intervals:
    """The interval of each priority, in milliseconds: HIGH <= NORMAL <= LOW, each >= 1000."""

    def __init__(self) -> None:
        self._ms = {priority: priority.value for priority in Priority}

    def __getitem__(self, priority: Priority) -> int:
        return self._ms[priority]

    def set(self, priority: Priority, interval_ms: int) -> None:
        """Change one interval. Raises :class:`MeterError` saying which order it would break."""
        if interval_ms < MIN_INTERVAL_MS:
            raise MeterError(
                f"step interval is illegal! {interval_ms} ms is less than {MIN_INTERVAL_MS} ms"
            )
        ranks = list(Priority)
        for other in Priority:
            later = ranks.index(other) - ranks.index(priority)
            if later > 0 and interval_ms > self._ms[other]:
                raise MeterError(f"{priority.name} interval should be shorter than {other.name}!")
            if later < 0 and interval_ms < self._ms[other]:
                raise MeterError(f"{priority.name} interval should be longer than {other.name}!")
        self._ms[priority] = interval_ms


def initial_delay_ms(now_ms: int, step_ms: int) -> int:
    """How long to wait before the first of a series of polls, one per step.

    The phase within the step that the process happens to start in, kept a tenth of a step away
    from both edges, so that no poll falls on an edge and a fleet does not report all at once.
    """
    phase = now_ms % step_ms
    margin = step_ms // 10
    if phase < margin:
        return phase + margin
    return phase - margin if phase > step_ms - margin else phase


@dataclass(frozen=True, slots=True)
class Window:
    """A completed step: from ``end_ms - step_ms`` up to ``end_ms``, Unix epoch."""

    end_ms: int
    step_ms: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.step_ms / 1000.0


class StepClock:
    """Tells which steps were completed since it was last asked.

    What was recorded since the last look belongs to the step that was current then; steps that
    passed entirely unseen are empty. Nothing is lost when a look comes late.
    """

    def __init__(self, now_ms: int, step_ms: int) -> None:
        self.set_step(now_ms, step_ms)

    def set_step(self, now_ms: int, step_ms: int) -> None:
        """Go on in steps of ``step_ms``. Raises :class:`MeterError` if it is not positive."""
        if step_ms <= 0:
            raise MeterError(f"step must be greater than 0, got {step_ms}")
        self.step_ms = step_ms
        self._current = math.floor(now_ms / step_ms)

    def completed(self, now_ms: int) -> Window | None:
        """The step that was current at the last look, if ``now_ms`` lies beyond its end."""
        # No call between the reading and the writing: of two threads one completes the step.
        current, before = now_ms // self.step_ms, self._current
        if current <= before:
            return None
        self._current = current
        return Window((before + 1) * self.step_ms, self.step_ms)

    def latest_end_ms(self) -> int:
        """The end of the last completed step."""
        return self._current * self.step_ms

    def until_edge_ms(self, now_ms: int) -> int:
        """Milliseconds from ``now_ms`` to the next edge."""
        return self.step_ms - now_ms % self.step_ms
