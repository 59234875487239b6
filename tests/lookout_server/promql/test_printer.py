"""How trees are written back."""

from __future__ import annotations

from textwrap import dedent

import pytest

from lookout_server.query.prometheus.parser import ALL, ParseError, parse
from lookout_server.query.prometheus.printer import format_query, to_text


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ('sum by() (a:b{job="s"})', 'sum(a:b{job="s"})'),
        ("SUM(x) BY (a, b,)", "sum by (a, b) (x)"),
        ("sum without() (x)", "sum without () (x)"),
        ("sum by ('x y') (x)", 'sum by ("x y") (x)'),
        ("sum by ('without') (x)", 'sum by ("without") (x)'),
        ("topk(5,x)", "topk(5, x)"),
        ("a-on()c", "a - on () c"),
        ("a - on(b) group_left c", "a - on (b) group_left () c"),
        ("a - ignoring(b) group_right(x,y) c", "a - ignoring (b) group_right (x, y) c"),
        ("a - ignoring() c", "a - c"),
        ("a>bool 0", "a > bool 0"),
        ("a + fill(1) b", "a + fill (1) b"),
        ("a + fill_right(2e6) b", "a + fill_right (2e+06) b"),
        ("a offset -7m", "a offset -7m"),
        ("a offset 90", "a offset 1m30s"),
        ("a offset 0s", "a"),
        ("a[1h:5m] offset 1m", "a[1h:5m] offset 1m"),
        ("a[7d] @ 10 offset 24h", "a[1w] @ 10.000 offset 1d"),
        ("a @ end() offset 25h", "a @ end() offset 25h"),
        ("a[5m] smoothed @ 1", "a[5m] smoothed @ 1.000"),
        ("a anchored", "a anchored"),
        ('{__name__="a"}', '{__name__="a"}'),
        ('{"a.b","c.d"=~`e`}', '{"c.d"=~"e",__name__="a.b"}'),
        ("a{z='1',b!~'2'}", 'a{b!~"2",z="1"}'),
        ("a[5m+step()*2]", "a[5m + step() * 2]"),
        ("a[-(5m)+1h]", "a[-(5m) + 1h]"),
        ("a offset +MIN_OF(range(),1m)", "a offset min_of(range(), 1m)"),
        ("-a^2", "-a ^ 2"),
        ("-(-1)", "-(-1)"),
        ("1e3", "1000"),
        ("1e-7", "0.0000001"),
        ("-inf", "-Inf"),
        ("inf", "+Inf"),
        ("90m", "1h30m"),
        ("'a\"\\n'", '"a\\"\\n"'),
        ("label_join(x, 'a', 'b', 'c')", 'label_join(x, "a", "b", "c")'),
    ],
)
def test_a_query_has_one_canonical_text(query: str, text: str) -> None:
    """Blanks, cases, orders and ways of writing a value are made uniform."""
    assert to_text(parse(query, ALL)) == text


LONG = (
    'http_request_duration_seconds_bucket{environment="production",handler="/api/v1/things/4242"}'
)


def test_a_short_query_stays_on_its_line() -> None:
    """Up to 100 columns nothing is broken."""
    assert format_query("sum(rate(x[5m]))  by(a)") == "sum by (a) (rate(x[5m]))"


@pytest.mark.parametrize(
    ("query", "pretty"),
    [
        (
            f"histogram_quantile(0.99, sum by (le) (rate({LONG}[5m])))",
            f"""\
            histogram_quantile(
              0.99,
              sum by (le) (
                rate(
                  {LONG}[5m]
                )
              )
            )""",
        ),
        (
            f"-{LONG} * on (job) group_left () sum without (a) (up)",
            f"""\
              -{LONG}
            * on (job) group_left ()
              sum without (a) (up)""",
        ),
        (
            f"topk(5, max_over_time(rate({LONG}[1m])[1h:] offset 1m))",
            f"""\
            topk(
              5,
              max_over_time(
                rate(
                  {LONG}[1m]
                )[1h:] offset 1m
              )
            )""",
        ),
        (
            f"({LONG} + 1 + 22222222222)",
            f"""\
            (
                {LONG} + 1
              +
                22222222222
            )""",
        ),
    ],
)
def test_a_long_query_puts_operands_on_their_own_lines(query: str, pretty: str) -> None:
    """What is wider than 100 columns is broken at its outermost operation first."""
    assert format_query(query) == dedent(pretty)


def test_formatting_checks_the_query() -> None:
    """There is no layout for what is no query."""
    with pytest.raises(ParseError):
        format_query("sum(")
