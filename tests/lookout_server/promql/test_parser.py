"""What queries mean: the tree the parser builds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lookout_server.query.prometheus import tree
from lookout_server.query.prometheus.matchers import Matcher, MatchType
from lookout_server.query.prometheus.parser import ALL, STABLE, parse, parse_selector
from lookout_server.query.prometheus.position import locate
from lookout_server.query.prometheus.types import ValueType

from . import scripts


def vector(query: str) -> tree.VectorSelector:
    expr = parse(query, ALL)
    assert isinstance(expr, tree.VectorSelector)
    return expr


def binary(query: str) -> tree.Binary:
    expr = parse(query, ALL)
    assert isinstance(expr, tree.Binary)
    return expr


def shape(expr: tree.Expr) -> str:
    """A tree with every operation in brackets."""
    match expr:
        case tree.Binary():
            return f"[{shape(expr.left)} {expr.op} {shape(expr.right)}]"
        case tree.Unary():
            return f"[{expr.op}{shape(expr.expr)}]"
        case tree.NumberLiteral():
            return f"{expr.value:g}"
        case tree.VectorSelector():
            return expr.name
    raise AssertionError(expr)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a + b * c", "[a + [b * c]]"),
        ("a * b + c", "[[a * b] + c]"),
        ("a - b - c", "[[a - b] - c]"),
        ("a / b % c", "[[a / b] % c]"),
        ("a ^ b ^ c", "[a ^ [b ^ c]]"),
        ("a atan2 b * c", "[[a atan2 b] * c]"),
        ("a + b > c", "[[a + b] > c]"),
        ("a == b != c", "[[a == b] != c]"),
        ("a > b and c", "[[a > b] and c]"),
        ("a and b unless c", "[[a and b] unless c]"),
        ("a or b and c", "[a or [b and c]]"),
        ("a OR b AND c UNLESS d", "[a or [[b and c] unless d]]"),
        ("a </ b >/ c == d", "[[[a </ b] >/ c] == d]"),
        ("a + b </ c", "[[a + b] </ c]"),
        ("-a * b", "[[-a] * b]"),
        ("-a ^ b", "[-[a ^ b]]"),
        ("a ^ -b * c", "[[a ^ [-b]] * c]"),
        ("-1 ^ 2", "[-[1 ^ 2]]"),
        ("-1 * 2", "[-1 * 2]"),
        ("+1 + -2 * 1", "[1 + [-2 * 1]]"),
        ("- -1", "1"),
        ("+a", "[+a]"),
    ],
)
def test_operators_bind_as_documented(query: str, expected: str) -> None:
    """Precedence and associativity are Prometheus'; a sign before a number is part of it."""
    assert shape(parse(query, ALL)) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("4.23", 4.23),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("+5.5e-3", 0.0055),
        ("0xc", 12.0),
        ("0XFF", 255.0),
        ("0x_1_F", 31.0),
        ("0755", 493.0),
        ("08", 8.0),
        ("1_000", 1000.0),
        ("1_000.5", 1000.5),
        ("99999999999999999999", 1e20),
        ("inf", math.inf),
        ("-InF", -math.inf),
        ("5m", 300.0),
        ("1h30m15s500ms", 5415.5),
        ("1y2w3d", 33004800.0),
        ("0s", 0.0),
    ],
)
def test_a_number_has_many_forms(text: str, value: float) -> None:
    """Decimal, hexadecimal, octal, with underscores, infinite, or a duration in seconds."""
    expr = parse(text)
    assert isinstance(expr, tree.NumberLiteral)
    assert expr.value == value


def test_nan_is_a_number() -> None:
    """NaN is written in any case."""
    expr = parse("nAn")
    assert isinstance(expr, tree.NumberLiteral)
    assert math.isnan(expr.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\"b"', 'a"b'),
        (r"'a\'b'", "a'b"),
        (r"`a\nb`", r"a\nb"),
        ("`a\nb`", "a\nb"),
        (r'"\a\b\f\n\r\t\v\\"', "\a\b\f\n\r\t\v\\"),
        (r'"\x41\101\u0042\U0001F600"', "AAB\U0001f600"),
        (r'"\xe2\x82\xac"', "€"),
        (r'"\xff"', "\udcff"),
        ('"日本"', "日本"),
    ],
)
def test_a_string_has_go_s_escapes(text: str, value: str) -> None:
    """Quoted strings take Go's escapes, raw ones none; bytes that are no UTF-8 survive."""
    expr = parse(text)
    assert isinstance(expr, tree.StringLiteral)
    assert expr.value == value


def test_a_selector_has_its_name_as_a_matcher() -> None:
    """The name before the braces is one more condition, the last."""
    selector = vector("""up{a="1", b!='2', c=~`3.*`, d!~"4",}""")
    assert selector.name == "up"
    assert selector.matchers == (
        Matcher(MatchType.EQUAL, "a", "1"),
        Matcher(MatchType.NOT_EQUAL, "b", "2"),
        Matcher(MatchType.REGEX, "c", "3.*"),
        Matcher(MatchType.NOT_REGEX, "d", "4"),
        Matcher(MatchType.EQUAL, "__name__", "up"),
    )


def test_names_may_be_any_text_when_quoted() -> None:
    """UTF-8 metric and label names stand in quotes inside the braces."""
    selector = vector("""{"größe.total", 'x y'="1"}""")
    assert selector.name == ""
    assert selector.matchers == (
        Matcher(MatchType.EQUAL, "__name__", "größe.total"),
        Matcher(MatchType.EQUAL, "x y", "1"),
    )


@pytest.mark.parametrize(
    "name",
    ["sum", "offset", "by", "and", "start", "step", "fill", "anchored", "max_of", "topk", "a:b"],
)
def test_keywords_may_name_metrics(name: str) -> None:
    """A word is special only where it can be."""
    assert vector(name).name == name
    assert vector(f'{name}{{a="b"}}').name == name


def test_a_label_may_have_any_name() -> None:
    """No word is special in braces or, if it cannot be mistaken, between parentheses."""
    assert vector('x{by="1",sum="2",inf="3"}').matchers[0].name == "by"
    expr = parse("sum by (on, bool, sum, start, le) (x)")
    assert isinstance(expr, tree.Aggregate)
    assert expr.grouping == ("on", "bool", "sum", "start", "le")


def test_comments_and_blanks_mean_nothing() -> None:
    """A comment lasts to the end of its line."""
    expr = parse("sum # all\n  by (job) ( # of\r\n up{ # these\n a='b' } )")
    assert isinstance(expr, tree.Aggregate)
    assert expr.grouping == ("job",)


@pytest.mark.parametrize(
    ("query", "offset", "timestamp"),
    [
        ("x offset 5m", 300_000, None),
        ("x offset -5m", -300_000, None),
        ("x OFFSET 1.5", 1500, None),
        ("x @ 1.5", 0, 1500),
        ("x @ -2", 0, -2000),
        ("x @ 1h", 0, 3_600_000),
        ("x offset 1m @ 3", 60_000, 3000),
        ("x @ 3 offset 1m", 60_000, 3000),
        ("x offset 0x10", 16_000, None),
    ],
)
def test_modifiers_move_a_selector_in_time(query: str, offset: int, timestamp: int | None) -> None:
    """``offset`` and ``@`` stand in any order; times are kept in milliseconds."""
    selector = vector(query)
    assert (selector.offset_ms, selector.timestamp_ms) == (offset, timestamp)


def test_a_range_carries_the_modifiers_in_its_selector() -> None:
    """A range selector's modifiers are those of the selector inside."""
    expr = parse("x[5m] anchored @ end() offset 1d", ALL)
    assert isinstance(expr, tree.MatrixSelector)
    assert expr.range_ms == 300_000
    assert expr.selector.offset_ms == 86_400_000
    assert expr.selector.boundary is tree.Boundary.END
    assert expr.selector.anchored


def test_a_subquery_has_modifiers_of_its_own() -> None:
    """Without a step, the server's default is meant."""
    expr = parse("rate(x[1m])[1h:5m] offset -1w @ start()")
    assert isinstance(expr, tree.Subquery)
    assert (expr.range_ms, expr.step_ms, expr.offset_ms) == (3_600_000, 300_000, -604_800_000)
    assert expr.boundary is tree.Boundary.START
    without_step = parse("x[1h:]")
    assert isinstance(without_step, tree.Subquery)
    assert without_step.step_ms == 0


@pytest.mark.parametrize(
    ("query", "cardinality", "labels", "on", "include"),
    [
        ("a + b", "one-to-one", (), False, ()),
        ("a + on() b", "one-to-one", (), True, ()),
        ("a + ignoring(x,) b", "one-to-one", ("x",), False, ()),
        ("a * on(x) group_left b", "many-to-one", ("x",), True, ()),
        ("a * on(x) group_right(y, 'z z') b", "one-to-many", ("x",), True, ("y", "z z")),
        ("a and b", "many-to-many", (), False, ()),
        ("a or on(x) b", "many-to-many", ("x",), True, ()),
    ],
)
def test_matching_says_how_sides_meet(
    query: str, cardinality: str, labels: tuple[str, ...], on: bool, include: tuple[str, ...]
) -> None:
    """Set operators are many-to-many; ``group_*`` make one side the many."""
    matching = binary(query).matching
    assert matching is not None
    assert (matching.cardinality, matching.labels) == (cardinality, labels)
    assert (matching.on, matching.include) == (on, include)


@pytest.mark.parametrize(
    ("modifier", "left", "right"),
    [
        ("fill(1)", 1, 1),
        ("fill_left(-2)", -2, None),
        ("fill_right(5m)", None, 300),
        ("fill_left(1) fill_right(2)", 1, 2),
        ("fill_right(2) fill_left(1)", 1, 2),
        ("on(x) group_left(y) fill(0)", 0, 0),
    ],
)
def test_fill_values_stand_in_for_missing_partners(
    modifier: str, left: float | None, right: float | None
) -> None:
    """One value for both sides, or one for each."""
    matching = binary(f"a + {modifier} b").matching
    assert matching is not None
    assert (matching.fill_left, matching.fill_right) == (left, right)


def test_matching_is_for_vectors_only() -> None:
    """Where a side is a scalar, nothing has to be matched."""
    assert binary("a + 1").matching is None
    assert binary("1 < bool 2").matching is None


@pytest.mark.parametrize("query", ["sum by (a) (x)", "sum(x) by (a)", "SUM BY (a,) (x)"])
def test_grouping_stands_before_or_after(query: str) -> None:
    """Both orders mean the same."""
    expr = parse(query)
    assert isinstance(expr, tree.Aggregate)
    assert (expr.op, expr.grouping, expr.without) == ("sum", ("a",), False)


def test_an_aggregation_may_have_a_parameter() -> None:
    """It comes first, and is kept apart from what is aggregated."""
    expr = parse("quantile without (a) (0.9, x)")
    assert isinstance(expr, tree.Aggregate)
    assert isinstance(expr.param, tree.NumberLiteral)
    assert isinstance(expr.expr, tree.VectorSelector)
    assert expr.without


def test_info_selects_labels() -> None:
    """The second argument of ``info()`` may match everything."""
    expr = parse("info(x, {})", ALL)
    assert isinstance(expr, tree.Call)
    selector = expr.args[1]
    assert isinstance(selector, tree.VectorSelector)
    assert selector.is_info_selector


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("1", ValueType.SCALAR),
        ("'a'", ValueType.STRING),
        ("(x)", ValueType.VECTOR),
        ("x[5m]", ValueType.MATRIX),
        ("x[5m:]", ValueType.MATRIX),
        ("1 + 1", ValueType.SCALAR),
        ("1 + x", ValueType.VECTOR),
        ("-scalar(x)", ValueType.SCALAR),
        ("vector(1)", ValueType.VECTOR),
        ("sum(x)", ValueType.VECTOR),
    ],
)
def test_every_tree_has_a_type(query: str, expected: ValueType) -> None:
    """The type of the result is known before the query runs."""
    assert parse(query).type is expected


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("sum(rate(x[5m]))", {"Aggregate": (0, 16), "Call": (4, 15), "VectorSelector": (9, 10)}),
        ("a +\n  b", {"Binary": (0, 7)}),
        ("  -x offset 5m", {"Unary": (2, 14), "VectorSelector": (3, 14)}),
        ("(1)", {"Paren": (0, 3), "NumberLiteral": (1, 2)}),
        ("sum(x) by (a) + 1", {"Aggregate": (0, 13)}),
        ("rate(x[5m] @ 5)", {"MatrixSelector": (5, 14)}),
        ("rate(x[5m:] @ 5)", {"Subquery": (5, 15)}),
    ],
)
def test_nodes_know_their_place(query: str, where: dict[str, tuple[int, int]]) -> None:
    """Warnings about a result point at the part of the query they are about."""
    found = {type(node).__name__: (node.start, node.end) for node in tree.walk(parse(query))}
    assert {name: found[name] for name in where} == where


def test_columns_count_bytes() -> None:
    """Like Prometheus, a place counts UTF-8 bytes in its line, from 1."""
    assert locate("a\nöb", 3) == "2:3"
    assert locate("abc", 0) == "1:1"


def test_a_match_parameter_gives_matchers() -> None:
    """The API's ``match[]`` takes selectors, an empty one included."""
    assert parse_selector('up{a="b"}') == (
        Matcher(MatchType.EQUAL, "a", "b"),
        Matcher(MatchType.EQUAL, "__name__", "up"),
    )
    assert parse_selector("{}") == ()


def test_experimental_words_are_plain_names_without_their_features() -> None:
    """A stock server still lets a metric be called ``fill`` or ``smoothed``."""
    assert parse("fill + smoothed", STABLE).type is ValueType.VECTOR


@pytest.mark.skipif(not scripts.files(), reason=f"no test scripts at {scripts.DIRECTORY}")
@pytest.mark.parametrize("path", scripts.files(), ids=lambda path: path.stem)
def test_every_query_of_prometheus_own_tests_parses(path: Path) -> None:
    """All their queries are in the language, with the experimental syntax they use."""
    promqltest = scripts.tools()
    queries = [c.expr for c in promqltest.parse_file(path) if isinstance(c, promqltest.Eval)]
    assert queries
    for query in queries:
        parse(query, ALL)
