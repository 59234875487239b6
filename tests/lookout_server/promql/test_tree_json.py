"""The tree as the HTTP API shows it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from lookout_server.query.prometheus.parser import ALL, parse
from lookout_server.query.prometheus.tree_json import to_json

SELECTOR = {
    "type": "vectorSelector",
    "name": "a",
    "matchers": [{"name": "__name__", "value": "a", "type": "="}],
    "offset": 0,
    "timestamp": None,
    "startOrEnd": None,
    "anchored": False,
    "smoothed": False,
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("1e3", {"type": "numberLiteral", "val": "1000"}),
        ("'x'", {"type": "stringLiteral", "val": "x"}),
        ("(a)", {"type": "parenExpr", "expr": SELECTOR}),
        ("-a", {"type": "unaryExpr", "op": "-", "expr": SELECTOR}),
        ("a offset 1m @ 2", {**SELECTOR, "offset": 60_000, "timestamp": 2000}),
        ("a @ start()", {**SELECTOR, "startOrEnd": "start"}),
        ("a[5m]", {**SELECTOR, "type": "matrixSelector", "range": 300_000}),
        (
            "a[5m:1m]",
            {
                "type": "subquery",
                "expr": SELECTOR,
                "range": 300_000,
                "step": 60_000,
                "offset": 0,
                "timestamp": None,
                "startOrEnd": None,
            },
        ),
        (
            "floor(a)",
            {
                "type": "call",
                "func": {
                    "name": "floor",
                    "argTypes": ["vector"],
                    "variadic": 0,
                    "returnType": "vector",
                },
                "args": [SELECTOR],
            },
        ),
        (
            "topk by (x) (1, a)",
            {
                "type": "aggregation",
                "op": "topk",
                "expr": SELECTOR,
                "param": {"type": "numberLiteral", "val": "1"},
                "grouping": ["x"],
                "without": False,
            },
        ),
        (
            "a > bool on (x) group_left (y) fill_left (3) a",
            {
                "type": "binaryExpr",
                "op": ">",
                "lhs": SELECTOR,
                "rhs": SELECTOR,
                "matching": {
                    "card": "many-to-one",
                    "labels": ["x"],
                    "on": True,
                    "include": ["y"],
                    "fillValues": {"lhs": 3.0, "rhs": None},
                },
                "bool": True,
            },
        ),
    ],
)
def test_every_kind_of_node_has_its_object(query: str, expected: dict[str, Any]) -> None:
    """Field names and values are those of Prometheus' endpoint."""
    assert to_json(parse(query, ALL)) == expected


def test_scalars_need_no_matching() -> None:
    """A binary operation of scalars says so."""
    shown = to_json(parse("1 + 2"))
    assert shown is not None
    assert shown["matching"] is None


def test_the_object_is_json() -> None:
    """The server can send it as it is."""
    query = "sum without (x) (rate(a{b=~'c'}[5m] offset 1d)) / ignoring (y) b or vector(1)"
    assert orjson.loads(orjson.dumps(to_json(parse(query)))) == to_json(parse(query))
