"""An instant vector over all steps of a query: a matrix of series times steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import labelsets
from .errors import ExecutionError
from .source import BoolArray, Float64Array, Int64Array, Labels, ObjectArray

DUPLICATE_LABELS = "vector cannot contain metrics with the same labelset"


@dataclass(slots=True)
class Frame:
    """Series (rows) by steps (columns). Arrays are shared freely and never written to in place.

    A cell without a sample has ``present`` False; its value means nothing. A cell with a native
    histogram has it in ``histograms``; ``histograms`` is None where no cell has one.
    """

    labels: list[Labels]
    values: Float64Array
    present: BoolArray
    #: Rows whose metric name, type and unit are to go when the query is done.
    drop_name: BoolArray
    histograms: ObjectArray | None = None

    @classmethod
    def empty(cls, steps: int) -> Frame:
        """No series at all."""
        return cls(
            [],
            np.empty((0, steps)),
            np.zeros((0, steps), dtype=np.bool_),
            np.zeros(0, dtype=np.bool_),
        )

    @classmethod
    def single(
        cls, labels: Labels, values: Float64Array, present: BoolArray | None = None
    ) -> Frame:
        """One series; present at every step unless told otherwise."""
        mask = np.ones(values.shape, dtype=np.bool_) if present is None else present
        return cls([labels], values[None, :], mask[None, :], np.zeros(1, dtype=np.bool_))

    @property
    def steps(self) -> int:
        return int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.labels)

    def is_histogram(self) -> BoolArray:
        """Cells that hold a native histogram."""
        if self.histograms is None:
            return np.zeros(self.present.shape, dtype=np.bool_)
        return filled(self.histograms) & self.present

    def is_float(self) -> BoolArray:
        """Cells that hold a number."""
        return self.present if self.histograms is None else self.present & ~filled(self.histograms)

    def take(self, rows: Sequence[int] | Int64Array | BoolArray) -> Frame:
        """Some of the rows, in the order asked for."""
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        index = index.astype(np.int64, copy=False)
        return Frame(
            [self.labels[i] for i in index.tolist()],
            self.values[index],
            self.present[index],
            self.drop_name[index],
            None if self.histograms is None else self.histograms[index],
        )

    def where(self, keep: BoolArray) -> Frame:
        """Only the cells of ``keep``; rows that lose all of theirs go."""
        return replace(self, present=self.present & keep).pruned()

    def pruned(self) -> Frame:
        """Without rows that have no sample."""
        alive: BoolArray = np.asarray(self.present.any(axis=1), dtype=np.bool_)
        if alive.all():
            return self
        return self.take(alive)

    def floats_only(self) -> Frame:
        """Without histograms."""
        if self.histograms is None:
            return self
        return replace(self, present=self.is_float(), histograms=None).pruned()

    def renamed(self, change: Callable[[Labels], Labels]) -> Frame:
        """With every row's labels changed."""
        return replace(self, labels=[change(labels) for labels in self.labels])

    def with_values(self, values: Float64Array, present: BoolArray | None = None) -> Frame:
        """The same series with other numbers, no histograms."""
        return Frame(
            self.labels, values, self.present if present is None else present, self.drop_name
        )

    def without_names(self, delayed: bool) -> Frame:
        """Metric name, type and unit dropped: at once, or marked for the end of the query."""
        if delayed:
            return replace(self, drop_name=np.ones(len(self), dtype=np.bool_))
        return self.renamed(labelsets.without_metadata)

    def merged(self) -> Frame:
        """Rows with equal labels made one; the earliest says whether the name is to go.

        Raises ExecutionError where two of them have a sample at the same step.
        """
        first: dict[Labels, int] = {}
        target = [first.setdefault(labels, len(first)) for labels in self.labels]
        if len(first) == len(self):
            return self
        return _merge(self, np.array(target, dtype=np.int64), list(first))


def filled(histograms: ObjectArray) -> BoolArray:
    """Which entries are not None."""
    flags = [item is not None for item in histograms.ravel()]
    return np.array(flags, dtype=np.bool_).reshape(histograms.shape)


def stacked(frames: Sequence[Frame]) -> Frame:
    """The rows of all frames below each other."""
    frames = [frame for frame in frames if len(frame)] or frames[:1]
    if len(frames) == 1:
        return frames[0]
    return Frame(
        [labels for frame in frames for labels in frame.labels],
        np.concatenate([frame.values for frame in frames]),
        np.concatenate([frame.present for frame in frames]),
        np.concatenate([frame.drop_name for frame in frames]),
        _stacked_histograms(frames),
    )


def _stacked_histograms(frames: Sequence[Frame]) -> ObjectArray | None:
    if all(frame.histograms is None for frame in frames):
        return None
    return np.concatenate(
        [
            np.full(frame.values.shape, None, dtype=object)
            if frame.histograms is None
            else frame.histograms
            for frame in frames
        ]
    )


def _merge(frame: Frame, target: Int64Array, labels: list[Labels]) -> Frame:
    shape = (len(labels), frame.steps)
    values = np.full(shape, np.nan)
    present = np.zeros(shape, dtype=np.bool_)
    histograms = None if frame.histograms is None else np.full(shape, None, dtype=object)
    drop_name = np.zeros(len(labels), dtype=np.bool_)
    first = np.full(len(labels), frame.steps)
    for row, into in enumerate(target.tolist()):
        mask = frame.present[row]
        if (present[into] & mask).any():
            raise ExecutionError(DUPLICATE_LABELS)
        present[into] |= mask
        values[into, mask] = frame.values[row, mask]
        if (begin := int(mask.argmax()) if mask.any() else frame.steps) < first[into]:
            first[into], drop_name[into] = begin, frame.drop_name[row]
        if histograms is not None and frame.histograms is not None:
            histograms[into, mask] = frame.histograms[row, mask]
    return Frame(labels, values, present, drop_name, histograms)
