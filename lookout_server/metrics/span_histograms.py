"""Cumulative histograms of durations by key, classic and native at once, filled batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Number = TypeVar("Number", np.int64, np.float64)

#: Upper bounds of the classic buckets, in seconds.
BOUNDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_BOUNDS = np.array(BOUNDS)
_CLASSIC = len(BOUNDS) + 1
#: Eight native buckets to a power of two: neighbours differ by 9 %.
SCHEMA = 3
ZERO_THRESHOLD = 1e-6
#: Native buckets from 1 us, the smallest duration there is, to beyond 2^63 us, the largest.
_FIRST_NATIVE, _NATIVE = -160, 512


@dataclass(frozen=True, slots=True)
class DurationColumns:
    """Counts of many keys, each since it was first seen: a row a key."""

    started_ms: Ints
    sums: Floats  # seconds
    zeros: Ints
    classic: Ints  # rows of BOUNDS, not cumulative; the last column has no bound
    native_sizes: Ints  # how many native buckets of each key are in use
    native_indices: Ints  # of these, one key after the other, ascending
    native_counts: Ints

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def counts(self) -> Ints:
        """All durations of each key."""
        counts: Ints = self.classic.sum(axis=1)
        return counts

    def take(self, keys: Bools) -> DurationColumns:
        """The rows of these keys."""
        native = np.repeat(keys, self.native_sizes)
        return DurationColumns(
            self.started_ms[keys],
            self.sums[keys],
            self.zeros[keys],
            self.classic[keys],
            self.native_sizes[keys],
            self.native_indices[native],
            self.native_counts[native],
        )


class Durations:
    """Histograms of many keys side by side: adding to all of them is a handful of array operations.

    4 kB a key, which is what a dictionary of the native buckets in use would take.
    """

    def __init__(self) -> None:
        self._size = 0
        self._started: Ints = np.zeros(8, np.int64)
        self._sums: Floats = np.zeros(8)
        self._zeros: Ints = np.zeros(8, np.int64)
        self._classic: Ints = np.zeros((8, _CLASSIC), np.int64)
        self._native: Ints = np.zeros((8, _NATIVE), np.int64)

    def __len__(self) -> int:
        return self._size

    def begin(self, now_ms: int) -> int:
        """The number of a new histogram."""
        if self._size == len(self._started):
            self._started, self._sums = _doubled(self._started), _doubled(self._sums)
            self._zeros = _doubled(self._zeros)
            self._classic, self._native = _doubled(self._classic), _doubled(self._native)
        self._started[self._size] = now_ms
        self._size += 1
        return self._size - 1

    def add(self, keys: Ints, seconds: Floats) -> None:
        """Count durations; ``keys`` are numbers of their histograms."""
        np.add.at(self._sums, keys, seconds)
        np.add.at(self._classic.reshape(-1), keys * _CLASSIC + classic_places(seconds), 1)
        zero = seconds <= ZERO_THRESHOLD
        np.add.at(self._zeros, keys[zero], 1)
        places = native_places(seconds[~zero]) - _FIRST_NATIVE
        np.add.at(self._native.reshape(-1), keys[~zero] * _NATIVE + places, 1)

    def columns(self, keys: Ints) -> DurationColumns:
        """What was counted by now of the histograms with these numbers."""
        native = self._native[keys]
        rows, places = np.nonzero(native)
        return DurationColumns(
            self._started[keys],
            self._sums[keys],
            self._zeros[keys],
            self._classic[keys],
            np.bincount(rows, minlength=len(keys)),
            places + _FIRST_NATIVE,
            native[rows, places],
        )


def classic_places(seconds: Floats) -> Ints:
    """Index of the bucket of each duration; the last one has no bound."""
    return np.asarray(np.searchsorted(_BOUNDS, seconds, side="left"), dtype=np.int64)


def native_places(seconds: Floats) -> Ints:
    """Index of the native bucket of each duration above the zero threshold."""
    above = np.maximum(seconds, ZERO_THRESHOLD)
    places: Ints = np.ceil(np.log2(above) * (1 << SCHEMA)).astype(np.int64)
    return places


def _doubled(column: npt.NDArray[Number]) -> npt.NDArray[Number]:
    return np.concatenate([column, np.zeros_like(column)])
