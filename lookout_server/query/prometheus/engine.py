"""The PromQL engine: from the text of a query and a source of series to a result.

Synchronous and stateless between queries: run it in a worker thread, and end it through the
query's cancel token. Source: "Querying basics" in the Prometheus documentation, version 3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np

from . import duration, tree
from .context import CancelToken, EngineOptions, QueryContext, Steps
from .errors import BadData
from .evaluator import Evaluator
from .frame import Frame
from .functions import extended
from .parse_error import ParseError
from .parser import parse
from .result import Result, from_frame, from_ranges, of_scalar, of_string
from .source import SeriesSource
from .types import ValueType

#: Of one query: its cancel token, lookback (ms) and timeout (s), None for the engine's own.
_Limits: TypeAlias = tuple[CancelToken | None, int | None, float | None]
#: Interval of an instant query's evaluation: there is but one step.
_NO_STEP = 1


class Engine:
    """Answers queries under its options' limits. Safe to use from several threads."""

    def __init__(self, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()

    def instant(
        self,
        query: str,
        time_ms: int,
        source: SeriesSource,
        *,
        cancel: CancelToken | None = None,
        lookback_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> Result:
        """The value of a query at one time (Unix milliseconds).

        Raises errors.QueryError: its kind says what the API answers.
        """
        with np.errstate(all="ignore"):  # IEEE 754 says what comes out, and nobody needs telling
            return self._instant(query, time_ms, source, (cancel, lookback_ms, timeout_s))

    def _instant(self, query: str, time_ms: int, source: SeriesSource, limits: _Limits) -> Result:
        expr = self._resolved(query, 0, 0)
        context = self._context(source, (time_ms, time_ms, 0), limits)
        evaluator = Evaluator(context, Steps(time_ms, _NO_STEP, 1))
        match expr.type:
            case ValueType.MATRIX:
                result = self._matrix(evaluator, expr)
            case ValueType.STRING:
                value = evaluator.evaluate(expr)
                assert isinstance(value, str)
                result = of_string(value, time_ms)
            case ValueType.SCALAR:
                result = of_scalar(float(evaluator.scalar(expr)[0]), time_ms)
            case _:
                frame = _finished(evaluator.vector(expr))
                result = from_frame("vector", frame, evaluator.steps)
        return _annotated(result, context, query)

    def range(
        self,
        query: str,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        source: SeriesSource,
        *,
        cancel: CancelToken | None = None,
        lookback_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> Result:
        """The values of a query from start to end, every step, as a matrix sorted by labels.

        Raises errors.QueryError: its kind says what the API answers.
        """
        window, limits = (start_ms, end_ms, step_ms), (cancel, lookback_ms, timeout_s)
        with np.errstate(all="ignore"):
            return self._range(query, window, source, limits)

    def _range(
        self, query: str, window: tuple[int, int, int], source: SeriesSource, limits: _Limits
    ) -> Result:
        start_ms, end_ms, step_ms = window
        expr = self._resolved(query, step_ms, end_ms - start_ms)
        if expr.type not in (ValueType.VECTOR, ValueType.SCALAR):
            raise BadData(
                f'invalid expression type "{expr.type.documented}" for range query, '
                "must be Scalar or instant Vector"
            )
        steps = Steps.between(start_ms, end_ms, step_ms)
        context = self._context(source, window, limits)
        evaluator = Evaluator(context, steps)
        if steps.count == 0:
            frame = Frame.empty(0)
        elif expr.type is ValueType.SCALAR:
            frame = Frame.single((), evaluator.scalar(expr))
        else:
            frame = _finished(evaluator.vector(expr))
        return _annotated(from_frame("matrix", _by_labels(frame), steps), context, query)

    def _resolved(self, query: str, step_ms: int, range_ms: int) -> tree.Expr:
        try:
            return duration.resolve(parse(query, self.options.features), step_ms, range_ms)
        except (ParseError, duration.DurationError) as error:
            raise BadData(str(error)) from error

    def _context(
        self,
        source: SeriesSource,
        window: tuple[int, int, int],
        limits: _Limits,
    ) -> QueryContext:
        options = self.options
        cancel, lookback_ms, timeout_s = limits
        if lookback_ms:
            options = replace(options, lookback_ms=lookback_ms)
        if timeout_s is not None:
            options = replace(options, timeout_s=min(timeout_s, options.timeout_s))
        return QueryContext(source, options, *window, cancel=cancel or CancelToken())

    def _matrix(self, evaluator: Evaluator, expr: tree.Expr) -> Result:
        inner = tree.unwrap(expr)
        vector = evaluator.range_vector(inner)
        if isinstance(inner, tree.MatrixSelector) and vector.before_ms:
            vector = extended.with_borders(vector, inner.selector.smoothed)
        low, high = vector.bounds()
        evaluator.context.hold(int((high - low).sum()))
        return from_ranges(vector)


def _finished(frame: Frame) -> Frame:
    """Names dropped where that was put off, and series merged that are now the same."""
    frame = frame.pruned()
    if not frame.drop_name.any():
        return frame.merged()
    dropped = frame.without_names(delayed=False).labels
    frame.labels = [
        short if drop else full
        for short, full, drop in zip(dropped, frame.labels, frame.drop_name.tolist(), strict=True)
    ]
    return frame.merged()


def _by_labels(frame: Frame) -> Frame:
    order = sorted(range(len(frame)), key=frame.labels.__getitem__)
    return frame.take(np.array(order, dtype=np.int64))


def _annotated(result: Result, context: QueryContext, query: str) -> Result:
    result.warnings = context.annotations.warnings(query)
    result.infos = context.annotations.infos(query)
    result.samples_total = context.total
    result.samples_peak = context.peak
    return result
