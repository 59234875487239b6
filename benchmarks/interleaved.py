"""Measuring ratios: all candidates in the same run, one after the other, round after round.

A shared machine changes its speed from second to second; the ratio of two candidates measured
within the same few milliseconds does not. Figures are CPU time of the whole process, its
background threads included, per operation; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping


class Figures:
    """Seconds per operation, by candidate, one entry a round."""

    def __init__(self, seconds: Mapping[str, list[float]], peer: str) -> None:
        self.seconds = seconds
        self.peer = peer

    def ratio(self, name: str, peer: str | None = None) -> float:
        """Median over the rounds of ``name``'s time to the peer's."""
        return statistics.median(self._ratios(name, peer or self.peer))

    def spread(self, name: str, peer: str | None = None) -> tuple[float, float]:
        """Smallest and largest of the rounds' ratios."""
        ratios = self._ratios(name, peer or self.peer)
        return min(ratios), max(ratios)

    def median_ns(self, name: str) -> float:
        return statistics.median(self.seconds[name]) * 1e9

    def _ratios(self, name: str, peer: str) -> list[float]:
        pairs = zip(self.seconds[name], self.seconds[peer], strict=True)
        return [one / other for one, other in pairs]

    def table(self) -> str:
        """One line per candidate: nanoseconds, ratio to the peer, range of the ratio."""
        lines = []
        for name in self.seconds:
            low, high = self.spread(name)
            lines.append(
                f"{name:44} {self.median_ns(name):10.0f} ns  {self.ratio(name):7.4f}"
                f"  [{low:.4f} .. {high:.4f}]"
            )
        return "\n".join(lines)


def compare(
    candidates: Mapping[str, tuple[Callable[[int], None], int]],
    *,
    peer: str,
    rounds: int = 9,
    after: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.process_time,
) -> Figures:
    """Time each candidate, a function of a count and how often to do it, ``rounds`` times.

    ``after`` is called, untimed, with a candidate's name when it has run.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for name, (run, count) in candidates.items():  # warm up: caches, lazy threads
        run(max(count // 10, 1))
        if after:
            after(name)
    for _ in range(rounds):
        for name, (run, count) in candidates.items():
            gc.collect()
            began = clock()
            run(count)
            seconds[name].append((clock() - began) / count)
            if after:
                after(name)
    return Figures(seconds, peer)
