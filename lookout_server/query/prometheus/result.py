"""What a query answers, in columns that are quick to render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .context import Steps
from .frame import Frame, filled
from .ranges import RangeVector
from .source import Float64Array, Int64Array, Labels, ObjectArray


@dataclass(slots=True)
class Result:
    """A query's value and what was noted about it.

    ``kind`` is the API's ``resultType``. For a vector and a matrix, sample ``j`` of series ``i``
    stands at ``offsets[i] + j`` of the flat arrays (a vector has one sample per series). Where
    the samples stand on common steps, ``steps`` has these and ``step_of`` says which of them each
    sample is on: timestamps need be rendered but once.
    """

    kind: str
    labels: Sequence[Labels] = ()
    offsets: Int64Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    timestamps: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    values: Float64Array = field(default_factory=lambda: np.zeros(0))
    #: A histogram.Histogram where a sample is one, else None; None where no sample is.
    histograms: ObjectArray | None = None
    steps: Int64Array | None = None
    step_of: Int64Array | None = None
    scalar: float = 0.0
    string: str = ""
    time_ms: int = 0  # of a scalar or string
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
    samples_total: int = 0  # read from the source
    samples_peak: int = 0  # in memory at one moment

    def __len__(self) -> int:
        return len(self.labels)


def of_scalar(value: float, time_ms: int) -> Result:
    """A number."""
    return Result("scalar", scalar=value, time_ms=time_ms)


def of_string(value: str, time_ms: int) -> Result:
    """A string."""
    return Result("string", string=value, time_ms=time_ms)


def from_frame(kind: str, frame: Frame, steps: Steps) -> Result:
    """The samples of a frame, in order of its rows."""
    counts = frame.present.sum(axis=1)
    offsets = np.zeros(len(frame) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    times = steps.times
    if frame.present.all():
        step_of = np.tile(np.arange(steps.count, dtype=np.int64), len(frame))
        values = frame.values.ravel()
    else:
        step_of = np.nonzero(frame.present)[1].astype(np.int64, copy=False)
        values = frame.values[frame.present]
    histograms = None if frame.histograms is None else frame.histograms[frame.present]
    if histograms is not None and not filled(histograms).any():
        histograms = None
    return Result(
        kind,
        frame.labels,
        offsets,
        times[step_of],
        values,
        histograms,
        steps=times,
        step_of=step_of,
    )


def from_ranges(vector: RangeVector) -> Result:
    """The samples that a range vector sees at its first step, sorted by labels."""
    low, high = vector.bounds()
    rows = [row for row in range(len(vector)) if high[row, 0] > low[row, 0]]
    rows.sort(key=lambda row: vector.labels[row])
    pieces = [np.arange(low[row, 0], high[row, 0]) for row in rows]
    index = np.concatenate([np.zeros(0, dtype=np.int64), *pieces]).astype(np.int64)
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    histograms = None if vector.histograms is None else vector.histograms[index]
    return Result(
        "matrix",
        [vector.labels[row] for row in rows],
        offsets,
        vector.timestamps[index],
        vector.values[index],
        histograms if histograms is not None and filled(histograms).any() else None,
    )
