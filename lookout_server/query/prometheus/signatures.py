"""The functions of PromQL: names and types. Their meaning is in `.functions`.

Source: the function reference of the Prometheus documentation, version 3.14.
"""

from __future__ import annotations

from dataclasses import dataclass

from .types import ValueType

_SCALAR, _STRING = ValueType.SCALAR, ValueType.STRING
_VECTOR, _MATRIX = ValueType.VECTOR, ValueType.MATRIX


@dataclass(frozen=True, slots=True)
class Function:
    """A function's signature.

    ``variadic`` is 0 for a fixed number of arguments; ``n > 0`` says that of ``arguments`` the
    last is optional and may be given up to ``n`` times; -1 that it may be given any number of
    times, or not at all.
    """

    name: str
    arguments: tuple[ValueType, ...]
    returns: ValueType = _VECTOR
    variadic: int = 0
    experimental: bool = False

    @property
    def fewest(self) -> int:
        """The smallest number of arguments a call must have."""
        return len(self.arguments) - (1 if self.variadic else 0)

    @property
    def most(self) -> int | None:
        """The largest number of arguments a call may have; None when there is no limit."""
        return None if self.variadic < 0 else self.fewest + self.variadic

    def argument_type(self, index: int) -> ValueType:
        """The type the argument at an index must have."""
        return self.arguments[min(index, len(self.arguments) - 1)]


def _vector_functions() -> list[Function]:
    names = (
        "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg "
        "histogram_count histogram_stddev histogram_stdvar histogram_sum ln log10 log2 rad sgn "
        "sin sinh sort sort_desc sqrt tan tanh timestamp"
    )
    calendar = "day_of_month day_of_week day_of_year days_in_month hour minute month year"
    return [
        *(Function(name, (_VECTOR,)) for name in names.split()),
        Function("start_timestamp", (_VECTOR,), experimental=True),
        *(Function(name, (_VECTOR,), variadic=1) for name in calendar.split()),
        Function("clamp", (_VECTOR, _SCALAR, _SCALAR)),
        Function("clamp_max", (_VECTOR, _SCALAR)),
        Function("clamp_min", (_VECTOR, _SCALAR)),
        Function("histogram_fraction", (_SCALAR, _SCALAR, _VECTOR)),
        Function("histogram_quantile", (_SCALAR, _VECTOR)),
        Function(
            "histogram_quantiles",
            (_VECTOR, _STRING, _SCALAR, _SCALAR),
            variadic=9,
            experimental=True,
        ),
        Function("info", (_VECTOR, _VECTOR), variadic=1, experimental=True),
        Function("label_join", (_VECTOR, _STRING, _STRING, _STRING), variadic=-1),
        Function("label_replace", (_VECTOR, _STRING, _STRING, _STRING, _STRING)),
        Function("round", (_VECTOR, _SCALAR), variadic=1),
        Function("scalar", (_VECTOR,), returns=_SCALAR),
        Function("sort_by_label", (_VECTOR, _STRING), variadic=-1, experimental=True),
        Function("sort_by_label_desc", (_VECTOR, _STRING), variadic=-1, experimental=True),
    ]


def _matrix_functions() -> list[Function]:
    names = (
        "absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta "
        "increase irate "
        "last_over_time max_over_time min_over_time present_over_time rate resets "
        "stddev_over_time stdvar_over_time sum_over_time"
    )
    experimental = (
        "mad_over_time ts_of_first_over_time ts_of_last_over_time "
        "ts_of_max_over_time ts_of_min_over_time"
    )
    return [
        *(Function(name, (_MATRIX,)) for name in names.split()),
        *(Function(name, (_MATRIX,), experimental=True) for name in experimental.split()),
        Function("double_exponential_smoothing", (_MATRIX, _SCALAR, _SCALAR), experimental=True),
        Function("predict_linear", (_MATRIX, _SCALAR)),
        Function("quantile_over_time", (_SCALAR, _MATRIX)),
    ]


def _scalar_functions() -> list[Function]:
    return [
        Function("max_of", (_SCALAR, _SCALAR), returns=_SCALAR, experimental=True),
        Function("min_of", (_SCALAR, _SCALAR), returns=_SCALAR, experimental=True),
        Function("pi", (), returns=_SCALAR),
        Function("time", (), returns=_SCALAR),
        Function("vector", (_SCALAR,)),
        *(
            Function(name, (), returns=_SCALAR, experimental=True)
            for name in ("end", "range", "start", "step")
        ),
    ]


#: Every function of Prometheus by name.
FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (*_vector_functions(), *_matrix_functions(), *_scalar_functions())
}

#: Those of SOFALookout's server that Prometheus has not; nothing else is called so there.
SOFALOOKOUT: dict[str, Function] = {
    "increase2": Function("increase2", (_MATRIX,)),
    "sum2_over_time": Function("sum2_over_time", (_MATRIX,)),
    "zhistogram_quantile": Function("zhistogram_quantile", (_SCALAR, _VECTOR)),
}
