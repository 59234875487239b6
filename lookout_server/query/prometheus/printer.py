"""Writes a tree back as PromQL, on one line or prettily over several."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from . import tree
from .duration import format_duration
from .features import STABLE, Features
from .matchers import Matcher
from .numbers import format_float, format_go
from .parser import parse
from .quoting import quote

_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
#: Words that do not pass for a label name in a grouping clause.
_NEVER_LABELS = frozenset({"without", "inf", "nan"})
_WIDTH = 100
_INDENT = "  "


def format_query(query: str, features: Features = STABLE) -> str:
    """A query laid out by the rules of Prometheus' formatter. Comments are lost.

    Raises:
        ParseError: the query is not valid.
    """
    return prettify(parse(query, features))


def to_text(expr: tree.Expr | tree.DurationExpr) -> str:
    """The canonical text of a tree, on one line; parsing it gives the same tree."""
    match expr:
        case tree.NumberLiteral():
            return _number(expr)
        case tree.StringLiteral():
            return quote(expr.value)
        case tree.Paren() | tree.DurationParen():
            return f"({to_text(expr.expr)})"
        case tree.Unary():
            return f"{expr.op}{to_text(expr.expr)}"
        case tree.Binary():
            return f"{to_text(expr.left)} {_operator(expr)} {to_text(expr.right)}"
        case tree.VectorSelector():
            return _selector(expr) + _time(expr) + _extended(expr) + _offset(expr)
        case tree.MatrixSelector():
            return _matrix(expr)
        case tree.Subquery():
            return to_text(expr.expr) + _subquery_suffix(expr)
        case tree.Call():
            return f"{expr.function.name}({_joined(expr.args)})"
        case tree.Aggregate():
            return f"{_aggregation(expr)}({_joined(_aggregate_args(expr))})"
        case tree.StepInvariant():
            return to_text(expr.expr)
        case tree.DurationUnary():
            return f"{expr.op}{to_text(expr.operand)}"
        case tree.DurationBinary():
            return f"{to_text(expr.left)} {expr.op} {to_text(expr.right)}"
        case tree.DurationCall():
            return f"{expr.name}({_joined(expr.args)})"


def _joined(expressions: Iterable[tree.Expr | tree.DurationExpr]) -> str:
    return ", ".join(map(to_text, expressions))


def _number(literal: tree.NumberLiteral) -> str:
    if literal.is_duration:
        return format_duration(round(literal.value * 1000))
    return format_float(literal.value)


# ---------------------------------------------------------------------- selectors


def _selector(selector: tree.VectorSelector) -> str:
    """The metric name and the matchers, sorted."""
    matchers = selector.matchers[:-1] if selector.name else selector.matchers
    if not matchers:
        return selector.name or "{}"
    return f"{selector.name}{{{','.join(sorted(map(_matcher, matchers)))}}}"


def _matcher(matcher: Matcher) -> str:
    legacy = _LEGACY_LABEL.fullmatch(matcher.name)
    name = matcher.name if legacy else quote(matcher.name)
    return f"{name}{matcher.type}{quote(matcher.value)}"


def _matrix(expr: tree.MatrixSelector) -> str:
    selector = expr.selector
    span = _duration(expr.range_ms, expr.range_expr)
    modifiers = _extended(selector) + _time(selector) + _offset(selector)
    return f"{_selector(selector)}[{span}]{modifiers}"


def _subquery_suffix(expr: tree.Subquery) -> str:
    span = _duration(expr.range_ms, expr.range_expr)
    has_step = expr.step_ms or expr.step_expr is not None
    step = _duration(expr.step_ms, expr.step_expr) if has_step else ""
    return f"[{span}:{step}]{_time(expr)}{_offset(expr)}"


def _duration(milliseconds: int, expr: tree.DurationExpr | None) -> str:
    return format_duration(milliseconds) if expr is None else to_text(expr)


def _time(expr: tree.VectorSelector | tree.Subquery) -> str:
    if expr.timestamp_ms is not None:
        return f" @ {expr.timestamp_ms / 1000:.3f}"
    return "" if expr.boundary is None else f" @ {expr.boundary}()"


def _offset(expr: tree.VectorSelector | tree.Subquery) -> str:
    if expr.offset_expr is None and expr.offset_ms == 0:
        return ""
    return f" offset {_duration(expr.offset_ms, expr.offset_expr)}"


def _extended(selector: tree.VectorSelector) -> str:
    if selector.anchored:
        return " anchored"
    return " smoothed" if selector.smoothed else ""


# ---------------------------------------------------------------------- operators


def _operator(expr: tree.Binary) -> str:
    """The operator with its modifiers."""
    text = f"{expr.op} bool" if expr.return_bool else str(expr.op)
    return text + (_matching(expr.matching) if expr.matching else "")


def _matching(matching: tree.VectorMatching) -> str:
    text = ""
    grouped = _GROUPS.get(matching.cardinality)
    if matching.labels or matching.on or grouped:
        text += f" {'on' if matching.on else 'ignoring'} ({_labels(matching.labels)})"
    if grouped:
        text += f" {grouped} ({_labels(matching.include)})"
    return text + _fills(matching)


_GROUPS = {
    tree.Cardinality.MANY_TO_ONE: "group_left",
    tree.Cardinality.ONE_TO_MANY: "group_right",
}


def _fills(matching: tree.VectorMatching) -> str:
    left, right = matching.fill_left, matching.fill_right
    if left is not None and right is not None and _same(left, right):
        return f" fill ({format_go(left)})"
    sides = (("fill_left", left), ("fill_right", right))
    return "".join(f" {name} ({format_go(value)})" for name, value in sides if value is not None)


def _same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def _labels(labels: Iterable[str]) -> str:
    return ", ".join(map(_label, labels))


def _label(label: str) -> str:
    plain = _LEGACY_LABEL.fullmatch(label) and label.lower() not in _NEVER_LABELS
    return label if plain else quote(label)


def _aggregation(expr: tree.Aggregate) -> str:
    """The operator with its grouping."""
    if expr.without:
        return f"{expr.op} without ({_labels(expr.grouping)}) "
    if expr.grouping:
        return f"{expr.op} by ({_labels(expr.grouping)}) "
    return str(expr.op)


def _aggregate_args(expr: tree.Aggregate) -> tuple[tree.Expr, ...]:
    return (expr.expr,) if expr.param is None else (expr.param, expr.expr)


# ---------------------------------------------------------------------- pretty printing


def prettify(expr: tree.Expr, level: int = 0) -> str:
    """A tree over several lines: what is wider than 100 columns puts its operands on their own.

    Args:
        expr: the tree.
        level: how deep to indent it.
    """
    text, margin = to_text(expr), _INDENT * level
    if isinstance(expr, tree.Unary):
        return f"{margin}{expr.op}{prettify(expr.expr, level).strip()}"
    if len(text.encode("utf-8", "surrogateescape")) <= _WIDTH:
        return margin + text
    match expr:
        case tree.Aggregate():
            return _block(_aggregation(expr), _aggregate_args(expr), level)
        case tree.Call():
            return _block(expr.function.name, expr.args, level)
        case tree.Paren():
            return _block("", (expr.expr,), level)
        case tree.Binary():
            left, right = prettify(expr.left, level + 1), prettify(expr.right, level + 1)
            return f"{left}\n{margin}{_operator(expr)}\n{right}"
        case tree.Subquery():
            return prettify(expr.expr, level) + _subquery_suffix(expr)
    return margin + text


def _block(opening: str, args: tuple[tree.Expr, ...], level: int) -> str:
    margin = _INDENT * level
    body = ",\n".join(prettify(arg, level + 1) for arg in args)
    return f"{margin}{opening}(\n{body}\n{margin})"
