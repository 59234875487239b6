"""Functions of each sample by itself; native histograms have no place in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..source import Float64Array, Int64Array

Elementwise: TypeAlias = Callable[[Float64Array, Sequence[Float64Array]], Float64Array]


def _plain(ufunc: Callable[[Float64Array], Float64Array]) -> Elementwise:
    return lambda values, _: ufunc(values)


def _round(values: Float64Array, args: Sequence[Float64Array]) -> Float64Array:
    # Multiplying by the inverse loses fewer digits than dividing by "to nearest".
    inverse = 1.0 / (args[0] if args else np.ones(1))
    return np.floor(values * inverse + 0.5) / inverse


def _sign(values: Float64Array) -> Float64Array:
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


def _min(values: Float64Array, most: Float64Array) -> Float64Array:
    """As Go's ``math.Min``: minus infinity is less than NaN too."""
    return np.where(np.isneginf(values) | np.isneginf(most), -np.inf, np.minimum(most, values))


def _max(values: Float64Array, least: Float64Array) -> Float64Array:
    """As Go's ``math.Max``: infinity is more than NaN too."""
    return np.where(np.isposinf(values) | np.isposinf(least), np.inf, np.maximum(least, values))


def _clamp(values: Float64Array, args: Sequence[Float64Array]) -> Float64Array:
    return _max(_min(values, args[1]), args[0])


#: By name: from values (series by steps) and scalar arguments (by step) to values.
ELEMENTWISE: dict[str, Elementwise] = {
    "abs": _plain(np.abs),
    "acos": _plain(np.arccos),
    "acosh": _plain(np.arccosh),
    "asin": _plain(np.arcsin),
    "asinh": _plain(np.arcsinh),
    "atan": _plain(np.arctan),
    "atanh": _plain(np.arctanh),
    "ceil": _plain(np.ceil),
    "clamp": _clamp,
    "clamp_max": lambda values, args: _min(values, args[0]),
    "clamp_min": lambda values, args: _max(values, args[0]),
    "cos": _plain(np.cos),
    "cosh": _plain(np.cosh),
    "deg": _plain(lambda values: values * 180 / math.pi),
    "exp": _plain(np.exp),
    "floor": _plain(np.floor),
    "ln": _plain(np.log),
    "log10": _plain(np.log10),
    "log2": _plain(np.log2),
    "rad": _plain(lambda values: values * math.pi / 180),
    "round": _round,
    "sgn": _plain(_sign),
    "sin": _plain(np.sin),
    "sinh": _plain(np.sinh),
    "sqrt": _plain(np.sqrt),
    "tan": _plain(np.tan),
    "tanh": _plain(np.tanh),
}


def _seconds(values: Float64Array) -> Int64Array:
    """Unix seconds, cut to whole ones; what is no such number becomes the earliest there is."""
    edge = 2.0**62
    return np.where(np.abs(values) < edge, values, -edge).astype(np.int64)


def _moment(values: Float64Array) -> npt.NDArray[np.datetime64]:
    return _seconds(values).astype("datetime64[s]")


def _in_unit(values: Float64Array, unit: str, within: str) -> Float64Array:
    moment = _moment(values)
    begun = moment.astype(f"datetime64[{within}]")
    passed = moment.astype(f"datetime64[{unit}]") - begun.astype(f"datetime64[{unit}]")
    result: Float64Array = passed.astype(np.int64).astype(np.float64)
    return result


def _days_in_month(values: Float64Array, _: Sequence[Float64Array]) -> Float64Array:
    month = _moment(values).astype("datetime64[M]")
    days = (month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")
    lengths: Float64Array = days.astype(np.int64).astype(np.float64)
    return lengths


def _day_of_week(values: Float64Array, _: Sequence[Float64Array]) -> Float64Array:
    days = _moment(values).astype("datetime64[D]").astype(np.int64)
    weekdays: Float64Array = ((days + 4) % 7).astype(np.float64)  # 1970-01-01 was a Thursday
    return weekdays


def _year(values: Float64Array, _: Sequence[Float64Array]) -> Float64Array:
    years: Float64Array = _moment(values).astype("datetime64[Y]").astype(np.float64) + 1970
    return years


#: Parts of a UTC date and time given in Unix seconds.
CALENDAR: dict[str, Elementwise] = {
    "day_of_month": lambda values, _: _in_unit(values, "D", "M") + 1,
    "day_of_week": _day_of_week,
    "day_of_year": lambda values, _: _in_unit(values, "D", "Y") + 1,
    "days_in_month": _days_in_month,
    "hour": lambda values, _: _in_unit(values, "h", "D"),
    "minute": lambda values, _: _in_unit(values, "m", "h"),
    "month": lambda values, _: _in_unit(values, "M", "Y") + 1,
    "year": _year,
}
