"""Series of keys, numbered when a key is first seen: only then are its labels spelled out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from .series import (
    METRIC_NAME,
    SEPARATOR,
    InvalidLabels,
    LabelLimits,
    Labels,
    identity_of,
    metric_identity,
    read_spelled,
    series_of,
    spelled,
)
from .series_table import INVALID, Int64Array, SeriesTable, UInt64Array

Key: TypeAlias = tuple[str, ...]

#: With more than this everything is forgotten and numbered anew; 300 bytes each.
_MOST_SERIES: Final = 400_000


class Shape(NamedTuple):
    """The series of each key of a kind."""

    names: tuple[str, ...]  # of the key's labels
    series: tuple[Labels, ...]  # what each series has beside them, its metric's name first


class Numbered(NamedTuple):
    """Series of keys of one shape."""

    numbers: Int64Array  # a row a key, a column a series; INVALID where a key can have none
    faults: list[InvalidLabels]  # of the keys that can have none


@dataclass(slots=True)
class _Known:
    """Keys of one shape that were seen."""

    places: dict[Key, int] = field(default_factory=dict)
    numbers: list[Int64Array] = field(default_factory=list)
    faults: dict[Key, InvalidLabels] = field(default_factory=dict)


class SpanSeries:
    """Thread-safe."""

    def __init__(self, limits: LabelLimits | None = None, most: int = _MOST_SERIES) -> None:
        self._limits = limits
        self._most = most
        self._lock = threading.Lock()
        self._begin()

    def numbered(
        self, wanted: Sequence[tuple[Shape, Sequence[Key]]]
    ) -> tuple[SeriesTable, list[Numbered]]:
        """All series of these keys of each shape, as numbers of a table."""
        with self._lock:
            refused = sum(len(known.faults) for known in self._known.values())
            if len(self._table) + refused > self._most:
                self._begin()
            return self._table, [self._numbered(shape, keys) for shape, keys in wanted]

    def _begin(self) -> None:
        self._table = SeriesTable(read_spelled)
        self._known: dict[Shape, _Known] = {}

    def _numbered(self, shape: Shape, keys: Sequence[Key]) -> Numbered:
        known = self._known.setdefault(shape, _Known())
        for key in keys:
            if key not in known.places:
                self._learn(known, shape, key)
        rows = [known.numbers[known.places[key]] for key in keys]
        faults = [known.faults[key] for key in keys if key in known.faults]
        return Numbered(np.array(rows, np.int64).reshape(len(keys), len(shape.series)), faults)

    def _learn(self, known: _Known, shape: Shape, key: Key) -> None:
        labels = dict(zip(shape.names, key, strict=True))
        try:
            # What the limits say of one they say of all: the others differ in names of ours.
            series_of([*labels.items(), *shape.series[0]], self._limits)
            numbers = self._add(labels, shape)
        except InvalidLabels as fault:
            known.faults[key] = fault
            numbers = np.full(len(shape.series), INVALID, np.int64)
        known.places[key] = len(known.numbers)
        known.numbers.append(numbers)

    def _add(self, labels: dict[str, str], shape: Shape) -> Int64Array:
        first = len(self._table)
        parts = [(name, spelled(((name, value),))) for name, value in labels.items() if value]
        # Each name is there once, so that no two parts compare by what follows it.
        raws = [
            SEPARATOR.join([part for _, part in sorted(parts + more)]) for more in _parts(shape)
        ]
        ids = np.array([identity_of(raw) for raw in raws], np.uint64)
        self._table.follow(raws, ids, _metrics(shape))
        return np.arange(first, first + len(raws))


@cache
def _parts(shape: Shape) -> list[list[tuple[str, bytes]]]:
    """Of each series the labels that are not the key's, spelled out."""
    return [[(name, spelled(((name, value),))) for name, value in more] for more in shape.series]


@cache
def _metrics(shape: Shape) -> UInt64Array:
    """The id of each series' metric."""
    return np.array([metric_identity(dict(more)[METRIC_NAME]) for more in shape.series], np.uint64)
