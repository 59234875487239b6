"""Bad queries are refused with Prometheus' own words, at the place of the mistake."""

from __future__ import annotations

import pytest

from lookout_server.query.prometheus.parser import ALL, STABLE, ParseError, parse, parse_selector

SYNTAX = [
    ("", "unknown position: parse error: no expression found in input"),
    (" ", "1:1: parse error: no expression found in input"),
    ("# nothing", "1:1: parse error: no expression found in input"),
    ("1 +", "1:4: parse error: unexpected end of input"),
    ("foo bar", '1:5: parse error: unexpected identifier "bar"'),
    ("foo a:b", '1:5: parse error: unexpected metric identifier "a:b"'),
    ("foo 5", '1:5: parse error: unexpected number "5"'),
    ("foo 5m", '1:5: parse error: unexpected duration "5m"'),
    ('foo "bar"', '1:5: parse error: unexpected string "\\"bar\\""'),
    (
        'foo "a long string"',
        '1:5: parse error: unexpected string "\\"a long st"...',
    ),
    ("*foo", "1:1: parse error: unexpected <op:*>"),
    ("foo by (x)", "1:5: parse error: unexpected <by>"),
    ("foo sum", "1:5: parse error: unexpected <aggr:sum>"),
    ("foo start", '1:5: parse error: unexpected "start"'),
    ("bool", "1:1: parse error: unexpected <bool>"),
    ("= 1", '1:1: parse error: unexpected "="'),
    ("()", '1:2: parse error: unexpected ")"'),
    ("(1))", "1:5: parse error: unexpected right parenthesis ')'"),
    ("((1)", "1:5: parse error: unclosed left parenthesis"),
    ("foo]", "1:4: parse error: unexpected right bracket ']'"),
    ("foo\n  + ==", "2:5: parse error: unexpected <op:==>"),
    ('{"größe"} $', "1:13: parse error: unexpected character: '$'"),
    ("a.b", "1:2: parse error: unexpected character: '.'"),
    ("1 !~ 2", "1:3: parse error: unexpected character after '!': '~'"),
    ("1 !", "1:3: parse error: unexpected character after '!': '�'"),
    ("1 =~ 2", "1:3: parse error: unexpected character after '=': '~'"),
    (
        "rate(x[5m],)",
        "1:11: parse error: trailing commas not allowed in function call args",
    ),
    ("rate(,x)", '1:6: parse error: unexpected ","'),
    ("unknown(x)", '1:1: parse error: unknown function with name "unknown"'),
    ("STEP()", '1:1: parse error: unknown function with name "STEP"'),
    ("a" + " or a" * 200, "1:6: parse error: expression nests too deeply"),
    ("(" * 200 + "1" + ")" * 200, "1:151: parse error: expression nests too deeply"),
]

STRINGS = [
    ('"a', "1:1: parse error: unterminated quoted string"),
    ('"a\nb"', "1:1: parse error: unterminated quoted string"),
    ("`a", "1:1: parse error: unterminated raw string"),
    ('"a\ufffd"', "1:1: parse error: invalid UTF-8 rune"),
    ("`\udcff`", "1:1: parse error: invalid UTF-8 rune"),
    ("'a\\", "1:1: parse error: escape sequence not terminated"),
    ("'\\x1", "1:1: parse error: escape sequence not terminated"),
    ("'\\q'", "1:1: parse error: unknown escape sequence U+0071 'q'"),
    ("'\\xag'", "1:1: parse error: illegal character U+0067 'g' in escape sequence"),
    ("'\\9'", "1:1: parse error: unknown escape sequence U+0039 '9'"),
    ("'\\400'", "1:1: parse error: escape sequence is an invalid Unicode code point"),
    ("'\\ud800'", "1:1: parse error: escape sequence is an invalid Unicode code point"),
    ("'\\U00110000'", "1:1: parse error: escape sequence is an invalid Unicode code point"),
]

NUMBERS = [
    ("1.2.3", '1:1: parse error: bad number or duration syntax: "1.2."'),
    ("1__0", '1:1: parse error: bad number or duration syntax: "1__"'),
    ("1e", '1:1: parse error: bad number or duration syntax: "1e"'),
    ("5x", '1:1: parse error: bad number or duration syntax: "5"'),
    ("5m12y", '1:1: parse error: bad number or duration syntax: "5m12"'),
    ("5m_", '1:1: parse error: bad number or duration syntax: "5m_"'),
    (
        "0x",
        '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "0x": invalid syntax',
    ),
    (
        "1e999",
        '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e999": '
        "value out of range",
    ),
    ("1.5h", '1:1: parse error: unknown unit "." in duration "1.5h"'),
    ("5y1hs", '1:1: parse error: unknown unit "hs" in duration "5y1hs"'),
    ("5s1m", '1:1: parse error: not a valid duration string: "5s1m"'),
    ("300y", "1:1: parse error: duration out of range"),
]

SELECTORS = [
    ("foo{", "1:5: parse error: unexpected end of input inside braces"),
    ("foo{{", "1:5: parse error: unexpected left brace '{'"),
    ("foo{a$", "1:6: parse error: unexpected character inside braces: '$'"),
    ("foo{a!", "1:6: parse error: unexpected character after '!' inside braces: '�'"),
    ("foo{=}", '1:5: parse error: unexpected "=" in label matching, expected identifier or "}"'),
    (
        "foo{a}",
        '1:6: parse error: unexpected "}" in label matching, expected label matching operator',
    ),
    (
        "foo{a=b}",
        '1:7: parse error: unexpected identifier "b" in label matching, expected string',
    ),
    (
        'foo{a="b" c="d"}',
        '1:11: parse error: unexpected identifier "c" in label matching, expected "," or "}"',
    ),
    ('foo{a="b"}{c="d"}', '1:11: parse error: unexpected "{"'),
    (
        'foo{a=~"("}',
        "1:5: parse error: error parsing regexp: missing closing ): `(`",
    ),
    (
        'foo{a=~"[a"}',
        "1:5: parse error: error parsing regexp: missing closing ]: `[a`",
    ),
    (
        'foo{a!~"*"}',
        "1:5: parse error: error parsing regexp: missing argument to repetition operator: `*`",
    ),
    (
        'foo{a=~"(?=b)"}',
        "1:5: parse error: error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
    ),
    ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    (
        '1 + {a="",b=~".*",c!="d"}',
        "1:5: parse error: vector selector must contain at least one non-empty matcher",
    ),
    (
        'foo{__name__="bar"}',
        '1:1: parse error: metric name must not be set twice: "foo" or "bar"',
    ),
    ('foo{"bar"}', '1:1: parse error: metric name must not be set twice: "foo" or "bar"'),
]

RANGES = [
    ("foo[", "1:5: parse error: unexpected end of input in duration expression"),
    ("foo[5m", "1:7: parse error: unclosed left bracket"),
    ("foo[x]", "1:5: parse error: unexpected character in duration expression: 'x'"),
    (
        "foo[]",
        '1:5: parse error: unexpected "]" in subquery or range selector, '
        "expected number, duration, step(), or range()",
    ),
    (
        "foo[:5m]",
        "1:6: parse error: unexpected colon before duration in duration expression",
    ),
    ("foo[5m:5m:5m]", "1:10: parse error: unexpected colon ':'"),
    ("foo[5m[", "1:7: parse error: unexpected left bracket '['"),
    ("foo[5m abc]", "1:8: parse error: unexpected character: 'a', expected ':'"),
    (
        "foo[5m 5m]",
        '1:8: parse error: unexpected duration "5m" in subquery or range, expected ":" or "]"',
    ),
    (
        "foo[5m:(]",
        '1:9: parse error: unexpected "]" in subquery or range selector, '
        "expected number, duration, step(), or range()",
    ),
    (
        'foo[5m:"a"]',
        '1:8: parse error: unexpected string "\\"a\\"" in subquery selector, '
        'expected number, duration, step(), range(), or "]"',
    ),
    (
        "foo[5m:5m 5m]",
        '1:11: parse error: unexpected duration "5m" in subquery selector, expected "]"',
    ),
    ("foo[0]", "1:5: parse error: duration must be greater than 0"),
    ("foo[-5m]", "1:5: parse error: duration must be greater than 0"),
    ("foo[5m:0s]", "1:8: parse error: duration must be greater than 0"),
    ("foo[1e11]", "1:5: parse error: duration out of range"),
    ("sum(foo)[5m]", "1:9: parse error: ranges only allowed for vector selectors"),
    ("foo[5m][5m]", "1:8: parse error: ranges only allowed for vector selectors"),
    ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
    ("foo @ 1[5m]", "1:8: parse error: no @ modifiers allowed before range"),
    ("foo @ start()[5m]", "1:14: parse error: no @ modifiers allowed before range"),
    (
        "foo[5m][5m:]",
        "1:1: parse error: subquery is only allowed on instant vector, got matrix instead",
    ),
    ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
]

_SELECTED = "an instant vector selector or range vector selector or a subquery"
MODIFIERS = [
    (
        "foo offset",
        "1:11: parse error: unexpected end of input in offset, "
        "expected number, duration, step(), or range()",
    ),
    (
        "foo offset x",
        '1:12: parse error: unexpected identifier "x" in offset, '
        "expected number, duration, step(), or range()",
    ),
    ("1 offset 5m", f"1:1: parse error: offset modifier must be preceded by {_SELECTED}"),
    ("foo offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times"),
    ("foo[5m] offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times"),
    ("foo offset 1e11", "1:12: parse error: duration out of range"),
    ("foo @", "1:6: parse error: unexpected end of input in @, expected timestamp"),
    ("foo @ x", '1:7: parse error: unexpected identifier "x" in @, expected timestamp'),
    ("foo @ start", "1:12: parse error: unexpected end of input in @, expected timestamp"),
    ("foo @ NaN", "1:1: parse error: timestamp out of bounds for @ modifier: NaN"),
    ("foo @ -Inf", "1:1: parse error: timestamp out of bounds for @ modifier: -Inf"),
    (
        "foo @ 1e20",
        "1:1: parse error: timestamp out of bounds for @ modifier: 100000000000000000000.000000",
    ),
    ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    ("foo @ start() @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    ("sum(foo) @ 1", f"1:1: parse error: @ modifier must be preceded by {_SELECTED}"),
    (
        "foo == on foo",
        '1:11: parse error: unexpected identifier "foo" in grouping opts, expected "("',
    ),
    ("foo == on(a,,b) foo", '1:13: parse error: unexpected "," in grouping opts, expected label'),
    (
        "sum by (a b) (foo)",
        '1:11: parse error: unexpected identifier "b" in grouping opts, expected "," or ")"',
    ),
    (
        "sum by (1) (foo)",
        '1:9: parse error: unexpected number "1" in grouping opts, expected label',
    ),
    ('sum by ("") (foo)', '1:9: parse error: invalid label name for grouping: ""'),
    (
        'sum by ("\\xff") (foo)',
        '1:9: parse error: invalid label name for grouping: "\\xff"',
    ),
    ("foo + group_left bar", "1:7: parse error: unexpected <group_left>"),
]

TYPES = [
    (
        "rate(foo)",
        '1:6: parse error: expected type range vector in call to function "rate", '
        "got instant vector",
    ),
    (
        "floor(foo[5m])",
        '1:7: parse error: expected type instant vector in call to function "floor", '
        "got range vector",
    ),
    (
        'vector("a")',
        '1:8: parse error: expected type scalar in call to function "vector", got string',
    ),
    (
        'label_join(foo, "a", "b", "c", 1)',
        '1:32: parse error: expected type string in call to function "label_join", got scalar',
    ),
    ("floor()", '1:1: parse error: expected 1 argument(s) in call to "floor", got 0'),
    ("rate(a[5m], 1)", '1:1: parse error: expected 1 argument(s) in call to "rate", got 2'),
    ("time(1)", '1:1: parse error: expected 0 argument(s) in call to "time", got 1'),
    (
        "label_join(foo)",
        '1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 1',
    ),
    ("hour(a, b)", '1:1: parse error: expected at most 1 argument(s) in call to "hour", got 2'),
    ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
    (
        "sum(a, b)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, "
        "expected 1, got 2",
    ),
    (
        "topk(a)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, "
        "expected 2, got 1",
    ),
    (
        "sum(1)",
        "1:5: parse error: expected type instant vector in aggregation expression, got scalar",
    ),
    (
        'topk("a", b)',
        "1:6: parse error: expected type scalar in aggregation parameter, got string",
    ),
    (
        "count_values(1, b)",
        "1:14: parse error: expected type string in aggregation parameter, got scalar",
    ),
    ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
    (
        "a and bool b",
        "1:3: parse error: bool modifier can only be used on comparison operators",
    ),
    (
        "1 + bool 1",
        "1:3: parse error: bool modifier can only be used on comparison operators",
    ),
    ("1 and 1", '1:1: parse error: set operator "and" not allowed in binary scalar expression'),
    ("a or 1", '1:1: parse error: set operator "or" not allowed in binary scalar expression'),
    (
        "a or on(b) group_left c",
        '1:1: parse error: no grouping allowed for "or" operation',
    ),
    (
        "a + on(b) group_left(b) c",
        '1:3: parse error: label "b" must not occur in ON and GROUP clause at once',
    ),
    ("a + on(b) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
    (
        '"a" + b',
        "1:1: parse error: binary expression must contain only scalar and instant vector types",
    ),
    (
        "b + a[5m]",
        "1:5: parse error: binary expression must contain only scalar and instant vector types",
    ),
    (
        '-"a"',
        "1:1: parse error: unary expression only allowed on expressions of type scalar or "
        'instant vector, got "string"',
    ),
    (
        "-a[5m]",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or "
        'instant vector, got "range vector"',
    ),
]

CONTEXTS = [
    ("sum(foo bar)", '1:9: parse error: unexpected identifier "bar" in aggregation'),
    ("sum(abs(foo bar))", '1:13: parse error: unexpected identifier "bar" in aggregation'),
    ("abs(sum by (a) (foo bar))", '1:21: parse error: unexpected identifier "bar" in aggregation'),
    ("sum(foo) bar", '1:10: parse error: unexpected identifier "bar"'),
    ("sum(foo{a=})", '1:11: parse error: unexpected "}" in label matching, expected string'),
    ("abs(foo, * 2)", "1:8: parse error: trailing commas not allowed in function call args"),
    ('abs(foo, , "b")', "1:8: parse error: trailing commas not allowed in function call args"),
    (
        "a + on (b) group_left / c",
        '1:23: parse error: unexpected <op:/> in grouping opts, expected "("',
    ),
    (
        "a + on (b) group_left",
        '1:22: parse error: unexpected end of input in grouping opts, expected "("',
    ),
    # What is wrong with something complete is found before what is wrong behind it.
    ("nofunc(a) $", '1:1: parse error: unknown function with name "nofunc"'),
    ("1[5m] $", "1:2: parse error: ranges only allowed for vector selectors"),
    ("a offset 5m offset 5m $", "1:1: parse error: offset may not be set multiple times"),
    ("a @ 5 @ 5 $", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    ('a{b=~"("} $', "1:3: parse error: error parsing regexp: missing closing ): `(`"),
    ("sum(a, b) $", "1:11: parse error: unexpected character: '$'"),
    ("a offset NaN", "1:10: parse error: duration out of range"),
]

EXPERIMENTAL = [
    ("mad_over_time(a[5m])", '1:1: parse error: function "mad_over_time" is not enabled'),
    ("start()", '1:1: parse error: function "start" is not enabled'),
    (
        "limitk(1, a)",
        "1:1: parse error: limitk() is experimental and must be enabled with "
        "--enable-feature=promql-experimental-functions",
    ),
    ("a[5m] anchored", "1:1: parse error: anchored modifier is experimental and not enabled"),
    ("a smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
    ("a + fill(0) b", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
]

WITH_FEATURES = [
    (
        "a anchored smoothed",
        "1:1: parse error: anchored and smoothed modifiers cannot be used together",
    ),
    (
        "a[5m] smoothed anchored",
        "1:1: parse error: anchored and smoothed modifiers cannot be used together",
    ),
    (
        "a[5m:] anchored",
        "1:1: parse error: anchored modifier is not supported for subqueries",
    ),
    ("1 smoothed", "1:1: parse error: smoothed modifier not implemented"),
    (
        "a[step()::5m]",
        "1:11: parse error: unexpected repeated colon in duration expression",
    ),
    ("a[5m/0]", "1:5: parse error: division by zero"),
    ("a[5m%0s]", "1:5: parse error: modulo by zero"),
    (
        "a or fill(0) b",
        "1:1: parse error: filling in missing series not allowed for set operators",
    ),
    (
        "a + fill(0) 1",
        "1:1: parse error: filling in missing series only allowed between instant vectors",
    ),
    (
        "a + fill(b) c",
        '1:10: parse error: unexpected identifier "b"',
    ),
    (
        "info(a, b)",
        "1:9: parse error: expected label selectors only, got vector selector instead",
    ),
    ("info(a, (b))", "1:9: parse error: expected label selectors only"),
    (
        "info(a, 1)",
        '1:1: parse error: expected type instant vector in call to function "info", got scalar',
    ),
    (
        "info(a, {}, {})",
        '1:1: parse error: expected at most 2 argument(s) in call to "info", got 3',
    ),
    (
        'histogram_quantiles(a, "q")',
        '1:1: parse error: expected at least 3 argument(s) in call to "histogram_quantiles", got 2',
    ),
]

STABLE_CASES = [
    *(SYNTAX + STRINGS + NUMBERS + SELECTORS + RANGES),
    *(MODIFIERS + TYPES + CONTEXTS + EXPERIMENTAL),
]


def message_of(query: str, *, experimental: bool) -> str:
    with pytest.raises(ParseError) as caught:
        parse(query, ALL if experimental else STABLE)
    return str(caught.value)


@pytest.mark.parametrize(("query", "message"), STABLE_CASES)
def test_a_stock_server_refuses(query: str, message: str) -> None:
    """The first mistake of a query is named in Prometheus' words, with its line and column."""
    assert message_of(query, experimental=False) == message


@pytest.mark.parametrize(("query", "message"), WITH_FEATURES)
def test_a_server_with_all_features_refuses(query: str, message: str) -> None:
    """Experimental syntax has its own mistakes."""
    assert message_of(query, experimental=True) == message


@pytest.mark.parametrize(("query", "message"), EXPERIMENTAL)
def test_features_turn_experimental_syntax_on(query: str, message: str) -> None:
    """What is refused only for being experimental is accepted with its feature."""
    parse(query, ALL)


@pytest.mark.parametrize("text", ["rate(x[5m])", "x + y", "x[5m]", "1", "x offset 5m"])
def test_a_series_selector_is_a_selector_and_nothing_else(text: str) -> None:
    """A ``match[]`` parameter that is some other expression is refused."""
    with pytest.raises(ParseError, match="parse error: unexpected"):
        parse_selector(text)


def test_an_error_carries_its_parts() -> None:
    """A program can read where and why, without taking the message apart."""
    with pytest.raises(ParseError) as caught:
        parse("a +\n by)")
    assert caught.value.start == 8
    assert caught.value.reason == "unexpected right parenthesis ')'"
    assert caught.value.query == "a +\n by)"
