"""Functions of range vectors: which kernel computes them, and how histograms take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from .. import annotations as notes
from .. import labelsets
from ..context import QueryContext
from ..frame import Frame, stacked
from ..ranges import RangeVector
from ..source import Float64Array
from . import changes, over_time, rate, windowed
from .over_time import Cells, Kernel


class Takes(Enum):
    """What a kernel does with histogram samples."""

    FLOATS = "only numbers: histograms are left out, with an info where both are"
    ANY = "every sample, whatever it is"
    EITHER = "numbers, or histograms in the hands of another function"


@dataclass(frozen=True, slots=True)
class RangeFunction:
    """How one function of PromQL is computed."""

    kernel: Kernel
    takes: Takes
    keeps_name: bool = False


RANGED: dict[str, RangeFunction] = {
    "avg_over_time": RangeFunction(over_time.avg_over_time, Takes.EITHER),
    "changes": RangeFunction(changes.changes, Takes.ANY),
    "count_over_time": RangeFunction(over_time.count_over_time, Takes.ANY),
    "delta": RangeFunction(rate.delta, Takes.EITHER),
    "deriv": RangeFunction(over_time.deriv, Takes.FLOATS),
    "double_exponential_smoothing": RangeFunction(
        over_time.double_exponential_smoothing, Takes.FLOATS
    ),
    "idelta": RangeFunction(rate.idelta, Takes.EITHER),
    "increase": RangeFunction(rate.increase, Takes.EITHER),
    "increase2": RangeFunction(rate.increase2, Takes.FLOATS),
    "irate": RangeFunction(rate.irate, Takes.EITHER),
    "mad_over_time": RangeFunction(over_time.mad_over_time, Takes.FLOATS),
    "max_over_time": RangeFunction(over_time.max_over_time, Takes.FLOATS),
    "min_over_time": RangeFunction(over_time.min_over_time, Takes.FLOATS),
    "predict_linear": RangeFunction(over_time.predict_linear, Takes.FLOATS),
    "present_over_time": RangeFunction(over_time.present_over_time, Takes.ANY),
    "quantile_over_time": RangeFunction(over_time.quantile_over_time, Takes.FLOATS),
    "rate": RangeFunction(rate.rate, Takes.EITHER),
    "resets": RangeFunction(changes.resets, Takes.ANY),
    "stddev_over_time": RangeFunction(over_time.stddev_over_time, Takes.FLOATS),
    "stdvar_over_time": RangeFunction(over_time.stdvar_over_time, Takes.FLOATS),
    "sum2_over_time": RangeFunction(over_time.sum_over_time, Takes.FLOATS, keeps_name=True),
    "sum_over_time": RangeFunction(over_time.sum_over_time, Takes.EITHER),
    "ts_of_first_over_time": RangeFunction(over_time.ts_of_first_over_time, Takes.ANY),
    "ts_of_last_over_time": RangeFunction(over_time.ts_of_last_over_time, Takes.ANY),
    "ts_of_max_over_time": RangeFunction(over_time.ts_of_max_over_time, Takes.FLOATS),
    "ts_of_min_over_time": RangeFunction(over_time.ts_of_min_over_time, Takes.FLOATS),
}


def evaluate(
    name: str,
    vector: RangeVector,
    args: Sequence[Float64Array],
    position: int,
    context: QueryContext,
) -> Frame:
    """The function's results, a row per series of the range vector (rows may be empty)."""
    parts: list[Frame] = []
    cells = 0
    for chunk in vector.chunks():
        context.check()
        context.total += chunk.seen()
        parts.append(_chunk(name, chunk, args, position, context))
        context.hold(int(parts[-1].present.sum()))
        cells += parts[-1].present.size
        context.check_cells(cells)
    return stacked(parts) if parts else Frame.empty(len(vector.times))


def _chunk(
    name: str,
    vector: RangeVector,
    args: Sequence[Float64Array],
    position: int,
    context: QueryContext,
) -> Frame:
    function = RANGED[name]
    if vector.histograms is None or function.takes is Takes.ANY:
        return _frame(vector, function.kernel(vector, args))
    if function.takes is Takes.FLOATS:
        _note_ignored(vector, position, context)
        return _frame(vector, function.kernel(vector.floats_only(), args))
    return _either(name, vector, args, windowed.Notes(context, position))


def _either(
    name: str, vector: RangeVector, args: Sequence[Float64Array], told: windowed.Notes
) -> Frame:
    kernel = RANGED[name].kernel
    mixed = vector.has_histograms()
    with_histograms = [row for row, flag in enumerate(mixed) if flag]
    plain = [row for row, flag in enumerate(mixed) if not flag]
    parts: list[Frame] = []
    if with_histograms:
        part = vector.take(with_histograms)
        parts.append(windowed.run(part, name, kernel, told))
    if plain:
        floats = vector.take(plain).floats_only()
        parts.append(_frame(floats, kernel(floats, args)))
    order = np.argsort(np.array([*with_histograms, *plain]))
    return stacked(parts).take(order)


def _frame(vector: RangeVector, cells: Cells) -> Frame:
    values, present = cells
    return Frame(list(vector.labels), values, present, vector.drop_name)


def _note_ignored(vector: RangeVector, position: int, context: QueryContext) -> None:
    low, high = vector.bounds()
    floats = vector.floats_only()
    float_low, float_high = floats.bounds()
    number = float_high - float_low
    both = ((number > 0) & (number < high - low)).any(axis=1)
    for row in np.flatnonzero(both).tolist():
        name = labelsets.metric_name(vector.labels[row])
        context.annotations.info(notes.histogram_ignored_in_range(name), position)


def first_or_last(vector: RangeVector, *, last: bool) -> Frame:
    """first_over_time and last_over_time: a sample of each window, of either kind."""
    parts = [Frame.empty(len(vector.times))]
    for chunk in vector.chunks():
        low, high = chunk.bounds()
        index = high - 1 if last else low
        present = high > low
        histograms = None
        if chunk.histograms is not None and len(chunk.histograms):
            histograms = chunk.histograms.take(index, mode="clip")
            histograms[~present] = None
        parts.append(
            Frame(
                list(chunk.labels),
                over_time.at(chunk.values, index),
                present,
                chunk.drop_name,
                histograms,
            )
        )
    return stacked(parts)
