"""Cumulative histograms of durations by key, classic and native at once, filled batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Upper bounds of the classic buckets, in seconds.
BOUNDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_BOUNDS = np.array(BOUNDS)
#: Eight native buckets to a power of two: neighbours differ by 9 %.
SCHEMA = 3
ZERO_THRESHOLD = 1e-6


@dataclass(slots=True)
class DurationHistogram:
    """Counts since the key was first seen."""

    started_ms: int
    count: int = 0
    sum: float = 0.0
    buckets: Ints = field(default_factory=lambda: np.zeros(len(BOUNDS) + 1, dtype=np.int64))
    native: dict[int, int] = field(default_factory=dict)
    zeros: int = 0


def classic_places(seconds: Floats) -> Ints:
    """Index of the bucket of each duration; the last one has no bound."""
    return np.asarray(np.searchsorted(_BOUNDS, seconds, side="left"), dtype=np.int64)


def native_places(seconds: Floats) -> Ints:
    """Index of the native bucket of each duration above the zero threshold."""
    above = np.maximum(seconds, ZERO_THRESHOLD)
    places: Ints = np.ceil(np.log2(above) * (1 << SCHEMA)).astype(np.int64)
    return places


def add(histograms: list[DurationHistogram], keys: Ints, seconds: Floats) -> None:
    """Add durations; ``keys`` are indexes into the list."""
    number, width = len(histograms), len(BOUNDS) + 1
    counts = np.bincount(keys, minlength=number)
    sums = np.bincount(keys, weights=seconds, minlength=number)
    flat = np.bincount(keys * width + classic_places(seconds), minlength=number * width)
    classic = flat.reshape(number, width)
    zero = seconds <= ZERO_THRESHOLD
    zeros = np.bincount(keys[zero], minlength=number)
    for index, histogram in enumerate(histograms):
        histogram.count += int(counts[index])
        histogram.sum += float(sums[index])
        histogram.buckets += classic[index]
        histogram.zeros += int(zeros[index])
    _add_native(histograms, keys[~zero], native_places(seconds[~zero]))


def _add_native(histograms: list[DurationHistogram], keys: Ints, places: Ints) -> None:
    # Indexes of durations up to 30,000 years are within 16 bits; shifted, they order by key.
    packed, counts = np.unique((keys << 20) | (places + (1 << 19)), return_counts=True)
    for code, count in zip(packed.tolist(), counts.tolist(), strict=True):
        native = histograms[code >> 20].native
        place = (code & 0xFFFFF) - (1 << 19)
        native[place] = native.get(place, 0) + count
