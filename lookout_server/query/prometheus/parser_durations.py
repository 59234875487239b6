"""Parses numbers, durations and the arithmetic on durations that brackets and offsets allow."""

from __future__ import annotations

from . import tree
from .duration import parse_duration
from .numbers import parse_number
from .stream import TokenStream
from .tokens import Kind

_EXPECTED = "number, duration, step(), or range()"
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 3}
_LOOSEST, _POWER = 1, 3
_LONGEST_S = 2**63 / 1e9  # what Go's nanoseconds can hold


def number_literal(stream: TokenStream) -> tree.NumberLiteral:
    """Consume a number or a duration; the latter counts in seconds."""
    token = stream.advance()
    is_duration = token.kind is Kind.DURATION
    try:
        value = parse_duration(token.text) / 1000 if is_duration else parse_number(token.text)
    except ValueError as error:
        prefix = "" if is_duration else "error parsing number: "
        stream.fail(f"{prefix}{error}", token.start)
    return tree.NumberLiteral(value, is_duration, token.start, token.end)


def signed_number(stream: TokenStream) -> float | None:
    """Consume an optionally signed number or duration; None if there is none."""
    sign = stream.advance().text if stream.at_sign() else "+"
    if not stream.at_number():
        return None
    value = number_literal(stream).value
    return -value if sign == "-" else value


class DurationParser:
    """Parses duration expressions."""

    def __init__(self, stream: TokenStream) -> None:
        self._stream = stream

    def positive(self) -> tree.DurationExpr:
        """A range or step; where it is a mere number, that must be positive."""
        expr = self._expression("subquery or range selector", _LOOSEST)
        if isinstance(expr, tree.NumberLiteral) and not expr.value > 0:
            self._stream.fail("duration must be greater than 0", expr.start)
        return expr

    def offset(self) -> tree.DurationExpr:
        """An offset. Without parentheses it ends before the first operator.

        ``foo offset -2 ^ 2`` is ``(foo offset -2) ^ 2``.
        """
        stream = self._stream
        if not stream.at_sign():
            opens = stream.at("(")
            return self._expression("offset", _LOOSEST) if opens else self._operand("offset")
        sign = stream.advance()
        return self._signed(sign.text, self._operand("offset"), sign.start)

    def _expression(self, context: str, loosest: int) -> tree.DurationExpr:
        stream = self._stream
        if stream.at_sign():
            sign = stream.advance()
            left = self._signed(sign.text, self._expression(context, _POWER), sign.start)
        else:
            left = self._operand(context)
        while stream.current.kind is Kind.OPERATOR:
            binding = _PRECEDENCE.get(stream.current.text, 0)
            if binding < loosest:
                break
            left = self._binary(context, left, binding)
        return left

    def _binary(self, context: str, left: tree.DurationExpr, binding: int) -> tree.DurationExpr:
        operator = self._stream.advance()
        right = self._expression(context, binding if binding == _POWER else binding + 1)
        if isinstance(right, tree.NumberLiteral) and right.value == 0:
            if operator.text == "/":
                self._stream.fail("division by zero", operator.start)
            if operator.text == "%":
                self._stream.fail("modulo by zero", operator.start)
        return tree.DurationBinary(operator.text, left, right, left.start, right.end)

    def _operand(self, context: str) -> tree.DurationExpr:
        stream = self._stream
        if stream.at_number():
            literal = number_literal(stream)
            return self._in_range(literal, literal.start)
        if stream.at("("):
            return self._parenthesized(context)
        if stream.current.kind is Kind.CONTEXT and stream.current.word not in ("start", "end"):
            return self._call(context)
        stream.unexpected(context, _EXPECTED)

    def _parenthesized(self, context: str) -> tree.DurationExpr:
        opening = self._stream.advance()
        inner = self._expression(context, _LOOSEST)
        self._stream.expect(")", context, _EXPECTED)
        return tree.DurationParen(inner, opening.start, self._stream.end)

    def _call(self, context: str) -> tree.DurationExpr:
        stream = self._stream
        name = stream.advance()
        stream.expect("(", context, _EXPECTED)
        args: tuple[tree.DurationExpr, ...] = ()
        if name.word in ("min_of", "max_of"):
            first = self._expression(context, _LOOSEST)
            stream.expect(",", context, _EXPECTED)
            args = (first, self._expression(context, _LOOSEST))
        stream.expect(")", context, _EXPECTED)
        return tree.DurationCall(name.word, args, name.start, stream.end)

    def _signed(self, sign: str, operand: tree.DurationExpr, start: int) -> tree.DurationExpr:
        if isinstance(operand, tree.NumberLiteral):
            value = -operand.value if sign == "-" else operand.value
            literal = tree.NumberLiteral(value, operand.is_duration, start, operand.end)
            return self._in_range(literal, start)
        return tree.DurationUnary(sign, operand, start, operand.end) if sign == "-" else operand

    def _in_range(self, literal: tree.NumberLiteral, start: int) -> tree.NumberLiteral:
        if not abs(literal.value) <= _LONGEST_S:  # NaN is no duration either
            self._stream.fail("duration out of range", start)
        return literal
