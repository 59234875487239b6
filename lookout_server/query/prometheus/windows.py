"""Which samples fall into which window: bounds per series and step over flat arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .source import Int64Array

#: Cells gathered at once: 16 MB of float64, so that temporaries stay near the caches.
_GATHERED_CELLS = 2_000_000
_SHORT_SERIES = 64  # samples; below this one search over all series beats a search per series
_CANDIDATES = 4  # series compared before a series' bounds are searched anew


def upper_bounds(timestamps: Int64Array, offsets: Int64Array, times: Int64Array) -> Int64Array:
    """Index of the first sample later than each time: (series, times) into the flat arrays.

    Series scraped together share their timestamps; their bounds are searched once.
    """
    series = len(offsets) - 1
    clock = common_clock(timestamps, offsets)
    if clock is not None:
        return offsets[:-1, None] + np.searchsorted(clock, times, side="right")
    if series == 0 or len(timestamps) < _SHORT_SERIES * series:
        return _bounds_at_once(timestamps, offsets, times)
    bounds = np.empty((series, len(times)), dtype=np.int64)
    known: dict[tuple[int, int, int], list[int]] = {}
    starts = offsets.tolist()
    for row in range(series):
        part = timestamps[starts[row] : starts[row + 1]]
        key = (len(part), int(part[0]), int(part[-1])) if len(part) else (0, 0, 0)
        candidates = known.setdefault(key, [])
        for other in candidates:
            if np.array_equal(part, timestamps[starts[other] : starts[other + 1]]):
                np.add(bounds[other], starts[row] - starts[other], out=bounds[row])
                break
        else:
            np.add(np.searchsorted(part, times, side="right"), starts[row], out=bounds[row])
            if len(candidates) < _CANDIDATES:
                candidates.append(row)
    return bounds


def common_clock(timestamps: Int64Array, offsets: Int64Array) -> Int64Array | None:
    """The times that all series have in common, if they have no others."""
    series = len(offsets) - 1
    if not len(timestamps) or len(timestamps) % series:
        return None
    length = len(timestamps) // series
    if (np.diff(offsets) != length).any():
        return None
    clock = timestamps[:length]
    same = (timestamps.reshape(series, length) == clock).all()
    return clock if same else None


def _bounds_at_once(timestamps: Int64Array, offsets: Int64Array, times: Int64Array) -> Int64Array:
    series = len(offsets) - 1
    if series == 0 or len(timestamps) == 0:
        return np.repeat(offsets[:-1, None], len(times), axis=1)
    first, last = int(timestamps.min()), int(timestamps.max())
    span = last - first + 2
    row_of = np.repeat(np.arange(series), np.diff(offsets))
    keys = row_of * span + (timestamps - first)
    wanted = np.clip(times, first - 1, last) - first
    targets = np.arange(series)[:, None] * span + wanted
    found = np.searchsorted(keys, targets.ravel(), side="right").reshape(targets.shape)
    return np.maximum(found, offsets[:-1, None])


def window_bounds(
    timestamps: Int64Array, offsets: Int64Array, ends: Int64Array, range_ms: int
) -> tuple[Int64Array, Int64Array]:
    """Samples ``low`` to ``high`` (exclusive) lie in the window (end - range, end]."""
    shift = _steps_per_range(ends, range_ms)
    if shift is None:
        return (
            upper_bounds(timestamps, offsets, ends - range_ms),
            upper_bounds(timestamps, offsets, ends),
        )
    # The range is a multiple of the step: most starts of windows are ends of earlier ones.
    step = int(ends[1] - ends[0])
    both = upper_bounds(
        timestamps, offsets, np.arange(ends[0] - range_ms, ends[-1] + 1, step, dtype=np.int64)
    )
    return both[:, : len(ends)], both[:, shift:]


def _steps_per_range(ends: Int64Array, range_ms: int) -> int | None:
    if len(ends) < 2:
        return None
    step = int(ends[1] - ends[0])
    if step <= 0 or range_ms % step or range_ms // step > len(ends):
        return None
    return range_ms // step


def gathered(low: Int64Array, high: Int64Array) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Non-empty windows by length: flat positions in ``low`` and a matrix of sample indices.

    All windows of one matrix have the same number of samples, one window a row.
    """
    starts = low.ravel()
    counts = high.ravel() - starts
    order = np.argsort(counts, kind="stable")
    lengths, begins = np.unique(counts[order], return_index=True)
    edges = [*begins.tolist(), len(order)]
    for at, length in enumerate(lengths.tolist()):
        if length <= 0:
            continue
        positions = order[edges[at] : edges[at + 1]]
        rows = max(1, _GATHERED_CELLS // length)
        for begin in range(0, len(positions), rows):
            part = positions[begin : begin + rows]
            yield part, starts[part][:, None] + np.arange(length)
