"""Cuts a PromQL query into tokens.

Tokens are made on demand, because what is wrong first must be reported first: a parser that
stumbles over one token never asks for the malformed one behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from .parse_error import ParseError
from .quoting import quote, quote_char
from .tokens import (
    AGGREGATORS,
    CONTEXT_WORDS,
    FILL_WORDS,
    KEYWORDS,
    OPERATOR_WORDS,
    Kind,
    Token,
)

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_SPACE = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LETTERS = re.compile(r"[A-Za-z_]+")
_DURATION_REST = re.compile(r"[smhdwy]s?(?:[0-9]+[smhdw]s?)*([0-9]*)")
_OPERATORS = ("==", "!=", "<=", "</", ">=", ">/", "<", ">", "+", "-", "*", "/", "%", "^", "@")
_DIGITS, _HEX_DIGITS = "0123456789", "0123456789abcdefABCDEF"
_ESCAPE_DIGITS = {"x": (2, 16, 0xFF), "u": (4, 16, 0x10FFFF), "U": (8, 16, 0x10FFFF)}
_DURATION_WORDS = frozenset({"step", "range", "min_of", "max_of"})


class Lexer:
    """The tokens of one query, one per call of `next`; at the end it returns ``END``."""

    def __init__(self, query: str) -> None:
        self.query = query
        self._at = 0
        self._start = 0
        self._open_parens = 0
        self._in_brackets = False
        self._seen_colon = False
        self._seen_duration = False
        self._next: Callable[[], Token] = self._statement

    def next(self) -> Token:
        """The next token.

        Raises:
            ParseError: what follows is no token of PromQL.
        """
        return self._next()

    # ------------------------------------------------------------------ the three states

    def _statement(self) -> Token:
        """A token outside braces."""
        char = self._skip(_BLANK)
        if not char:
            return self._end()
        if char.isascii() and (char.isdigit() or (char == "." and self._peek(1) in _DIGIT_SET)):
            return self._number()
        if char in "\"'`":
            return self._string(char)
        if char == ":" or _LETTERS.match(char):
            return self._word_in_brackets(char) if self._in_brackets else self._word()
        if char in "()[]{,":
            return self._punctuation(char)
        return self._operator(char)

    def _braces(self) -> Token:
        """A token of a label matcher list, in which no word is special."""
        char = self._skip(_BLANK)
        if not char:
            self._fail("unexpected end of input inside braces")
        if char in "\"'`":
            return self._string(char)
        label = _LABEL.match(self.query, self._at)
        if label:
            return self._take(Kind.IDENTIFIER, len(label[0]))
        match char:
            case "}":
                self._next = self._statement
                return self._take(Kind.PUNCTUATION, 1)
            case ",":
                return self._take(Kind.PUNCTUATION, 1)
            case "=":
                tilde = self._peek(1) == "~"
                return self._take(Kind.OPERATOR, 2) if tilde else self._take(Kind.PUNCTUATION, 1)
            case "!":
                return self._negative_matcher()
            case "{":
                self._fail("unexpected left brace '{'")
        self._fail(f"unexpected character inside braces: {quote_char(char)}")

    def _duration_expression(self) -> Token:
        """A token after ``[`` and before the first number."""
        char = self._skip(_SPACE)
        if not char:
            self._fail("unexpected end of input in duration expression")
        if char.isascii() and (char.isdigit() or (char == "." and self._peek(1) in _DIGIT_SET)):
            self._next = self._statement
            return self._number()
        if char in "+-*/%^":
            return self._take(Kind.OPERATOR, 1)
        if char in "(),":
            return self._punctuation(char)
        if char == "]":
            self._next = self._statement
            return self._punctuation(char)
        if char == ":":
            return self._early_colon()
        word = self._duration_word()
        if word:
            return word
        self._fail(f"unexpected character in duration expression: {quote_char(char)}")

    # ------------------------------------------------------------------ kinds of tokens

    def _end(self) -> Token:
        if self._open_parens:
            self._fail("unclosed left parenthesis")
        if self._in_brackets:
            self._fail("unclosed left bracket")
        return self._take(Kind.END, 0)

    def _operator(self, char: str) -> Token:
        for operator in _OPERATORS:
            if self.query.startswith(operator, self._at):
                return self._take(Kind.OPERATOR, len(operator))
        if char == "=":
            if self._peek(1) == "~":
                self._fail("unexpected character after '=': '~'")
            return self._take(Kind.PUNCTUATION, 1)
        if char == "!":
            self._fail(f"unexpected character after '!': {quote_char(self._peek(1))}")
        self._fail(f"unexpected character: {quote_char(char)}")

    def _negative_matcher(self) -> Token:
        if self._peek(1) not in ("=", "~"):
            following = quote_char(self._peek(1))
            self._fail(f"unexpected character after '!' inside braces: {following}")
        return self._take(Kind.OPERATOR, 2)

    def _punctuation(self, char: str) -> Token:
        match char:
            case "(":
                self._open_parens += 1
            case ")":
                self._close_paren()
            case "[":
                self._open_bracket()
            case "]":
                self._close_bracket()
            case "{":
                self._next = self._braces
        return self._take(Kind.PUNCTUATION, 1)

    def _close_paren(self) -> None:
        self._open_parens -= 1
        if self._open_parens < 0:
            self._start += 1
            self._fail("unexpected right parenthesis ')'")

    def _open_bracket(self) -> None:
        if self._in_brackets:
            self._fail("unexpected left bracket '['")
        self._in_brackets = True
        self._seen_colon = False
        self._next = self._duration_expression

    def _close_bracket(self) -> None:
        if not self._in_brackets:
            self._fail("unexpected right bracket ']'")
        self._in_brackets = False

    def _early_colon(self) -> Token:
        colon = self._take(Kind.PUNCTUATION, 1)
        self._start = self._at
        if not self._seen_duration:
            self._fail("unexpected colon before duration in duration expression")
        if self._seen_colon:
            self._fail("unexpected repeated colon in duration expression")
        self._seen_colon = True
        return colon

    def _word_in_brackets(self, char: str) -> Token:
        """``:`` or a word of a duration expression; no other word may stand in brackets."""
        if char == ":":
            if self._seen_colon:
                self._fail("unexpected colon ':'")
            self._seen_colon = True
            return self._take(Kind.PUNCTUATION, 1)
        word = self._duration_word()
        if word:
            return word
        self._fail(f"unexpected character: {quote_char(char)}, expected ':'")

    def _duration_word(self) -> Token | None:
        found = _LETTERS.match(self.query, self._at)
        if not found or found[0].lower() not in _DURATION_WORDS:
            return None
        self._seen_duration = True
        return self._take(Kind.CONTEXT, len(found[0]))

    def _word(self) -> Token:
        found = _WORD.match(self.query, self._at)
        assert found is not None
        return self._take(self._kind_of(found[0].lower(), found.end()), len(found[0]))

    def _kind_of(self, word: str, end: int) -> Kind:
        if word in ("inf", "nan"):
            return Kind.NUMBER
        if word in OPERATOR_WORDS:
            return Kind.OPERATOR
        if word in AGGREGATORS:
            return Kind.AGGREGATOR
        if word in CONTEXT_WORDS:
            return Kind.CONTEXT
        if word in KEYWORDS and not (word in FILL_WORDS and not self._paren_follows(end)):
            return Kind.KEYWORD
        return Kind.METRIC_IDENTIFIER if ":" in word else Kind.IDENTIFIER

    def _paren_follows(self, end: int) -> bool:
        found = _SPACE.match(self.query, end)
        return self.query[found.end() if found else end :].startswith("(")

    # ------------------------------------------------------------------ numbers and durations

    def _number(self) -> Token:
        self._seen_duration = True
        if self._scan_number():
            return self._emit(Kind.NUMBER)
        if self._scan_duration():
            return self._emit(Kind.DURATION)
        self._fail(f"bad number or duration syntax: {quote(self.query[self._start : self._at])}")

    def _scan_number(self) -> bool:
        """Advance over a number; False where it breaks off, with the culprit consumed."""
        digits = _DIGITS
        if self._accept("0") and self._accept("xX"):
            self._accept("_")
            digits = _HEX_DIGITS
        self._accept(".")
        self._accept(digits)
        dots = exponents = 0
        while self._peek() and self._peek() in digits + "._eE":
            if self._accept("."):
                dots += 1
                if dots > 1 or self._accept("_.") or digits is _HEX_DIGITS:
                    return False
            elif digits is _DIGITS and self._accept("eE"):
                exponents += 1
                self._accept("+-")
                if exponents > 1 or self._accept("._eE") or not self._peek():
                    return False
            elif self._accept("_"):
                if self._accept("._eE") or not self._peek():
                    return False
            else:
                self._accept(digits)
        return not _is_word_char(self._peek())

    def _scan_duration(self) -> bool:
        """Advance over the units of a duration; False where they break off, as above."""
        found = _DURATION_REST.match(self.query, self._at)
        if not found:
            return False
        self._at = found.end()
        complete = not found[1] and not _is_word_char(self._peek())
        if not complete and not found[1]:
            self._at += 1
        return complete

    # ------------------------------------------------------------------ strings

    def _string(self, delimiter: str) -> Token:
        self._at += 1
        while True:
            char = self._peek()
            if not char or (char == "\n" and delimiter != "`"):
                kind = "raw" if delimiter == "`" else "quoted"
                self._fail(f"unterminated {kind} string")
            if char == "\ufffd" or "\ud800" <= char <= "\udfff":
                self._fail("invalid UTF-8 rune")
            self._at += 1
            if char == delimiter:
                return self._emit(Kind.STRING)
            if char == "\\" and delimiter != "`":
                self._escape(delimiter)

    def _escape(self, delimiter: str) -> None:
        char = self._peek()
        if not char:
            self._fail("escape sequence not terminated")
        self._at += 1
        if char in "abfnrtv\\" or char == delimiter:
            return
        if char in "01234567":
            self._at -= 1
            self._code_point(3, 8, 0xFF)
        elif char in _ESCAPE_DIGITS:
            self._code_point(*_ESCAPE_DIGITS[char])
        else:
            self._fail(f"unknown escape sequence {_code_point_name(char)}")

    def _code_point(self, count: int, base: int, largest: int) -> None:
        value = 0
        for _ in range(count):
            char = self._peek()
            if not char:
                self._fail("escape sequence not terminated")
            if char not in _HEX_DIGITS[: base if base == 8 else None]:
                self._fail(f"illegal character {_code_point_name(char)} in escape sequence")
            value = value * base + int(char, base)
            self._at += 1
        if value > largest or 0xD800 <= value < 0xE000:
            self._fail("escape sequence is an invalid Unicode code point")

    # ------------------------------------------------------------------ the cursor

    def _skip(self, blank: re.Pattern[str]) -> str:
        found = blank.match(self.query, self._at)
        assert found is not None
        self._at = self._start = found.end()
        return self._peek()

    def _peek(self, ahead: int = 0) -> str:
        return self.query[self._at + ahead : self._at + ahead + 1]

    def _accept(self, chars: str) -> bool:
        char = self._peek()
        if char and char in chars:
            self._at += 1
            return True
        return False

    def _take(self, kind: Kind, length: int) -> Token:
        self._at += length
        return self._emit(kind)

    def _emit(self, kind: Kind) -> Token:
        return Token(kind, self.query[self._start : self._at], self._start)

    def _fail(self, reason: str) -> NoReturn:
        raise ParseError(reason, self.query, self._start)


_DIGIT_SET = frozenset(_DIGITS)


def _is_word_char(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _code_point_name(char: str) -> str:
    return f"U+{ord(char):04X} '{char}'"
