"""The cursor a parser moves over the tokens of a query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from .lexer import Lexer
from .parse_error import ParseError
from .tokens import Kind, Token


class TokenStream:
    """One token of lookahead over a query, read when it is looked at and no earlier.

    What is wrong with a call is found at its closing parenthesis, before anything behind it.

    Attributes:
        query: the text being parsed.
        end: where the token consumed last ends.
    """

    def __init__(self, query: str) -> None:
        self._lexer = Lexer(query)
        self._ahead: Token | None = None
        self._within = ""
        self.query = query
        self.end = 0

    @property
    def current(self) -> Token:
        """The token to be consumed next."""
        if self._ahead is None:
            self._ahead = self._lexer.next()
        return self._ahead

    def advance(self) -> Token:
        """Consume the current token and return it."""
        token, self._ahead = self.current, None
        self.end = token.end
        return token

    @contextmanager
    def within(self, context: str) -> Iterator[None]:
        """What unexpected tokens stand in, unless `unexpected` is told of something nearer."""
        outer, self._within = self._within, context
        yield
        self._within = outer

    def at_end(self) -> bool:
        return self.current.kind is Kind.END

    def at(self, text: str) -> bool:
        """Whether the current token is this punctuation mark or operator."""
        token = self.current
        return token.text == text and token.kind in (Kind.PUNCTUATION, Kind.OPERATOR)

    def at_keyword(self, *words: str) -> bool:
        """Whether the current token is one of these keywords, in any case."""
        return self.current.kind is Kind.KEYWORD and self.current.word in words

    def at_number(self) -> bool:
        return self.current.kind in (Kind.NUMBER, Kind.DURATION)

    def at_sign(self) -> bool:
        return self.at("+") or self.at("-")

    def accept(self, text: str) -> bool:
        """Consume the current token if it is this punctuation mark or operator."""
        if self.at(text):
            self.advance()
            return True
        return False

    def expect(self, text: str, context: str = "", expected: str = "") -> Token:
        """Consume this punctuation mark, or fail as `unexpected` does."""
        if not self.at(text):
            self.unexpected(context, expected)
        return self.advance()

    def unexpected(self, context: str = "", expected: str = "") -> NoReturn:
        """Fail at the current token, saying where it stands and what should stand there."""
        reason = f"unexpected {self.current.description}"
        if context := context or self._within:
            reason += f" in {context}"
        if expected:
            reason += f", expected {expected}"
        self.fail(reason, self.current.start)

    def fail(self, reason: str, start: int) -> NoReturn:
        raise ParseError(reason, self.query, start)
