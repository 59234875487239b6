"""Histograms as text and as JSON."""

from __future__ import annotations

from ..numbers import format_go
from .model import Bucket, Histogram

#: The HTTP API's code for which bounds a bucket includes: (lower, upper).
_RULES = {(False, True): 0, (True, False): 1, (False, False): 2, (True, True): 3}


def describe(histogram: Histogram) -> str:
    """One line with all populated buckets, e.g. ``{count:2, sum:3, (1,2]:2}``."""
    head = f"count:{format_go(histogram.count)}, sum:{format_go(histogram.sum)}"
    return "{" + ", ".join([head, *map(_describe, histogram.buckets())]) + "}"


def _describe(bucket: Bucket) -> str:
    opening = "[" if bucket.lower_inclusive else "("
    closing = "]" if bucket.upper_inclusive else ")"
    bounds = f"{format_go(bucket.lower)},{format_go(bucket.upper)}"
    return f"{opening}{bounds}{closing}:{format_go(bucket.count)}"


def json_buckets(histogram: Histogram) -> list[tuple[int, float, float, float]]:
    """The populated buckets as the HTTP API lists them: (rule, lower, upper, count).

    The rule says which bounds belong to the bucket: 0 the upper, 1 the lower, 2 none, 3 both.
    """
    return [
        (
            _RULES[bucket.lower_inclusive, bucket.upper_inclusive],
            bucket.lower,
            bucket.upper,
            bucket.count,
        )
        for bucket in histogram.buckets()
    ]
