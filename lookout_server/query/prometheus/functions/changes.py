"""``changes`` and ``resets``: how often samples of a window differ from the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..frame import filled
from ..histogram import detect_reset
from ..ranges import RangeVector
from ..source import BoolArray, Float64Array, Int64Array
from .over_time import Cells
from .rate import reset_flags, started_anew


def changes(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    values = window.values
    flags = np.zeros(len(values), dtype=np.bool_)
    both_nan = np.isnan(values[1:]) & np.isnan(values[:-1])
    flags[1:] = (values[1:] != values[:-1]) & ~both_nan
    _with_histograms(window, flags, lambda now, before: not now.equals(before))
    return _counted(window, flags)


def resets(window: RangeVector, _: Sequence[Float64Array]) -> Cells:
    flags = reset_flags(window)
    _with_histograms(window, flags, detect_reset)
    if window.histograms is not None and window.starts is not None:
        kind = filled(window.histograms)
        anew = started_anew(
            window.starts[:-1], window.timestamps[:-1], window.starts[1:], window.timestamps[1:]
        )
        flags[1:] |= anew & kind[1:] & kind[:-1]
    return _counted(window, flags)


def _with_histograms(
    window: RangeVector, flags: BoolArray, differs: Callable[[Any, Any], bool]
) -> None:
    """Decide anew where at least one of two neighbours is a histogram."""
    if window.histograms is None:
        return
    histograms = window.histograms
    kind = filled(histograms)
    flags[1:] = np.where(kind[1:] | kind[:-1], kind[1:] != kind[:-1], flags[1:])
    for index in (np.flatnonzero(kind[1:] & kind[:-1]) + 1).tolist():
        flags[index] = differs(histograms[index], histograms[index - 1])


def _counted(window: RangeVector, flags: BoolArray) -> Cells:
    count = np.zeros(len(flags) + 1, dtype=np.int64)
    np.cumsum(flags, out=count[1:])
    low, high = _bounds(window)
    begin = np.minimum(low + 1, high)
    return (count[high] - count[begin]).astype(np.float64), high > low


def _bounds(window: RangeVector) -> tuple[Int64Array, Int64Array]:
    """The window's samples; anchored, also the last sample at or before its start."""
    low, high = window.bounds()
    if not window.before_ms:
        return low, high
    inner = RangeVector.bounds(_plain(window))[0]
    anchored = np.maximum(low, inner - 1)
    return np.where(inner < high, anchored, high), high


def _plain(window: RangeVector) -> RangeVector:
    from dataclasses import replace

    return replace(window, before_ms=0, after_ms=0)
