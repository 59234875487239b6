"""Arithmetic and comparison operators on instant vectors, numbers and histograms alike."""

from __future__ import annotations

import numpy as np

from . import annotations as notes
from . import native, operators
from .context import QueryContext
from .frame import Frame, filled
from .histogram import Histogram
from .matching import Combined, Matcher, Operands
from .source import BoolArray, Float64Array, ObjectArray
from .tree import Binary, BinaryOp

#: Histograms combined between two looks at the query's deadline.
_CHECKED_CELLS = 1000


class Arithmetic:
    """One binary expression of which at least one side is a vector."""

    def __init__(self, node: Binary, context: QueryContext) -> None:
        self._node = node
        self._op = node.op
        self._context = context
        self._delayed = context.options.delayed_name_removal

    def between(self, left: Frame, right: Frame) -> Frame:
        """Vector and vector."""
        return Matcher(self._node, self._combine, delayed_names=self._delayed)(left, right)

    def with_scalar(self, vector: Frame, scalar: Float64Array, *, swapped: bool) -> Frame:
        """Vector and scalar; ``swapped`` when the scalar stands on the left."""
        repeated = np.broadcast_to(scalar, vector.values.shape)
        if swapped:
            operands = Operands(repeated, vector.values, vector.present, None, vector.histograms)
        else:
            operands = Operands(vector.values, repeated, vector.present, vector.histograms, None)
        result = self._combine(operands)
        if swapped and self._op.is_comparison:  # the vector's value is kept, on either side
            result.values, result.histograms = vector.values, vector.histograms
        tried = vector.present if result.failed is None else vector.present & ~result.failed
        return self._with_scalar_result(vector, result, tried)

    def _with_scalar_result(self, vector: Frame, result: Combined, tried: BoolArray) -> Frame:
        if self._node.return_bool:
            frame = vector.with_values((result.keep & tried).astype(np.float64), tried)
        else:
            frame = Frame(
                vector.labels,
                result.values,
                result.keep & tried,
                vector.drop_name,
                result.histograms,
            )
        if operators.is_arithmetic(self._op) or self._node.return_bool:
            frame = frame.without_names(self._delayed)
            if not self._delayed:
                frame = frame.merged()
        return frame.pruned()

    def _combine(self, operands: Operands) -> Combined:
        if operands.left_histograms is None and operands.right_histograms is None:
            return self._combine_floats(operands)
        return self._combine_mixed(operands)

    def _combine_floats(self, operands: Operands) -> Combined:
        if self._op.is_trim:
            self._note_types("float", "float", operands.both)
            return Combined(operands.left, operands.both, failed=operands.both)
        if self._op.is_comparison:
            return Combined(
                operands.left, operators.compare(self._op, operands.left, operands.right)
            )
        values = operators.arithmetic(self._op, operands.left, operands.right)
        return Combined(values, operands.both)

    def _note_types(self, left: str, right: str, cells: BoolArray) -> None:
        if cells.any():
            text = notes.incompatible_types(left, self._op.value, right)
            self._context.annotations.info(text, self._node.start)

    def _combine_mixed(self, operands: Operands) -> Combined:
        shape = operands.left.shape
        left = _kinds(operands.left_histograms, shape)
        right = _kinds(operands.right_histograms, shape)
        both = operands.both
        floats = both & ~left & ~right
        result = self._combine_floats(Operands(operands.left, operands.right, floats))
        keep = result.keep & floats
        failed = np.zeros(shape, dtype=np.bool_) if result.failed is None else result.failed
        histograms: ObjectArray = np.full(shape, None, dtype=object)
        for number, (row, step) in enumerate(np.argwhere(both & ~floats).tolist()):
            if number % _CHECKED_CELLS == 0:
                self._context.check()
            cell = self._histogram_cell(
                operands.left_histograms[row, step] if left[row, step] else None,  # type: ignore[index]
                operands.right_histograms[row, step] if right[row, step] else None,  # type: ignore[index]
                float(operands.left[row, step]),
                float(operands.right[row, step]),
            )
            if cell is None:
                failed[row, step] = True
                continue
            histograms[row, step], keep[row, step] = cell
        values = np.where(floats, result.values, 0.0)
        return Combined(values, keep, failed, histograms)

    def _histogram_cell(
        self,
        left: Histogram | None,
        right: Histogram | None,
        left_value: float,
        right_value: float,
    ) -> tuple[Histogram, bool] | None:
        """The result and whether it is kept; None, and a note, where there can be none."""
        op, recorder = self._op, native.Recorder(self._context, self._node.start)
        if left is not None and right is not None:
            match op:
                case BinaryOp.ADD:
                    return recorder.binary(op.value, lambda: recorder.add(left, right))
                case BinaryOp.SUB:
                    return recorder.binary(op.value, lambda: recorder.subtract(left, right))
                case BinaryOp.EQUAL:
                    return left, native.equal(left, right)
                case BinaryOp.NOT_EQUAL:
                    return left, not native.equal(left, right)
        elif left is not None:
            match op:
                case BinaryOp.MUL:
                    return native.scaled(left, right_value), True
                case BinaryOp.DIV:
                    return native.divided(left, right_value), True
                case BinaryOp.TRIM_UPPER:
                    return native.trimmed(left, right_value, upper=True), True
                case BinaryOp.TRIM_LOWER:
                    return native.trimmed(left, right_value, upper=False), True
        elif right is not None and op is BinaryOp.MUL:
            return native.scaled(right, left_value), True
        text = notes.incompatible_types(
            "float" if left is None else "histogram",
            op.value,
            "float" if right is None else "histogram",
        )
        self._context.annotations.info(text, self._node.start)
        return None


def _kinds(histograms: ObjectArray | None, shape: tuple[int, ...]) -> BoolArray:
    if histograms is None:
        return np.zeros(shape, dtype=np.bool_)
    return filled(histograms)
