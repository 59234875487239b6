"""Quantiles of durations in bounded memory.

A DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019): counts in buckets whose bounds grow by a constant factor.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence


class Sketch:
    """Counts values and answers quantiles within ``accuracy`` of the true value.

    The number of buckets is bounded by the range of the values: from a microsecond to a day, in
    nanoseconds, there are 1,260 at one percent.
    """

    __slots__ = ("_buckets", "_per_log", "count", "maximum", "total")

    def __init__(self, accuracy: float = 0.01) -> None:
        self._per_log = 1.0 / math.log((1 + accuracy) / (1 - accuracy))
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.total = 0
        self.maximum = 0

    def add(self, value: int) -> None:
        """Count one value; what is below 1 counts as 1 in the quantiles."""
        self.add_all((value,))

    def add_all(self, values: Sequence[int]) -> None:
        """Count many values, at least one: the same as adding each, in a third of the time."""
        per_log, log = self._per_log, math.log
        if min(values) > 1:
            self._buckets.update([1 + int(log(value) * per_log) for value in values])
        else:
            self._buckets.update(
                [1 + int(log(value) * per_log) if value > 1 else 0 for value in values]
            )
        self.count += len(values)
        self.total += sum(values)
        self.maximum = max(self.maximum, *values)

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
