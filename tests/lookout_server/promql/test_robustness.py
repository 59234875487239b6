"""Whatever is sent as a query is parsed or refused, never anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus import tree
from lookout_server.query.prometheus.parser import ALL, ParseError, parse, parse_selector
from lookout_server.query.prometheus.printer import prettify, to_text
from lookout_server.query.prometheus.tree_json import to_json

from .grammar import queries
from .properties import THOROUGH

_PIECES = (
    *"()[]{},:=+-*/%^<>!~@#.\"'`\\ \n0_e",
    *("==", "=~", "</", "offset", "by", "on", "group_left", "bool", "sum", "rate", "start()"),
    *("5m", "0x", "1e", "inf", "up", "a:b", '"x"', "step()", "min_of", "anchored", "fill", "é"),
)


def parses(text: str) -> tree.Expr | None:
    try:
        return parse(text, ALL)
    except ParseError as error:
        assert 0 <= error.start <= len(text)
        return None


@THOROUGH
@given(st.lists(st.sampled_from(_PIECES), max_size=15).map("".join))
def test_fragments_of_queries_do_no_harm(text: str) -> None:
    """A parse error is the only error, and its place is in the query."""
    expr = parses(text)
    if expr is not None:
        assert to_text(parse(to_text(expr), ALL)) == to_text(expr)
        assert to_json(expr) is not None


@THOROUGH
@given(st.text())
def test_any_text_does_no_harm(text: str) -> None:
    """So for texts that are nothing like queries, and for selectors."""
    parses(text)
    try:
        parse_selector(text)
    except ParseError as error:
        assert str(error)


@THOROUGH
@given(queries(), st.data())
def test_a_damaged_query_does_no_harm(query: str, data: st.DataObject) -> None:
    """So for queries with a part missing."""
    start = data.draw(st.integers(0, len(query)))
    end = data.draw(st.integers(start, len(query)))
    expr = parses(query[:start] + query[end:])
    if expr is not None:
        prettify(expr)
