"""Range vectors: for every series and step the samples of a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .frame import Frame, filled
from .source import (
    BoolArray,
    Float64Array,
    Int64Array,
    Labels,
    ObjectArray,
    SeriesBlock,
    is_stale,
)
from .windows import common_clock, upper_bounds, window_bounds

#: Windows evaluated at once: keeps a kernel's temporaries near the caches.
_CHUNK_WINDOWS = 262_144


@dataclass(frozen=True, slots=True)
class Grid:
    """Series of common times: what is true of one row's windows is true of all rows'."""

    values: Float64Array  # series by samples
    timestamps: Int64Array
    low: Int64Array  # the windows' bounds in each row, see RangeVector.bounds
    high: Int64Array


@dataclass(slots=True)
class RangeVector:
    """Samples of some series in flat arrays, and the windows that the steps look through.

    Like a SeriesBlock without stale markers. The window of step ``s`` is
    ``(ends[s] - range_ms, ends[s]]``; ``before_ms`` and ``after_ms`` widen what is seen of it
    (for the anchored and smoothed modifiers).
    """

    labels: Sequence[Labels]
    drop_name: BoolArray
    offsets: Int64Array
    timestamps: Int64Array
    values: Float64Array
    histograms: ObjectArray | None
    starts: Int64Array | None  # start timestamps
    times: Int64Array  # evaluation times
    ends: Int64Array  # reference times: evaluation times less the offset, or the time of ``@``
    range_ms: int
    before_ms: int = 0
    after_ms: int = 0
    _bounds: tuple[Int64Array, Int64Array] | None = field(default=None, init=False, repr=False)
    _grid: Grid | None = field(default=None, init=False, repr=False)
    _grid_sought: bool = field(default=False, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def range_s(self) -> float:
        return self.range_ms / 1000

    def bounds(self) -> tuple[Int64Array, Int64Array]:
        """Flat indices: the window holds samples ``low`` to ``high``, ``high`` excluded."""
        if self._bounds is None:
            grid = self.grid()
            if grid is None:
                self._bounds = self._windows(self.timestamps, self.offsets)
            else:
                first = self.offsets[:-1, None]
                self._bounds = first + grid.low, first + grid.high
        return self._bounds

    def grid(self) -> Grid | None:
        """The samples as a matrix, where all series have the same times."""
        if not self._grid_sought:
            clock = common_clock(self.timestamps, self.offsets)
            self._grid = None if clock is None else self._grid_of(clock)
            self._grid_sought = True
        return self._grid

    def _grid_of(self, clock: Int64Array) -> Grid:
        low, high = self._windows(clock, np.array([0, len(clock)]))
        return Grid(self.values.reshape(len(self), len(clock)), clock, low[0], high[0])

    def _windows(
        self, timestamps: Int64Array, offsets: Int64Array
    ) -> tuple[Int64Array, Int64Array]:
        return window_bounds(
            timestamps,
            offsets,
            self.ends + self.after_ms,
            self.range_ms + self.before_ms + self.after_ms,
        )

    def indices_after(self, times: Int64Array) -> Int64Array:
        """Flat index of the first sample later than each time (a time per step)."""
        return upper_bounds(self.timestamps, self.offsets, times)

    def seen(self) -> int:
        """How many samples all windows hold together."""
        if (grid := self.grid()) is not None:
            return int((grid.high - grid.low).sum()) * len(self)
        low, high = self.bounds()
        return int((high - low).sum())

    def rows(self, start: int, stop: int) -> RangeVector:
        """Some neighbouring series, as views."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        cut = slice(low, high)
        return replace(
            self,
            labels=self.labels[start:stop],
            drop_name=self.drop_name[start:stop],
            offsets=self.offsets[start : stop + 1] - low,
            timestamps=self.timestamps[cut],
            values=self.values[cut],
            histograms=None if self.histograms is None else self.histograms[cut],
            starts=None if self.starts is None else self.starts[cut],
        )

    def chunks(self) -> Iterator[RangeVector]:
        """All series, some at a time."""
        rows = max(1, _CHUNK_WINDOWS // max(1, len(self.times)))
        for start in range(0, len(self), rows):
            yield self.rows(start, min(start + rows, len(self)))

    def keep(self, samples: BoolArray) -> RangeVector:
        """Only some samples; all series stay."""
        if samples.all():
            return self
        before = np.zeros(len(samples) + 1, dtype=np.int64)
        np.cumsum(samples, out=before[1:])
        return replace(
            self,
            offsets=before[self.offsets],
            timestamps=self.timestamps[samples],
            values=self.values[samples],
            histograms=None if self.histograms is None else self.histograms[samples],
            starts=None if self.starts is None else self.starts[samples],
        )

    def take(self, rows: Sequence[int]) -> RangeVector:
        """Some of the series, copied."""
        index = np.concatenate(
            [np.zeros(0, dtype=np.int64)]
            + [np.arange(self.offsets[r], self.offsets[r + 1]) for r in rows]
        )
        lengths = [int(self.offsets[r + 1] - self.offsets[r]) for r in rows]
        return replace(
            self,
            labels=[self.labels[r] for r in rows],
            drop_name=self.drop_name[list(rows)],
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            timestamps=self.timestamps[index],
            values=self.values[index],
            histograms=None if self.histograms is None else self.histograms[index],
            starts=None if self.starts is None else self.starts[index],
        )

    def floats_only(self) -> RangeVector:
        """Without histogram samples; all series stay."""
        if self.histograms is None:
            return self
        return replace(self.keep(~filled(self.histograms)), histograms=None)

    def has_histograms(self) -> list[bool]:
        """Per series, whether any of its samples is a histogram."""
        if self.histograms is None:
            return [False] * len(self)
        count = np.zeros(len(self.histograms) + 1, dtype=np.int64)
        np.cumsum(filled(self.histograms), out=count[1:])
        flags: list[bool] = (count[self.offsets[1:]] != count[self.offsets[:-1]]).tolist()
        return flags


def from_block(
    block: SeriesBlock, times: Int64Array, ends: Int64Array, range_ms: int, *, starts: bool
) -> RangeVector:
    """The windows over what a source has answered; stale markers are no samples here."""
    whole = RangeVector(
        labels=block.labels,
        drop_name=np.zeros(len(block), dtype=np.bool_),
        offsets=block.offsets,
        timestamps=block.timestamps,
        values=block.values,
        histograms=block.histograms,
        starts=block.start_timestamps if starts else None,
        times=times,
        ends=ends,
        range_ms=range_ms,
    )
    stale = is_stale(block.values)
    if block.histograms is not None:
        stale &= ~filled(block.histograms)
    return whole.keep(~stale) if stale.any() else whole


def from_frame(
    frame: Frame, at: Int64Array, times: Int64Array, ends: Int64Array, range_ms: int
) -> RangeVector:
    """The windows over a subquery's results, which stand at the times ``at``."""
    counts = frame.present.sum(axis=1)
    offsets = np.zeros(len(frame) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    stamps = np.broadcast_to(at, frame.present.shape)
    return RangeVector(
        labels=frame.labels,
        drop_name=frame.drop_name,
        offsets=offsets,
        timestamps=stamps[frame.present],
        values=frame.values[frame.present],
        histograms=None if frame.histograms is None else frame.histograms[frame.present],
        starts=None,
        times=times,
        ends=ends,
        range_ms=range_ms,
    )
