"""Parses what follows an operand or an operator.

After an operand: ``[range]``, ``[range:step]``, ``offset``, ``@``, ``anchored``, ``smoothed``.
After a binary operator: ``bool``, ``on``, ``ignoring``, ``group_*`` and ``fill*``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from . import tree
from .duration import from_seconds
from .features import Features
from .parser_durations import DurationParser, signed_number
from .parser_selectors import begins_expression, unquote_token
from .quoting import quote
from .stream import TokenStream
from .tokens import FILL_WORDS, LABEL_WORDS, Kind, Token

_GROUPING = "grouping opts"
_STEP = 'number, duration, step(), range(), or "]"'
_LARGEST_TIMESTAMP = float(2**63)
_CARDINALITIES = {
    "group_left": tree.Cardinality.MANY_TO_ONE,
    "group_right": tree.Cardinality.ONE_TO_MANY,
}
_SELECTED = "an instant vector selector or range vector selector or a subquery"


class ModifierParser:
    """Parses modifiers and applies them to what they modify."""

    def __init__(self, stream: TokenStream, features: Features, durations: DurationParser) -> None:
        self._stream = stream
        self._features = features
        self._durations = durations

    # ------------------------------------------------------------------ after an operand

    def apply(self, expr: tree.Expr) -> tree.Expr:
        """An operand with all the modifiers that follow it."""
        stream = self._stream
        while True:
            if stream.at("["):
                expr = self._range(expr)
            elif stream.at_keyword("offset"):
                stream.advance()
                expr = self._offset(expr)
            elif stream.at("@"):
                stream.advance()
                expr = self._at(expr)
            elif stream.at_keyword("anchored", "smoothed"):
                expr = self._extended(expr, stream.advance())
            else:
                return expr

    def _range(self, expr: tree.Expr) -> tree.Expr:
        stream = self._stream
        opening = stream.advance()
        span = self._durations.positive()
        if stream.accept(":"):
            return self._subquery(expr, span)
        stream.expect("]", "subquery or range", '":" or "]"')
        if not isinstance(expr, tree.VectorSelector):
            stream.fail("ranges only allowed for vector selectors", opening.start)
        if _has_offset(expr):
            stream.fail("no offset modifiers allowed before range", opening.start)
        if _has_time(expr):
            stream.fail("no @ modifiers allowed before range", opening.start)
        range_ms, range_expr = _duration_fields(span)
        return tree.MatrixSelector(expr, range_ms, range_expr, expr.start, stream.end)

    def _subquery(self, expr: tree.Expr, span: tree.DurationExpr) -> tree.Subquery:
        stream = self._stream
        step: tree.DurationExpr | None = None
        if self._at_duration():
            step = self._durations.positive()
        elif not stream.at("]"):
            stream.unexpected("subquery selector", _STEP)
        stream.expect("]", "subquery selector", '"]"')
        range_ms, range_expr = _duration_fields(span)
        step_ms, step_expr = _duration_fields(step)
        return tree.Subquery(
            expr=expr,
            range_ms=range_ms,
            range_expr=range_expr,
            step_ms=step_ms,
            step_expr=step_expr,
            offset_ms=0,
            offset_expr=None,
            timestamp_ms=None,
            boundary=None,
            start=expr.start,
            end=stream.end,
        )

    def _at_duration(self) -> bool:
        stream = self._stream
        signed = stream.at_sign() or stream.at("(")
        return stream.at_number() or signed or stream.current.kind is Kind.CONTEXT

    def _offset(self, expr: tree.Expr) -> tree.Expr:
        offset = self._durations.offset()
        target = self._target(expr, "offset modifier")
        if _has_offset(target):
            self._stream.fail("offset may not be set multiple times", expr.start)
        offset_ms, offset_expr = _duration_fields(offset)
        return self._modified(expr, offset_ms=offset_ms, offset_expr=offset_expr)

    def _at(self, expr: tree.Expr) -> tree.Expr:
        stream = self._stream
        token = stream.current
        if token.kind is Kind.CONTEXT and token.word in ("start", "end"):
            stream.advance()
            stream.expect("(", "@", "timestamp")
            stream.expect(")", "@", "timestamp")
            self._require_no_time(expr)
            return self._modified(expr, boundary=tree.Boundary(token.word))
        seconds = signed_number(stream)
        if seconds is None:
            stream.unexpected("@", "timestamp")
        if math.isnan(seconds) or abs(seconds) >= _LARGEST_TIMESTAMP:
            stream.fail(f"timestamp out of bounds for @ modifier: {_fixed(seconds)}", expr.start)
        self._require_no_time(expr)
        return self._modified(expr, timestamp_ms=_round_half_away(seconds * 1000))

    def _require_no_time(self, expr: tree.Expr) -> None:
        if _has_time(self._target(expr, "@ modifier")):
            self._stream.fail("@ <timestamp> may not be set multiple times", expr.start)

    def _target(self, expr: tree.Expr, what: str) -> tree.VectorSelector | tree.Subquery:
        """The node that carries the offset and the time of an expression."""
        if isinstance(expr, tree.MatrixSelector):
            return expr.selector
        if not isinstance(expr, tree.VectorSelector | tree.Subquery):
            self._stream.fail(f"{what} must be preceded by {_SELECTED}", expr.start)
        return expr

    def _modified(self, expr: tree.Expr, **changes: Any) -> tree.Expr:
        """A selector or subquery with some fields of its `_target` changed."""
        end = self._stream.end
        if isinstance(expr, tree.MatrixSelector):
            return replace(expr, selector=replace(expr.selector, **changes), end=end)
        assert isinstance(expr, tree.VectorSelector | tree.Subquery)
        return replace(expr, end=end, **changes)

    def _extended(self, expr: tree.Expr, keyword: Token) -> tree.Expr:
        """``anchored`` or ``smoothed``."""
        fail, modifier = self._stream.fail, keyword.word
        if not self._features.extended_range_selectors:
            fail(f"{modifier} modifier is experimental and not enabled", expr.start)
        if isinstance(expr, tree.Subquery):
            fail(f"{modifier} modifier is not supported for subqueries", expr.start)
        if not isinstance(expr, tree.VectorSelector | tree.MatrixSelector):
            fail(f"{modifier} modifier not implemented", expr.start)
        changed = self._modified(expr, **{modifier: True})
        selector = changed.selector if isinstance(changed, tree.MatrixSelector) else changed
        assert isinstance(selector, tree.VectorSelector)
        if selector.anchored and selector.smoothed:
            fail("anchored and smoothed modifiers cannot be used together", expr.start)
        return changed

    # ------------------------------------------------------------------ after an operator

    def matching(self) -> tuple[bool, tree.VectorMatching]:
        """Whether ``bool`` is set, and how the sides find each other."""
        stream = self._stream
        return_bool = stream.at_keyword("bool")
        if return_bool:
            stream.advance()
        matching = tree.VectorMatching()
        if stream.at_keyword("on", "ignoring"):
            matching = self._on_or_ignoring()
        left, right = self._fills()
        return return_bool, replace(matching, fill_left=left, fill_right=right)

    def _on_or_ignoring(self) -> tree.VectorMatching:
        stream = self._stream
        on = stream.advance().word == "on"
        labels = self.grouping_labels()
        if not stream.at_keyword(*_CARDINALITIES):
            return tree.VectorMatching(labels=labels, on=on)
        cardinality = _CARDINALITIES[stream.advance().word]
        follows = begins_expression(stream) or stream.at_keyword(*FILL_WORDS)
        omitted = follows and not stream.at("(")
        include = () if omitted else self.grouping_labels()
        return tree.VectorMatching(cardinality, labels, on, include)

    def _fills(self) -> tuple[float | None, float | None]:
        """The fill values: one for both sides, or one for each in either order."""
        stream = self._stream
        if stream.at_keyword("fill"):
            stream.advance()
            value = self._fill_value()
            return value, value
        fills: dict[str, float] = {}
        while stream.at_keyword("fill_left", "fill_right") and stream.current.word not in fills:
            side = stream.advance().word
            fills[side] = self._fill_value()
        return fills.get("fill_left"), fills.get("fill_right")

    def _fill_value(self) -> float:
        self._stream.expect("(")
        value = signed_number(self._stream)
        if value is None:
            self._stream.unexpected()
        self._stream.expect(")")
        return value

    def grouping_labels(self) -> tuple[str, ...]:
        """Label names between parentheses."""
        stream = self._stream
        stream.expect("(", _GROUPING, '"("')
        labels: list[str] = []
        while not stream.at(")"):
            labels.append(self._grouping_label())
            if not stream.accept(",") and not stream.at(")"):
                stream.unexpected(_GROUPING, '"," or ")"')
        stream.advance()
        return tuple(labels)

    def _grouping_label(self) -> str:
        stream = self._stream
        token = stream.current
        if token.kind is Kind.STRING:
            label = unquote_token(stream)
            if not _is_label_name(label):
                stream.fail(f"invalid label name for grouping: {quote(label)}", token.start)
            return label
        plain = token.kind in (Kind.IDENTIFIER, Kind.METRIC_IDENTIFIER)
        if not plain and not (token.kind in _WORDS and token.word in LABEL_WORDS):
            stream.unexpected(_GROUPING, "label")
        return stream.advance().text


_WORDS = frozenset({Kind.AGGREGATOR, Kind.KEYWORD, Kind.CONTEXT, Kind.OPERATOR})


def _is_label_name(name: str) -> bool:
    """Any UTF-8 text but the empty one may name a label."""
    return bool(name) and not any("\udc80" <= char <= "\udcff" for char in name)


def _has_offset(target: tree.VectorSelector | tree.Subquery) -> bool:
    return target.offset_ms != 0 or target.offset_expr is not None


def _has_time(target: tree.VectorSelector | tree.Subquery) -> bool:
    return target.timestamp_ms is not None or target.boundary is not None


def _duration_fields(
    expr: tree.DurationExpr | None,
) -> tuple[int, tree.DurationExpr | None]:
    """The milliseconds where they are known already, and what else there is to evaluate."""
    if isinstance(expr, tree.NumberLiteral):
        return from_seconds(expr.value), None
    return 0, expr


def _round_half_away(value: float) -> int:
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def _fixed(value: float) -> str:
    """A number as Go's ``%f`` prints it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:f}"
