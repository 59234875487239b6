"""How many spans the buckets of five minutes have: what their links are true for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from ...spans.tables import BUCKET_US
from .link_store import OF_HOUR

#: A trace is looked for this many buckets before and after its first (an hour).
REACH = 12
BUCKET_MS = BUCKET_US // 1000
#: Links of a bucket are stored once it is this old: by then its traces have mostly ended, and
#: spans of it that come later change its count, which has it linked again.
_SETTLED_MS = 600_000
#: While a bucket is young only its own spans and its neighbours' make its links untrue: others
#: of the hour come all the time. An hour later it is linked once more, for good.
_YOUNG_REACH = 1


@dataclass(frozen=True)
class SpanCounts:
    """Spans by bucket, in order, and a moment (Unix ms) before they were counted.

    All ages are of that moment. With a clock read again and again a bucket might be young when its
    links are read and final when they are summed into an hour.
    """

    at_ms: int
    spans: Mapping[int, int]

    def without(self, spans: Mapping[int, int]) -> SpanCounts:
        """The same with so many spans less."""
        if not spans:
            return self
        left = {bucket: count - spans.get(bucket, 0) for bucket, count in self.spans.items()}
        return SpanCounts(
            self.at_ms, {bucket: count for bucket, count in left.items() if count > 0}
        )

    def around(self, bucket: int, reach: int) -> int:
        """Spans of a bucket and of those around it, which may have spans of the same traces."""
        return self.between(bucket - reach, bucket + reach)

    def between(self, first: int, last: int) -> int:
        """Spans of all buckets from the first to the last."""
        buckets, before = self._sums
        return before[bisect_right(buckets, last)] - before[bisect_left(buckets, first)]

    @cached_property
    def _sums(self) -> tuple[list[int], list[int]]:
        """The buckets that have spans, and how many are before each and after the last."""
        return list(self.spans), [0, *accumulate(self.spans.values())]

    def mark(self, bucket: int) -> tuple[int, int]:
        """What a bucket's links are true for: how far was looked, and how many spans were there."""
        reach = self.reach(bucket)
        return reach, self.around(bucket, reach)

    def mark_of_hour(self, hour: int) -> int:
        """What an hour's links are true for: its spans and those of the hours beside it."""
        first = hour * OF_HOUR
        return self.between(first - REACH, first + OF_HOUR - 1 + REACH)

    def reach(self, bucket: int) -> int:
        """How far the spans reach that make a bucket's links true, by its age."""
        return REACH if self._old(bucket + REACH) else _YOUNG_REACH

    def settled(self, bucket: int) -> bool:
        """Whether a bucket is of an age to have its links stored."""
        return self._old(bucket)

    def final_hours(self, hours: range) -> list[int]:
        """Those of the hours that have spans and whose buckets all are linked for good by age.

        However long the range is, only what has spans is looked at.
        """
        found = dict.fromkeys(bucket // OF_HOUR for bucket in self.spans)
        return [hour for hour in found if hour in hours and self._final(hour)]

    def _final(self, hour: int) -> bool:
        return self.reach((hour + 1) * OF_HOUR - 1) == REACH

    def _old(self, bucket: int) -> bool:
        return (bucket + 1) * BUCKET_MS + _SETTLED_MS <= self.at_ms
