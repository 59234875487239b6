"""Where buckets begin and end.

A schema ``n`` from -4 to 8 divides each power of two into ``2**n`` buckets; the bucket with index
``i`` ends at ``2 ** (i * 2**-n)``. The schema -53 has its bounds listed in the histogram.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Counts = NDArray[np.float64]

CUSTOM_SCHEMA = -53
SMALLEST_SCHEMA = -4
LARGEST_SCHEMA = 8
#: Above this no exponential schema is defined; those above `LARGEST_SCHEMA` are reserved.
LARGEST_RESERVED_SCHEMA = 52

_LARGEST = np.finfo(np.float64).max
_OVERFLOW_EXPONENT = 1024


@lru_cache(maxsize=16)
def _fractions(schema: int) -> Counts:
    """The bounds within one power of two, from 0.5 on."""
    count = 1 << schema
    fractions = 0.5 * np.exp2(np.arange(count) / count)
    fractions.setflags(write=False)
    return fractions


def exponential_bounds(schema: int, indices: Indices) -> Counts:
    """The upper bounds of buckets of an exponential schema, as absolute values; not to be changed.

    The bound that would be 2**1024 is the largest finite number instead: the bucket behind it
    holds infinities.
    """
    return _remembered_bounds(schema, indices.tobytes())


# The histograms of a query share few layouts, and powers are dearer than a look-up.
@lru_cache(maxsize=2048)
def _remembered_bounds(schema: int, indices: bytes) -> Counts:
    bounds = _exponential_bounds(schema, np.frombuffer(indices, dtype=np.int64))
    bounds.setflags(write=False)
    return bounds


def _exponential_bounds(schema: int, indices: Indices) -> Counts:
    if schema < 0:
        exponents = indices << -schema
        bounds = _ldexp(np.ones(len(indices)), exponents)
        return np.where(exponents == _OVERFLOW_EXPONENT, _LARGEST, bounds)
    fractions = _fractions(schema)[indices & ((1 << schema) - 1)]
    exponents = (indices >> schema) + 1
    bounds = _ldexp(fractions, exponents)
    last = (fractions == 0.5) & (exponents == _OVERFLOW_EXPONENT + 1)
    return np.where(last, _LARGEST, bounds)


def _ldexp(fractions: Counts, exponents: Indices) -> Counts:
    with np.errstate(over="ignore", under="ignore"):
        clipped = np.clip(exponents, -2000, 2000).astype(np.int32)
        return np.ldexp(fractions, clipped)


def custom_bounds(values: tuple[float, ...], indices: Indices) -> Counts:
    """The upper bounds of custom buckets; -Inf below the first, +Inf for the last."""
    padded = np.concatenate([values, [np.inf, -np.inf]])  # index -1 takes the last
    return padded[indices]


def is_exponential(schema: int) -> bool:
    return SMALLEST_SCHEMA <= schema <= LARGEST_SCHEMA
