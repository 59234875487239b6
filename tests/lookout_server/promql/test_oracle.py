"""Another parser of PromQL agrees about stable queries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given

from lookout_server.query.prometheus import tree
from lookout_server.query.prometheus.parser import STABLE, parse

from .grammar import Vocabulary, queries
from .properties import THOROUGH

promql_parser = pytest.importorskip("promql_parser")

#: What the other parser does not know: underscores in numbers, trim operators, raw bytes.
WORDS = Vocabulary(
    numbers=("0", "1", "2.5", "1e3", "0x1F", "5m"),
    strings=("", "x", "$1"),
    labels={"job": ("api", "db"), "le": ("0.5",)},
    metrics=("up", "a:b", "http_requests_total"),
    duration_arithmetic=False,  # newer than the other parser
)
_NEWER = (tree.BinaryOp.TRIM_LOWER, tree.BinaryOp.TRIM_UPPER)


def ours(expr: tree.Expr) -> Any:
    match expr:
        case tree.Binary():
            return str(expr.op), ours(expr.left), ours(expr.right)
        case tree.Aggregate():
            param = None if expr.param is None else ours(expr.param)
            return str(expr.op), param, ours(expr.expr)
        case tree.Call():
            return expr.function.name, *map(ours, expr.args)
        case tree.Unary():
            return ours(expr.expr) if expr.op == "+" else ("-", ours(expr.expr))
        case tree.Paren():
            return "()", ours(expr.expr)
        case tree.Subquery():
            return "[:]", ours(expr.expr)
        case tree.MatrixSelector():
            return "[]", expr.selector.name
        case tree.VectorSelector():
            return "{}", expr.name
        case tree.NumberLiteral() | tree.StringLiteral():
            return expr.value
    raise AssertionError(expr)


def theirs(expr: Any) -> Any:
    match type(expr).__name__:
        case "BinaryExpr":
            return str(expr.op), theirs(expr.lhs), theirs(expr.rhs)
        case "AggregateExpr":
            param = None if expr.param is None else theirs(expr.param)
            return str(expr.op), param, theirs(expr.expr)
        case "Call":
            return expr.func.name, *map(theirs, expr.args)
        case "UnaryExpr":
            return "-", theirs(expr.expr)
        case "ParenExpr":
            return "()", theirs(expr.expr)
        case "SubqueryExpr":
            return "[:]", theirs(expr.expr)
        case "MatrixSelector":
            return "[]", expr.vector_selector.name or ""
        case "VectorSelector":
            return "{}", expr.name or ""
    return expr.val


@THOROUGH
@given(queries(words=WORDS, features=STABLE))
def test_both_parsers_build_the_same_tree(query: str) -> None:
    """Structure, operands and literals are the same; only what is newer may differ."""
    expr = parse(query, STABLE)
    binaries = [node for node in tree.walk(expr) if isinstance(node, tree.Binary)]
    assume(all(node.op not in _NEWER for node in binaries))
    assert theirs(promql_parser.parse(query)) == ours(expr)
