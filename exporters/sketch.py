"""Quantiles of durations in bounded memory.

A DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019): counts in buckets whose bounds grow by a constant factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_log = math.log  # one look-up less for each span


class Sketch:
    """Counts values and answers quantiles within ``accuracy`` of the true value.

    The number of buckets is bounded by the range of the values: from a microsecond to a day, in
    nanoseconds, there are 1,260 at one percent.
    """

    __slots__ = ("_buckets", "_per_log", "count", "maximum", "total")

    def __init__(self, accuracy: float = 0.01) -> None:
        self._per_log = 1.0 / math.log((1 + accuracy) / (1 - accuracy))
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.maximum = 0

    def add(self, value: int) -> None:
        """Count one value; what is below 1 counts as 1 in the quantiles."""
        bucket = 1 + int(_log(value) * self._per_log) if value > 1 else 0
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += value
        if value > self.maximum:  # noqa: PLR1730 -- max() costs a call per span
            self.maximum = value

    def quantile(self, fraction: float) -> float:
        """The value below which ``fraction`` of all values lie; 0 without values."""
        rank = fraction * (self.count - 1)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                # The middle of the bucket, in the sense that halves the largest relative error.
                middle = 2.0 * math.exp(bucket / self._per_log) / (1 + math.exp(1 / self._per_log))
                return min(middle, float(self.maximum))
        return 0.0

    @property
    def buckets(self) -> Mapping[int, int]:
        """The counts by bucket number."""
        return self._buckets
