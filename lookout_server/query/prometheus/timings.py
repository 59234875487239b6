"""Where the time of a query goes, as ``stats=all`` shows it."""

from __future__ import annotations

import time
from typing import Any

from .result import Result

_NAMES = (
    "evalTotalTime",
    "resultSortTime",
    "queryPreparationTime",
    "innerEvalTime",
    "execQueueTime",
    "execTotalTime",
)


class Timings:
    """Stop watches by the names of Prometheus' statistics."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._seconds = dict.fromkeys(_NAMES, 0.0)

    def begin(self, name: str) -> None:
        """Start a watch."""
        self._begun[name] = time.perf_counter()

    def end(self, name: str) -> None:
        """Stop it."""
        self._seconds[name] = time.perf_counter() - self._begun[name]

    def stats(self, answer: Result) -> dict[str, Any]:
        """The answer's ``stats`` object. The time in the queue ends where evaluation begins."""
        began = self._begun["evalTotalTime"]
        queued = began - self._begun.get("execQueueTime", began)
        seconds = self._seconds | {
            "execQueueTime": queued,
            "innerEvalTime": self._seconds["evalTotalTime"],
            "execTotalTime": queued + self._seconds["evalTotalTime"],
        }
        samples = {
            "totalQueryableSamples": answer.samples_total,
            "peakSamples": answer.samples_peak,
        }
        return {"timings": seconds, "samples": samples}
