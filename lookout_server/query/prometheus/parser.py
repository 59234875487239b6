"""Parses PromQL, the language of Prometheus 3.14.

A Pratt parser: `ExpressionParser` climbs the operator precedences and hands the parts with a
grammar of their own to `parser_selectors`, `parser_modifiers` and `parser_durations`. What can
only be said about a whole tree (types, matchers) is checked afterwards by `parser_check`.

Source: "Querying basics", "Operators" and "Functions" of the Prometheus documentation.
"""

from __future__ import annotations

from . import tree
from .features import ALL, STABLE, Features
from .matchers import Matcher
from .parse_error import ParseError
from .parser_check import check
from .parser_durations import DurationParser, number_literal
from .parser_modifiers import ModifierParser
from .parser_selectors import (
    SelectorParser,
    begins_expression,
    names_metric,
    unquote_token,
)
from .quoting import quote
from .signatures import FUNCTIONS, SOFALOOKOUT
from .stream import TokenStream
from .tokens import Kind, Token

__all__ = ["ALL", "STABLE", "Features", "ParseError", "parse", "parse_selector"]

#: How tightly binary operators bind; all but ``^`` associate to the left.
_PRECEDENCE = {
    "or": 1,
    "and": 2,
    "unless": 2,
    **dict.fromkeys(("==", "!=", "<=", "<", ">=", ">", "</", ">/"), 3),
    "+": 4,
    "-": 4,
    **dict.fromkeys(("*", "/", "%", "atan2"), 5),
    "^": 6,
}
_LOOSEST, _POWER = 1, 6
#: Deeper nesting is refused rather than left to exhaust the interpreter's stack, which holds
#: 1000 frames: about five for each level in here, and fewer for each level of the finished tree.
_DEEPEST_NESTING = 150
_DEEPEST_TREE = 200
_TOO_DEEP = "expression nests too deeply"


def parse(query: str, features: Features = STABLE) -> tree.Expr:
    """Parse and type-check a query.

    Args:
        query: the text of the query.
        features: which experimental parts of the language to accept.

    Raises:
        ParseError: the query is not valid; the message names the first problem and its place.
    """
    stream = TokenStream(query)
    if stream.at_end():
        stream.fail("no expression found in input", 0)
    expr = ExpressionParser(stream, features).expression()
    if not stream.at_end():
        stream.unexpected()
    _require_shallow(expr, query)
    return check(expr, query)


def _require_shallow(expr: tree.Expr, query: str) -> None:
    """Refuse a tree that is too deep to walk, as a chain of very many operators is."""
    pending = [(expr, 1)]
    while pending:
        node, depth = pending.pop()
        if depth > _DEEPEST_TREE:
            raise ParseError(_TOO_DEEP, query, node.start)
        pending += ((child, depth + 1) for child in tree.children(node))


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The matchers of a series selector, as ``match[]`` parameters give it.

    Raises:
        ParseError: the text is not a selector.
    """
    stream = TokenStream(text)
    selector = SelectorParser(stream).selector()
    if not stream.at_end():
        stream.unexpected()
    return selector.matchers


class ExpressionParser:
    """Parses expressions from a stream of tokens."""

    def __init__(self, stream: TokenStream, features: Features) -> None:
        self._stream = stream
        self._features = features
        self._selectors = SelectorParser(stream)
        self._durations = DurationParser(stream)
        self._modifiers = ModifierParser(stream, features, self._durations)
        self._depth = 0

    def expression(self, loosest: int = _LOOSEST) -> tree.Expr:
        """An expression whose operators bind at least as tightly as ``loosest``."""
        self._depth += 1
        if self._depth > _DEEPEST_NESTING:
            self._stream.fail(_TOO_DEEP, self._stream.current.start)
        left = self._operand()
        while True:
            binding = self._precedence()
            if binding < loosest:
                self._depth -= 1
                return left
            left = self._binary(left, binding)

    def _precedence(self) -> int:
        token = self._stream.current
        return _PRECEDENCE.get(token.word, 0) if token.kind is Kind.OPERATOR else 0

    def _binary(self, left: tree.Expr, binding: int) -> tree.Expr:
        operator = tree.BinaryOp(self._stream.advance().word)
        return_bool, matching = self._modifiers.matching()
        right = self.expression(binding if binding == _POWER else binding + 1)
        fills = matching.fill_left is not None or matching.fill_right is not None
        if fills and not self._features.fill_modifiers:
            self._stream.fail("binop fill modifiers are experimental and not enabled", left.start)
        return tree.Binary(operator, left, right, matching, return_bool, left.start, right.end)

    def _operand(self) -> tree.Expr:
        if self._stream.at_sign():
            return self._unary()
        return self._modifiers.apply(self._primary())

    def _unary(self) -> tree.Expr:
        """A signed operand. Only ``^`` binds more tightly than a sign."""
        sign = self._stream.advance()
        operand = self.expression(_POWER)
        if isinstance(operand, tree.NumberLiteral):
            value = -operand.value if sign.text == "-" else operand.value
            return tree.NumberLiteral(value, operand.is_duration, sign.start, operand.end)
        return tree.Unary(sign.text, operand, sign.start, operand.end)

    def _primary(self) -> tree.Expr:
        stream = self._stream
        token = stream.current
        if stream.at_number():
            return number_literal(stream)
        if token.kind is Kind.STRING:
            value = unquote_token(stream)
            return tree.StringLiteral(value, token.start, token.end)
        if stream.at("("):
            return self._parenthesized()
        if stream.at("{"):
            return self._selectors.matchers_only()
        if names_metric(token):
            return self._named(stream.advance())
        stream.unexpected()

    def _parenthesized(self) -> tree.Expr:
        opening = self._stream.advance()
        expr = self.expression()
        self._stream.expect(")")
        return tree.Paren(expr, opening.start, self._stream.end)

    def _named(self, name: Token) -> tree.Expr:
        """What a name begins: an aggregation, a function call or a selector."""
        called = self._stream.at("(")
        if name.kind is Kind.AGGREGATOR and (called or self._stream.at_keyword("by", "without")):
            return self._aggregate(name)
        if called and name.kind in (Kind.IDENTIFIER, Kind.CONTEXT):
            return self._call(name)
        return self._selectors.named(name)

    # ------------------------------------------------------------------ calls

    def _call(self, name: Token) -> tree.Call:
        args = self._arguments()
        function = FUNCTIONS.get(name.text) or SOFALOOKOUT.get(name.text)
        if function is None:
            self._stream.fail(f"unknown function with name {quote(name.text)}", name.start)
        if function.experimental and not self._features.experimental_functions:
            self._stream.fail(f"function {quote(name.text)} is not enabled", name.start)
        return tree.Call(function, args, name.start, self._stream.end)

    def _arguments(self) -> tuple[tree.Expr, ...]:
        stream = self._stream
        stream.expect("(")
        args: list[tree.Expr] = []
        while not stream.at(")"):
            args.append(self.expression())
            if not stream.at(","):
                break
            comma = stream.advance()
            if not begins_expression(stream):
                stream.fail("trailing commas not allowed in function call args", comma.start)
        stream.expect(")")
        return tuple(args)

    def _aggregate(self, name: Token) -> tree.Aggregate:
        stream = self._stream
        grouping: tuple[str, ...] = ()
        without, grouped = False, stream.at_keyword("by", "without")
        if grouped:
            without, grouping = self._grouping()
        with stream.within("aggregation"):
            args = self._arguments()
        if not grouped and stream.at_keyword("by", "without"):
            without, grouping = self._grouping()
        operator = tree.AggregateOp(name.word)
        param, expr = self._aggregated(operator, args, name.start)
        return tree.Aggregate(operator, expr, param, grouping, without, name.start, stream.end)

    def _grouping(self) -> tuple[bool, tuple[str, ...]]:
        without = self._stream.advance().word == "without"
        return without, self._modifiers.grouping_labels()

    def _aggregated(
        self, operator: tree.AggregateOp, args: tuple[tree.Expr, ...], start: int
    ) -> tuple[tree.Expr | None, tree.Expr]:
        """The parameter and the aggregated expression."""
        if not args:
            self._stream.fail("no arguments for aggregate expression provided", start)
        if operator.is_experimental and not self._features.experimental_functions:
            self._stream.fail(
                f"{operator}() is experimental and must be enabled with "
                "--enable-feature=promql-experimental-functions",
                start,
            )
        wanted = 2 if operator.has_parameter else 1
        if len(args) != wanted:
            self._stream.fail(
                "wrong number of arguments for aggregate expression provided, "
                f"expected {wanted}, got {len(args)}",
                start,
            )
        return (args[0] if operator.has_parameter else None), args[-1]
