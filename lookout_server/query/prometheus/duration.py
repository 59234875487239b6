"""Durations such as ``1h30m`` and arithmetic on them.

Source: "Time durations" in the PromQL documentation; `model.ParseDuration` for the messages.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from . import tree
from .quoting import quote

_MILLISECONDS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_PART = re.compile(r"([0-9]+)([^0-9]+)")
_LONGEST_MS = (2**63 - 1) // 1_000_000
#: Units that are only used when nothing would remain for smaller ones.
_WHOLE_ONLY = frozenset({"y", "w", "d"})


def parse_duration(text: str) -> int:
    """The milliseconds of a duration.

    Raises:
        ValueError: the text is no duration, with Prometheus' message.
    """
    if not text:
        raise ValueError("empty duration string")
    if text == "0":
        return 0
    parts = _PART.findall(text)
    if "".join(map("".join, parts)) != text:
        raise ValueError(f"not a valid duration string: {quote(text)}")
    total, smallest = 0, _LONGEST_MS
    for amount, unit in parts:
        size = _MILLISECONDS.get(unit)
        if size is None:
            raise ValueError(f"unknown unit {quote(unit)} in duration {quote(text)}")
        if size >= smallest:  # units must go from the biggest to the smallest
            raise ValueError(f"not a valid duration string: {quote(text)}")
        total, smallest = total + int(amount) * size, size
    if total > _LONGEST_MS:
        raise ValueError("duration out of range")
    return total


def format_duration(milliseconds: int) -> str:
    """The shortest duration literal; years, weeks and days only where they divide evenly."""
    if milliseconds == 0:
        return "0s"
    text, rest = "-" if milliseconds < 0 else "", abs(milliseconds)
    for unit, size in _MILLISECONDS.items():
        if unit in _WHOLE_ONLY and rest % size:
            continue
        amount, rest = divmod(rest, size)
        text += f"{amount}{unit}" if amount else ""
    return text


def from_seconds(seconds: float) -> int:
    """Milliseconds of a number of seconds; what is smaller than a millisecond is cut off."""
    return math.trunc(round(seconds * 1e9) / 1e6)


class DurationError(ValueError):
    """A duration expression without a meaningful value; the text begins with its place."""

    def __init__(self, reason: str, expr: tree.DurationExpr) -> None:
        super().__init__(f"{expr.start}:{expr.end}: {reason}")
        self.reason = reason
        self.start = expr.start


def resolve(expr: tree.Expr, step_ms: int, range_ms: int) -> tree.Expr:
    """A tree in which every duration expression has been evaluated.

    Args:
        expr: the tree as parsed.
        step_ms: what ``step()`` stands for (0 in an instant query).
        range_ms: what ``range()`` stands for, the time between start and end of the query.

    Raises:
        DurationError: a range or step is not positive, or a division by zero.
    """
    return _Resolver(step_ms / 1000, range_ms / 1000).visit(expr)


class _Resolver:
    def __init__(self, step_s: float, range_s: float) -> None:
        self._named = {"step": step_s, "range": range_s}

    def visit(self, expr: tree.Expr) -> tree.Expr:
        match expr:
            case tree.VectorSelector(offset_expr=offset) if offset is not None:
                return replace(expr, offset_ms=self._any(offset))
            case tree.MatrixSelector():
                return self._matrix(expr)
            case tree.Subquery():
                return self._subquery(expr)
            case tree.Binary():
                return replace(expr, left=self.visit(expr.left), right=self.visit(expr.right))
            case tree.Call():
                return replace(expr, args=tuple(map(self.visit, expr.args)))
            case tree.Aggregate():
                param = None if expr.param is None else self.visit(expr.param)
                return replace(expr, expr=self.visit(expr.expr), param=param)
            case tree.Paren() | tree.Unary() | tree.StepInvariant():
                return replace(expr, expr=self.visit(expr.expr))
        return expr

    def _matrix(self, expr: tree.MatrixSelector) -> tree.MatrixSelector:
        selector = self.visit(expr.selector)
        assert isinstance(selector, tree.VectorSelector)
        range_ms = self._positive(expr.range_expr) if expr.range_expr else expr.range_ms
        return replace(expr, selector=selector, range_ms=range_ms)

    def _subquery(self, expr: tree.Subquery) -> tree.Subquery:
        return replace(
            expr,
            expr=self.visit(expr.expr),
            range_ms=self._positive(expr.range_expr) if expr.range_expr else expr.range_ms,
            step_ms=self._positive(expr.step_expr) if expr.step_expr else expr.step_ms,
            offset_ms=self._any(expr.offset_expr) if expr.offset_expr else expr.offset_ms,
        )

    def _positive(self, expr: tree.DurationExpr) -> int:
        seconds = self._seconds(expr)
        if seconds <= 0:
            raise DurationError("duration must be greater than 0", expr)
        return self._checked(seconds, expr)

    def _any(self, expr: tree.DurationExpr) -> int:
        return self._checked(self._seconds(expr), expr)

    def _checked(self, seconds: float, expr: tree.DurationExpr) -> int:
        if math.isnan(seconds) or abs(seconds) > _LONGEST_MS / 1000:
            raise DurationError("duration is out of range", expr)
        return from_seconds(seconds)

    def _seconds(self, expr: tree.DurationExpr) -> float:
        match expr:
            case tree.NumberLiteral():
                return expr.value
            case tree.DurationParen():
                return self._seconds(expr.expr)
            case tree.DurationUnary():
                return -self._seconds(expr.operand)
            case tree.DurationCall(name="min_of"):
                return min(map(self._seconds, expr.args))
            case tree.DurationCall(name="max_of"):
                return max(map(self._seconds, expr.args))
            case tree.DurationCall():
                return self._named[expr.name]
            case tree.DurationBinary():
                return self._arithmetic(expr)

    def _arithmetic(self, expr: tree.DurationBinary) -> float:
        left, right = self._seconds(expr.left), self._seconds(expr.right)
        match expr.op:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "^":
                return _power(left, right)
            case "/" if right == 0:
                raise DurationError("division by zero", expr)
            case "/":
                return left / right
            case _ if right == 0:
                raise DurationError("modulo by zero", expr)
        return math.fmod(left, right)


def _power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):
        return math.nan
