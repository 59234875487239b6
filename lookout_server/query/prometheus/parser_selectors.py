"""Parses selectors: a metric name and the label matchers in braces."""

from __future__ import annotations

from . import tree
from .matchers import Matcher, MatchType
from .quoting import unquote
from .regexes import PatternError, compile_pattern
from .stream import TokenStream
from .tokens import METRIC_WORDS, Kind, Token

_CONTEXT = "label matching"
_METRIC_NAME = "__name__"
_MATCH_OPERATORS = frozenset(MatchType)


def names_metric(token: Token) -> bool:
    """Whether a token may stand for a metric name."""
    if token.kind in (Kind.IDENTIFIER, Kind.METRIC_IDENTIFIER):
        return True
    word = token.kind in (Kind.AGGREGATOR, Kind.KEYWORD, Kind.CONTEXT, Kind.OPERATOR)
    return word and token.word in METRIC_WORDS


def begins_expression(stream: TokenStream) -> bool:
    """Whether the next token may be the first one of an expression."""
    if stream.at_sign() or stream.at_number() or stream.at("(") or stream.at("{"):
        return True
    return stream.current.kind is Kind.STRING or names_metric(stream.current)


def unquote_token(stream: TokenStream) -> str:
    """Consume a string and return its value."""
    return unquote(stream.advance().text)


class SelectorParser:
    """Parses instant selectors without their modifiers."""

    def __init__(self, stream: TokenStream) -> None:
        self._stream = stream

    def selector(self) -> tree.VectorSelector:
        """A selector of either form."""
        if self._stream.at("{"):
            return self.matchers_only()
        if not names_metric(self._stream.current):
            self._stream.unexpected()
        return self.named(self._stream.advance())

    def named(self, name: Token) -> tree.VectorSelector:
        """The selector a consumed metric name begins."""
        matchers = self._matchers() if self._stream.at("{") else ()
        named = Matcher(MatchType.EQUAL, _METRIC_NAME, name.text)
        return self._selector(name.text, (*matchers, named), name.start)

    def matchers_only(self) -> tree.VectorSelector:
        """A selector without a metric name before its braces."""
        start = self._stream.current.start
        return self._selector("", self._matchers(), start)

    def _selector(
        self, name: str, matchers: tuple[Matcher, ...], start: int
    ) -> tree.VectorSelector:
        return tree.VectorSelector(
            name=name,
            matchers=matchers,
            offset_ms=0,
            offset_expr=None,
            timestamp_ms=None,
            boundary=None,
            anchored=False,
            smoothed=False,
            is_info_selector=False,
            start=start,
            end=self._stream.end,
        )

    def _matchers(self) -> tuple[Matcher, ...]:
        stream = self._stream
        stream.expect("{")
        matchers: list[Matcher] = []
        while not stream.at("}"):
            matchers.append(self._matcher())
            if not stream.accept(",") and not stream.at("}"):
                stream.unexpected(_CONTEXT, '"," or "}"')
        stream.advance()
        return tuple(matchers)

    def _matcher(self) -> Matcher:
        stream = self._stream
        label = stream.current
        if label.kind is Kind.STRING:
            name = unquote_token(stream)
            if stream.current.text not in _MATCH_OPERATORS:
                return Matcher(MatchType.EQUAL, _METRIC_NAME, name)
        elif label.kind is Kind.IDENTIFIER:
            name = stream.advance().text
        else:
            stream.unexpected(_CONTEXT, 'identifier or "}"')
        if stream.current.text not in _MATCH_OPERATORS:
            stream.unexpected(_CONTEXT, "label matching operator")
        return self._compared(label, name, MatchType(stream.advance().text))

    def _compared(self, label: Token, name: str, operator: MatchType) -> Matcher:
        stream = self._stream
        if stream.current.kind is not Kind.STRING:
            stream.unexpected(_CONTEXT, "string")
        value = unquote_token(stream)
        if operator.is_regex:
            try:
                compile_pattern(value)
            except PatternError as error:
                stream.fail(str(error), label.start)
        return Matcher(operator, name, value)
