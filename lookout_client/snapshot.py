"""What a registry looks like at one moment: plain values that every encoder reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from .exemplars import Exemplar
from .metric import Tags

if TYPE_CHECKING:
    from .family import Definition


class NumberPoint(NamedTuple):
    """The value of a counter, gauge or info."""

    tags: Tags
    value: int | float
    created_ns: int  # Unix epoch
    exemplar: Exemplar | None = None


class BucketPoint(NamedTuple):
    """A distribution over fixed buckets; without bounds, its count and sum alone."""

    tags: Tags
    total: float
    counts: list[int]  # per bucket, not cumulative, the last one beyond every bound
    created_ns: int
    exemplars: Mapping[int, Exemplar] | None = None  # by bucket

    @property
    def recorded(self) -> int:
        """How many values were recorded."""
        return sum(self.counts)


class ExponentialPoint(NamedTuple):
    """A distribution over exponential buckets: bucket i holds (base^i, base^(i+1)].

    ``base`` is 2 to the power of 2 to the power of -``scale``; ``offset`` is the index of the
    first bucket in ``counts``. As in OTLP's ExponentialHistogramDataPoint; Prometheus' native
    histograms count the same buckets from 1 above.
    """

    tags: Tags
    total: float
    scale: int
    zero_count: int
    zero_threshold: float
    offset: int
    counts: list[int]
    negative_offset: int
    negative_counts: list[int]
    created_ns: int
    exemplars: tuple[Exemplar, ...] = ()

    @property
    def recorded(self) -> int:
        """How many values were recorded."""
        return self.zero_count + sum(self.counts) + sum(self.negative_counts)


Point = NumberPoint | BucketPoint | ExponentialPoint


class Snapshot(NamedTuple):
    """One metric with the points of all its series."""

    definition: Definition
    points: list[Point]
