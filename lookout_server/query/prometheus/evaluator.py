"""Evaluates a syntax tree over all steps of a query at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from . import aggregation, matching, native, operators, ranges, ranking, selectors, tree
from .binary import Arithmetic
from .context import QueryContext, Steps
from .errors import ExecutionError
from .fold import FOLDED, Fold
from .frame import Frame, stacked
from .functions import calls, extended
from .ranges import RangeVector
from .source import Float64Array

#: What an expression evaluates to: series, a number per step, or a string.
Value: TypeAlias = Frame | Float64Array | str

#: Functions that look at the evaluation time even if their arguments do not depend on it.
_TIME_DEPENDENT = frozenset(
    {
        *("day_of_month", "day_of_week", "day_of_year", "days_in_month"),
        *("hour", "minute", "month", "year"),
        *("predict_linear", "start_timestamp", "time", "timestamp"),
    }
)


class Evaluator:
    """Evaluates expressions at some steps; subqueries get an evaluator of their own."""

    def __init__(self, context: QueryContext, steps: Steps, path: Sequence[tree.Expr] = ()) -> None:
        self.context: QueryContext = context
        self.steps: Steps = steps
        self._path: list[tree.Expr] = list(path)

    def evaluate(self, expr: tree.Expr) -> Value:
        """The value of any expression that is not a range vector."""
        self.context.check()
        held = self.context.held
        with self._inside(expr):
            value = self._once(expr) if self._is_repeated(expr) else self._dispatch(expr)
        self.context.held = held
        if isinstance(value, Frame):
            self.context.hold(int(value.present.sum()))
        return value

    def vector(self, expr: tree.Expr) -> Frame:
        """The value of an expression of type instant vector."""
        value = self.evaluate(expr)
        assert isinstance(value, Frame)
        return value

    def stream(self, expr: tree.Expr) -> Iterator[Frame]:
        """The value of an expression of type instant vector, some series at a time.

        Only where nothing needs to be known of all series together.
        """
        inner = tree.unwrap(expr)
        if self._is_repeated(inner) or not self.context.options.delayed_name_removal:
            yield self.vector(expr)
            return
        with self._inside(inner):
            if isinstance(inner, tree.Call) and calls.is_ranged(inner):
                yield from calls.ranged(self, inner)
            elif isinstance(inner, tree.VectorSelector) and not inner.smoothed:
                yield from self._selected(inner)
            else:
                yield self.vector(inner)

    def scalar(self, expr: tree.Expr) -> Float64Array:
        """The value of an expression of type scalar, one number per step."""
        value = self.evaluate(expr)
        assert isinstance(value, np.ndarray)
        return value

    def range_vector(self, expr: tree.Expr) -> RangeVector:
        """The windows of a range selector or a subquery."""
        expr = tree.unwrap(expr)
        self.context.check()
        if isinstance(expr, tree.MatrixSelector):
            around = selectors.surroundings(self._path)
            return selectors.select_range(expr, self.steps, self.context, around)
        assert isinstance(expr, tree.Subquery)
        with self._inside(expr):
            return self._subquery(expr)

    def range_vectors(self, expr: tree.Expr) -> Iterator[RangeVector]:
        """What :meth:`range_vector` gives, some series at a time."""
        inner = tree.unwrap(expr)
        if not isinstance(inner, tree.MatrixSelector):
            yield self.range_vector(inner)
            return
        around = selectors.surroundings(self._path)
        yield from selectors.range_parts(inner, self.steps, self.context, around)

    def instant(self, selector: tree.VectorSelector) -> selectors.Sampled:
        """The samples that an instant selector sees."""
        around = selectors.surroundings(self._path)
        return selectors.sample_instant(selector, self.steps, self.context, around)

    @contextmanager
    def _inside(self, expr: tree.Expr) -> Iterator[None]:
        self._path.append(expr)
        try:
            yield
        finally:
            self._path.pop()

    def _is_repeated(self, expr: tree.Expr) -> bool:
        return self.steps.count > 1 and is_step_invariant(expr)

    def _once(self, expr: tree.Expr) -> Value:
        """Evaluate at the first step and repeat what came out."""
        value = Evaluator(self.context, self.steps.first(), self._path[:-1]).evaluate(expr)
        count = self.steps.count
        if isinstance(value, np.ndarray):
            return np.repeat(value, count)
        if isinstance(value, Frame):
            return Frame(
                value.labels,
                np.repeat(value.values, count, axis=1),
                np.repeat(value.present, count, axis=1),
                value.drop_name,
                None if value.histograms is None else np.repeat(value.histograms, count, axis=1),
            )
        return value

    def _dispatch(self, expr: tree.Expr) -> Value:
        match expr:
            case tree.NumberLiteral():
                return np.full(self.steps.count, expr.value)
            case tree.StringLiteral():
                return expr.value
            case tree.Paren() | tree.StepInvariant():
                return self.evaluate(expr.expr)
            case tree.VectorSelector():
                return self._selector(expr)
            case tree.Unary():
                return self._unary(expr)
            case tree.Binary():
                return self._binary(expr)
            case tree.Aggregate():
                return self._aggregate(expr)
            case tree.Call():
                return calls.call(self, expr)
            case _:
                raise ExecutionError(f"unexpected {expr.type.documented} in expression")

    def _selector(self, selector: tree.VectorSelector) -> Frame:
        if selector.smoothed:
            around = selectors.surroundings(self._path)
            return extended.smooth(selector, self.steps, self.context, around)
        return self.collected(self._selected(selector))

    def collected(self, parts: Iterator[Frame]) -> Frame:
        """All parts as one, within what memory allows."""
        frames, cells = [Frame.empty(self.steps.count)], 0
        for part in parts:
            cells += part.present.size
            self.context.check_cells(cells)
            frames.append(part)
        return stacked(frames)

    def _selected(self, selector: tree.VectorSelector) -> Iterator[Frame]:
        around = selectors.surroundings(self._path)
        for sampled in selectors.sample_parts(selector, self.steps, self.context, around):
            frame = sampled.frame()
            self.context.hold(int(frame.present.sum()))
            yield frame

    def _subquery(self, node: tree.Subquery) -> RangeVector:
        ends = selectors.reference_times(node, self.steps, self.context)
        step = node.step_ms or self.context.options.subquery_step_ms
        # The first multiple of the step inside the left-open range.
        first = step * ((int(ends.min()) - node.range_ms) // step + 1)
        steps = Steps.between(first, int(ends.max()), step)
        self.context.check_cells(steps.count)
        inner = Evaluator(self.context, steps, self._path)
        frame = inner.vector(node.expr) if steps.count else Frame.empty(0)
        return ranges.from_frame(
            native.without_reset_hints(frame), steps.times, self.steps.times, ends, node.range_ms
        )

    def _unary(self, node: tree.Unary) -> Value:
        value = self.evaluate(node.expr)
        if node.op != "-":
            return value
        if isinstance(value, np.ndarray):
            return -value
        assert isinstance(value, Frame)
        negated = Frame(
            value.labels,
            -value.values,
            value.present,
            value.drop_name,
            native.negated(value.histograms),
        )
        delayed = self.context.options.delayed_name_removal
        renamed = negated.without_names(delayed)
        return renamed if delayed else renamed.merged()

    def _binary(self, node: tree.Binary) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            return operators.scalars(node.op, left, right)
        arithmetic = Arithmetic(node, self.context)
        if isinstance(left, Frame) and isinstance(right, np.ndarray):
            return arithmetic.with_scalar(left, right, swapped=False)
        if isinstance(left, np.ndarray) and isinstance(right, Frame):
            return arithmetic.with_scalar(right, left, swapped=True)
        assert isinstance(left, Frame) and isinstance(right, Frame) and node.matching is not None
        match node.op:
            case tree.BinaryOp.AND:
                return matching.both(left, right, node.matching)
            case tree.BinaryOp.OR:
                return matching.either(left, right, node.matching)
            case tree.BinaryOp.UNLESS:
                return matching.unless(left, right, node.matching)
        return arithmetic.between(left, right)

    def _aggregate(self, node: tree.Aggregate) -> Frame:
        if node.op is tree.AggregateOp.COUNT_VALUES:
            assert node.param is not None
            label = self.evaluate(tree.unwrap(node.param))
            assert isinstance(label, str)
            aggregation.check_label_name(label)
            return aggregation.count_values(node, self.vector(node.expr), label)
        if node.op in FOLDED:
            return self._fold(node)
        param = None if node.param is None else self.scalar(node.param)
        frame = self.vector(node.expr)
        match node.op:
            case (
                tree.AggregateOp.TOPK
                | tree.AggregateOp.BOTTOMK
                | tree.AggregateOp.LIMITK
                | tree.AggregateOp.LIMIT_RATIO
            ):
                assert param is not None
                return ranking.choose(node, frame, param, self.context)
            case tree.AggregateOp.QUANTILE:
                assert param is not None and node.param is not None
                aggregation.check_quantile(param, tree.unwrap(node.param).start, self.context)
        return aggregation.spread(node, frame, param, self.context)

    def _fold(self, node: tree.Aggregate) -> Frame:
        fold = Fold(node, self.steps.count, self.context)
        held = self.context.held
        for frame in self.stream(node.expr):
            fold.add(frame)
            self.context.held = held
        return fold.result()


def is_step_invariant(expr: tree.Expr) -> bool:
    """Whether an expression has the same value at every step: all its selectors have an ``@``."""
    match expr:
        case tree.VectorSelector():
            return expr.timestamp_ms is not None or expr.boundary is not None
        case tree.Subquery():
            return expr.timestamp_ms is not None or expr.boundary is not None
        case tree.Call():
            dependent = expr.function.name in _TIME_DEPENDENT
            return not dependent and all(map(is_step_invariant, expr.args))
        case tree.NumberLiteral() | tree.StringLiteral():
            return True
        case tree.Aggregate():  # its parameter has no say, as in Prometheus
            return is_step_invariant(expr.expr)
        case _:
            return all(map(is_step_invariant, tree.children(expr)))
