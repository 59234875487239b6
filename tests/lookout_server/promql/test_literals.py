"""Numbers, strings and patterns, as queries write them and as messages show them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus.matchers import Matcher, MatchType
from lookout_server.query.prometheus.numbers import format_float, format_go, parse_number
from lookout_server.query.prometheus.quoting import quote, quote_char, unquote
from lookout_server.query.prometheus.regexes import PatternError, compile_pattern
from lookout_server.query.prometheus.signatures import FUNCTIONS

from .properties import THOROUGH

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@THOROUGH
@given(FINITE)
def test_printed_numbers_read_back(value: float) -> None:
    """Neither form loses a digit."""
    for text in (format_float(value), format_go(value)):
        assert math.copysign(parse_number(text.lstrip("-")), value) == value


@pytest.mark.parametrize(
    ("value", "fixed", "short"),
    [
        (0.0, "0", "0"),
        (1.0, "1", "1"),
        (-2.5, "-2.5", "-2.5"),
        (100000.0, "100000", "100000"),
        (1e6, "1000000", "1e+06"),
        (1234567.0, "1234567", "1.234567e+06"),
        (1e21, "1000000000000000000000", "1e+21"),
        (0.0001, "0.0001", "0.0001"),
        (0.00001, "0.00001", "1e-05"),
        (1.5e-7, "0.00000015", "1.5e-07"),
        (math.inf, "+Inf", "+Inf"),
        (-math.inf, "-Inf", "-Inf"),
        (math.nan, "NaN", "NaN"),
        (np.float64(2.5), "2.5", "2.5"),
    ],
)
def test_numbers_print_as_in_go(value: float, fixed: str, short: str) -> None:
    """Label values take the form without exponent, messages the short one."""
    assert (format_float(value), format_go(value)) == (fixed, short)


@THOROUGH
@given(st.text())
def test_a_quoted_text_unquotes(text: str) -> None:
    """Every text can be written as a string literal."""
    encodable = text.encode("utf-8", "ignore").decode()
    assert unquote(quote(encodable)) == encodable


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('a"b\\', r'"a\"b\\"'),
        ("\a\n\t\x00\x7f", r'"\a\n\t\x00\x7f"'),
        ("ß日\U0001f600", '"ß日\U0001f600"'),
        ("\u200b\ufeff", r'"\u200b\ufeff"'),
        ("\udcc5z", r'"\xc5z"'),
    ],
)
def test_messages_quote_as_go_does(text: str, quoted: str) -> None:
    """What cannot be printed is escaped; bytes that are no UTF-8 are shown as such."""
    assert quote(text) == quoted


def test_a_single_character_is_quoted_singly() -> None:
    """A double quote needs no escape there."""
    assert [quote_char(c) for c in ("'", '"', "\n", "")] == ["'\\''", "'\"'", "'\\n'", "'�'"]


@pytest.mark.parametrize(
    ("matcher", "matching", "other"),
    [
        (Matcher(MatchType.EQUAL, "a", "x"), "x", "y"),
        (Matcher(MatchType.NOT_EQUAL, "a", "x"), "y", "x"),
        (Matcher(MatchType.REGEX, "a", "x|y.+"), "yes", "xy"),
        (Matcher(MatchType.NOT_REGEX, "a", "x.*"), "yx", "xy"),
        (Matcher(MatchType.REGEX, "a", "(?i:PRO).*"), "production", "reproduce"),
        (Matcher(MatchType.REGEX, "a", "a.b"), "a\nb", "ab"),
        (Matcher(MatchType.REGEX, "a", r"\pL+\z"), "ß", "1"),
        (Matcher(MatchType.EQUAL, "a", ""), "", "x"),
    ],
)
def test_matchers_are_anchored(matcher: Matcher, matching: str, other: str) -> None:
    """A pattern has to cover the whole value, line breaks included."""
    assert matcher.matches(matching)
    assert not matcher.matches(other)
    assert matcher.matches_empty == matcher.matches("")


def test_a_pattern_takes_linear_time() -> None:
    """What ruins a backtracking engine is answered at once."""
    assert compile_pattern("(a+)+$").fullmatch("a" * 5000 + "b") is None


def test_patterns_beyond_re2_are_refused() -> None:
    """Backreferences have no linear-time implementation."""
    with pytest.raises(PatternError, match="invalid escape sequence"):
        compile_pattern(r"(a)\1")


def test_every_function_of_prometheus_is_known() -> None:
    """Version 3.14 has 90, of which 17 are experimental."""
    assert len(FUNCTIONS) == 90
    assert sum(function.experimental for function in FUNCTIONS.values()) == 17
    for name, function in FUNCTIONS.items():
        assert function.name == name
        assert function.most is None or function.fewest <= function.most
