"""Printing and parsing are inverse."""

from __future__ import annotations

from hypothesis import given

from lookout_server.query.prometheus.parser import ALL, STABLE, parse
from lookout_server.query.prometheus.printer import prettify, to_text

from .grammar import queries
from .properties import THOROUGH
from .trees import without_positions


@THOROUGH
@given(queries())
def test_a_printed_tree_parses_to_the_same_tree(query: str) -> None:
    """What the printer writes means what the query meant, experimental syntax included."""
    expr = parse(query, ALL)
    assert without_positions(parse(to_text(expr), ALL)) == without_positions(expr)


@THOROUGH
@given(queries())
def test_the_canonical_text_is_a_fixed_point(query: str) -> None:
    """Printing what was printed changes nothing."""
    text = to_text(parse(query, ALL))
    assert to_text(parse(text, ALL)) == text


@THOROUGH
@given(queries(depth=4))
def test_a_pretty_tree_parses_to_the_same_tree(query: str) -> None:
    """Formatting a query never changes its meaning."""
    expr = parse(query, ALL)
    assert without_positions(parse(prettify(expr), ALL)) == without_positions(expr)


@THOROUGH
@given(queries(features=STABLE))
def test_stable_queries_need_no_feature(query: str) -> None:
    """The generator's stable part is accepted by a stock server."""
    parse(query, STABLE)
