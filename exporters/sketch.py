"""Quantiles of durations in bounded memory.

A DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019), with the mapping its authors call bitwise linearly
interpolated: a value's bucket is the exponent and the first bits of the mantissa of its double.
That takes no logarithm, half the time, and twice the buckets.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

#: Bits of the mantissa that are kept: 64 buckets for each power of two, whose middles are within
#: 0.78 percent of all their values.
_KEPT_BITS = 6
_SHIFT = 52 - _KEPT_BITS


class Sketch:
    """Counts values and answers quantiles within one percent of the true value.

    The number of buckets is bounded by the range of the values: from a microsecond to a day, in
    nanoseconds, there are 2,330.
    """

    __slots__ = ("_buckets", "count", "maximum", "total")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.total = 0
        self.maximum = 0

    def add(self, value: int) -> None:
        """Count one value; what is below 0 counts as 0 in the quantiles."""
        self.add_all((value,))

    def add_all(self, values: Sequence[int]) -> None:
        """Count many values, at least one: the same as adding each, in a fraction of the time."""
        if min(values) < 0:
            values = [max(value, 0) for value in values]
        bits = memoryview(array("d", values)).cast("B").cast("q")
        self._buckets.update([number >> _SHIFT for number in bits])
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
                return min(_middle(bucket), float(self.maximum))
        return 0.0

    @property
    def buckets(self) -> Mapping[int, int]:
        """The counts by bucket number."""
        return self._buckets


def _middle(bucket: int) -> float:
    """The value from which both bounds of a bucket are equally far, relative to each."""
    low, high = _double(bucket << _SHIFT), _double((bucket + 1) << _SHIFT)
    return 2 * low * high / (low + high)


def _double(bits: int) -> float:
    value: float = struct.unpack("d", struct.pack("q", bits))[0]
    return value
