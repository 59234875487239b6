"""Durations and arithmetic on them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus import tree
from lookout_server.query.prometheus.duration import (
    DurationError,
    format_duration,
    parse_duration,
    resolve,
)
from lookout_server.query.prometheus.parser import ALL, parse

from .properties import PROPERTY


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0", 0), ("1ms", 1), ("90s", 90_000), ("1h30m", 5_400_000), ("1w1d1h", 694_800_000)],
)
def test_a_duration_is_a_sum_of_units(text: str, milliseconds: int) -> None:
    """Units go from the biggest to the smallest."""
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "5", "m5", "1m1h", "1m1m", "1.5h", "1x", "300y", "1 h"])
def test_other_texts_are_no_durations(text: str) -> None:
    """What is no duration is refused, not guessed at."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@PROPERTY
@given(st.integers(0, 2**63 // 1_000_000))
def test_a_formatted_duration_parses_back(milliseconds: int) -> None:
    """Formatting loses nothing."""
    assert parse_duration(format_duration(milliseconds)) == milliseconds


def range_of(query: str, *, step_ms: int = 15_000, range_ms: int = 3_600_000) -> int:
    expr = resolve(parse(query, ALL), step_ms, range_ms)
    assert isinstance(expr, tree.MatrixSelector)
    return expr.range_ms


@pytest.mark.parametrize(
    ("duration", "milliseconds"),
    [
        ("5m + 30s", 330_000),
        ("2 * 1h", 7_200_000),
        ("1h / 2", 1_800_000),
        ("1h30m % 1h", 1_800_000),
        ("2 ^ 3 ^ 2", 512_000),
        ("-2 ^ 2 + 10", 6_000),
        ("-5m + 35m", 1_800_000),
        ("10 - 5 - 2", 3_000),
        ("2 * (3 + 4)", 14_000),
        ("step()", 15_000),
        ("STEP() * 4", 60_000),
        ("range() / 2", 1_800_000),
        ("max_of(step(), 1m)", 60_000),
        ("min_of(step(), 1m)", 15_000),
        ("0.5 * 3", 1_500),
    ],
)
def test_arithmetic_counts_in_seconds(duration: str, milliseconds: int) -> None:
    """Plain numbers are seconds; ``step()`` and ``range()`` are those of the query."""
    assert range_of(f"x[{duration}]") == milliseconds


@pytest.mark.parametrize(
    ("query", "offset"),
    [
        ("x offset (1m + 1m)", 120_000),
        ("x offset -(1m * 2)", -120_000),
        ("x offset step()", 15_000),
        ("x offset -min_of(step(), 1s)", -1_000),
        ("x offset (-2 ^ 2)", -4_000),
    ],
)
def test_offsets_may_be_computed(query: str, offset: int) -> None:
    """An offset's arithmetic stands in parentheses."""
    expr = resolve(parse(query, ALL), 15_000, 0)
    assert isinstance(expr, tree.VectorSelector)
    assert expr.offset_ms == offset


def test_an_offset_without_parentheses_ends_at_the_operator() -> None:
    """``x offset 2 ^ 2`` squares the series, not the offset."""
    expr = parse("x offset -2 ^ 2", ALL)
    assert isinstance(expr, tree.Binary)
    assert isinstance(expr.left, tree.VectorSelector)
    assert expr.left.offset_ms == -2_000


def test_every_part_of_a_tree_is_resolved() -> None:
    """Durations are evaluated wherever they stand."""
    query = "topk(1, -sum_over_time(x[step()*2:step()+1s] offset (step())) + (x offset step()))"
    resolved = resolve(parse(query, ALL), 10_000, 0)
    offsets = [s.offset_ms for s in tree.selectors(resolved)]
    subqueries = [n for n in tree.walk(resolved) if isinstance(n, tree.Subquery)]
    assert offsets == [0, 10_000]
    assert [(s.range_ms, s.step_ms, s.offset_ms) for s in subqueries] == [(20_000, 11_000, 10_000)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("x[step()]", "2:8: duration must be greater than 0"),
        ("x[5m - 10m]", "2:10: duration must be greater than 0"),
        ("x[5m / step()]", "2:13: division by zero"),
        ("x[5m % step()]", "2:13: modulo by zero"),
        ("x[1y ^ 9]", "2:8: duration is out of range"),
    ],
)
def test_a_duration_without_meaning_fails(query: str, message: str) -> None:
    """What only turns out when the query runs names the place too."""
    with pytest.raises(DurationError) as caught:
        range_of(query, step_ms=0)
    assert str(caught.value) == message
