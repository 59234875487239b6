"""Binary operators on numbers, for whole arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import ExecutionError
from .quoting import quote
from .source import BoolArray, Float64Array
from .tree import BinaryOp

_ARITHMETIC: dict[BinaryOp, Callable[..., Float64Array]] = {
    BinaryOp.ADD: np.add,
    BinaryOp.SUB: np.subtract,
    BinaryOp.MUL: np.multiply,
    BinaryOp.DIV: np.divide,
    BinaryOp.MOD: np.fmod,
    BinaryOp.POW: np.power,
    BinaryOp.ATAN2: np.arctan2,
}
_COMPARISON: dict[BinaryOp, Callable[..., BoolArray]] = {
    BinaryOp.EQUAL: np.equal,
    BinaryOp.NOT_EQUAL: np.not_equal,
    BinaryOp.LESS: np.less,
    BinaryOp.GREATER: np.greater,
    BinaryOp.LESS_EQUAL: np.less_equal,
    BinaryOp.GREATER_EQUAL: np.greater_equal,
}


def is_arithmetic(op: BinaryOp) -> bool:
    """Whether an operator makes a new quantity of its operands, so that a name no longer fits."""
    return op in _ARITHMETIC


def arithmetic(op: BinaryOp, left: Float64Array, right: Float64Array) -> Float64Array:
    """``left op right`` by IEEE 754: no operation fails."""
    with np.errstate(all="ignore"):
        return _ARITHMETIC[op](left, right)


def compare(op: BinaryOp, left: Float64Array, right: Float64Array) -> BoolArray:
    """Where the comparison holds; with NaN only ``!=`` does."""
    with np.errstate(invalid="ignore"):
        return _COMPARISON[op](left, right)


def scalars(op: BinaryOp, left: Float64Array, right: Float64Array) -> Float64Array:
    """Scalar operation: a comparison gives 0 or 1. Raises ExecutionError where there is none."""
    if op.is_comparison:
        return compare(op, left, right).astype(np.float64)
    if op not in _ARITHMETIC:
        raise ExecutionError(f"operator {quote(op)} not allowed for Scalar operations")
    return arithmetic(op, left, right)
