"""A tree as the ``parse_query`` endpoint of the HTTP API shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import tree
from .matchers import Matcher
from .numbers import format_float


def to_json(expr: tree.Expr | None) -> dict[str, Any] | None:
    """The nodes as nested objects; a missing one is None."""
    match expr:
        case None:
            return None
        case tree.NumberLiteral():
            return {"type": "numberLiteral", "val": format_float(expr.value)}
        case tree.StringLiteral():
            return {"type": "stringLiteral", "val": expr.value}
        case tree.Paren():
            return {"type": "parenExpr", "expr": to_json(expr.expr)}
        case tree.Unary():
            return {"type": "unaryExpr", "op": expr.op, "expr": to_json(expr.expr)}
        case tree.Binary():
            return _binary(expr)
        case tree.VectorSelector():
            return {"type": "vectorSelector", **_selector(expr)}
        case tree.MatrixSelector():
            selector = _selector(expr.selector)
            return {"type": "matrixSelector", "range": expr.range_ms, **selector}
        case tree.Subquery():
            return _subquery(expr)
        case tree.Call():
            return _call(expr)
        case tree.Aggregate():
            return _aggregation(expr)
        case tree.StepInvariant():
            return to_json(expr.expr)


def _selector(selector: tree.VectorSelector) -> dict[str, Any]:
    return {
        "name": selector.name,
        "matchers": _matchers(selector.matchers),
        "anchored": selector.anchored,
        "smoothed": selector.smoothed,
        **_modifiers(selector),
    }


def _matchers(matchers: Iterable[Matcher]) -> list[dict[str, str]]:
    return [{"name": m.name, "value": m.value, "type": m.type.value} for m in matchers]


def _modifiers(expr: tree.VectorSelector | tree.Subquery) -> dict[str, Any]:
    return {
        "offset": expr.offset_ms,
        "timestamp": expr.timestamp_ms,
        "startOrEnd": None if expr.boundary is None else expr.boundary.value,
    }


def _subquery(expr: tree.Subquery) -> dict[str, Any]:
    return {
        "type": "subquery",
        "expr": to_json(expr.expr),
        "range": expr.range_ms,
        "step": expr.step_ms,
        **_modifiers(expr),
    }


def _call(expr: tree.Call) -> dict[str, Any]:
    function = expr.function
    return {
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": [argument.value for argument in function.arguments],
            "variadic": function.variadic,
            "returnType": function.returns.value,
        },
        "args": [to_json(arg) for arg in expr.args],
    }


def _aggregation(expr: tree.Aggregate) -> dict[str, Any]:
    return {
        "type": "aggregation",
        "op": expr.op.value,
        "expr": to_json(expr.expr),
        "param": to_json(expr.param),
        "grouping": list(expr.grouping),
        "without": expr.without,
    }


def _binary(expr: tree.Binary) -> dict[str, Any]:
    return {
        "type": "binaryExpr",
        "op": expr.op.value,
        "lhs": to_json(expr.left),
        "rhs": to_json(expr.right),
        "matching": None if expr.matching is None else _matching(expr.matching),
        "bool": expr.return_bool,
    }


def _matching(matching: tree.VectorMatching) -> dict[str, Any]:
    return {
        "card": matching.cardinality.value,
        "labels": list(matching.labels),
        "on": matching.on,
        "include": list(matching.include),
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    }
