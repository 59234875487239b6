"""The cursor a parser moves over the tokens of a query."""

from __future__ import annotations

from typing import NoReturn

from .lexer import Lexer
from .parse_error import ParseError
from .tokens import Kind, Token


class TokenStream:
    """One token of lookahead over a query.

    Attributes:
        query: the text being parsed.
        current: the token to be consumed next.
        end: where the token consumed last ends.
    """

    def __init__(self, query: str) -> None:
        self._lexer = Lexer(query)
        self.query = query
        self.end = 0
        self.current = self._lexer.next()

    def advance(self) -> Token:
        """Consume the current token and return it."""
        token = self.current
        self.end = token.end
        self.current = self._lexer.next()
        return token

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
        if context:
            reason += f" in {context}"
        if expected:
            reason += f", expected {expected}"
        self.fail(reason, self.current.start)

    def fail(self, reason: str, start: int) -> NoReturn:
        raise ParseError(reason, self.query, start)
