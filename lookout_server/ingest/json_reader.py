"""A pull reader of JSON with exactly the leniency of Zipkin's collector.

Zipkin reads JSON through Gson's streaming reader in its strict mode, which is not RFC 8259: numbers
pass for strings and numeric strings for numbers, keywords are case-insensitive, raw control
characters may stand inside strings, malformed UTF-8 becomes U+FFFD, and whatever follows the first
value is never read. Senders rely on it, so bodies that the fast decoder refuses are read by this.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import NoReturn

_SPACE = re.compile(r"[ \n\r\t]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_KEYWORD = re.compile(r"true|false|null", re.IGNORECASE | re.ASCII)
_STRING_RUN = re.compile(r'[^"\\]*')
_FOUR_HEX = re.compile(r"[0-9a-fA-F]{4}")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_JAVA_LONG = re.compile(r"[+-]?[0-9]+")
_JAVA_DOUBLE = re.compile(
    r"([+-]?)(?:(NaN)|(Infinity)|((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fFdD]?)"
)
_TWO_POINTS = re.compile(r"[+-]?[0-9]*\.[0-9]*\.")
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "f": "\f"}
_ESCAPES |= {c: c for c in "\"'\\/\n"}
_LONG_MAX = 2**63 - 1
_INT_MAX = 2**31 - 1


class JsonError(Exception):
    """What is wrong with the document, in the words Zipkin's users know."""


class Token(Enum):
    """What stands next in the document; the names appear in error texts."""

    BEGIN_ARRAY = "BEGIN_ARRAY"
    END_ARRAY = "END_ARRAY"
    BEGIN_OBJECT = "BEGIN_OBJECT"
    END_OBJECT = "END_OBJECT"
    NAME = "NAME"
    STRING = "STRING"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"
    NULL = "NULL"
    END_DOCUMENT = "END_DOCUMENT"


class _Frame:
    """One open array or object: where we are in it, for commas and for paths."""

    __slots__ = ("dangling", "fresh", "index", "is_array", "name")

    def __init__(self, is_array: bool) -> None:
        self.is_array = is_array
        self.name = ""
        self.index = 0
        self.fresh = True  # nothing read yet: no comma expected
        self.dangling = False  # a name was read, its value was not


class JsonReader:
    """Reads one document token by token. Every method raises JsonError on what it cannot read."""

    def __init__(self, body: bytes) -> None:
        self._text = body.decode("utf-8", "replace")
        self._at = 0
        self._frames: list[_Frame] = []
        self._started = False
        self._token: Token | None = None
        self._literal = ""  # text of a number or keyword that was peeked
        self._literal_end = 0  # a peeked number that is no long is not passed yet

    # What the caller asks

    def peek(self) -> Token:
        """The next token, which stays the next."""
        if self._token is None:
            self._token = self._scan()
        return self._token

    def has_next(self) -> bool:
        """Whether the open array or object has another element."""
        return self.peek() not in (Token.END_ARRAY, Token.END_OBJECT)

    def begin_array(self) -> None:
        self._expect(Token.BEGIN_ARRAY)
        self._token = None
        self._frames.append(_Frame(True))

    def begin_object(self) -> None:
        self._expect(Token.BEGIN_OBJECT)
        self._token = None
        self._frames.append(_Frame(False))

    def end_array(self) -> None:
        self._expect(Token.END_ARRAY)
        self._close()

    def end_object(self) -> None:
        self._expect(Token.END_OBJECT)
        self._close()

    def next_name(self) -> str:
        if self.peek() is not Token.NAME:
            raise JsonError(f"Expected a name but was {self.peek().value}{self._location()}")
        name = self._quoted()
        frame = self._frames[-1]
        frame.name = name
        frame.dangling = True
        self._token = None
        return name

    def next_string(self) -> str:
        token = self.peek()
        if token is Token.STRING:
            value = self._quoted()
        elif token is Token.NUMBER:
            value = self._literal
            self._at = self._literal_end
        else:
            raise JsonError(f"Expected a string but was {token.value}{self._location()}")
        self._consumed()
        return value

    def next_long(self) -> int:
        return self._integer("a long", _LONG_MAX)

    def next_int(self) -> int:
        return self._integer("an int", _INT_MAX)

    def next_boolean(self) -> bool:
        if self.peek() is not Token.BOOLEAN:
            raise JsonError(f"Expected a boolean but was {self.peek().value}{self._location()}")
        self._consumed()
        return self._literal == "true"

    def skip_value(self) -> None:
        """Pass over one value of any kind and depth."""
        depth = 0
        while True:
            token = self.peek()
            if token is Token.BEGIN_ARRAY:
                self.begin_array()
                depth += 1
            elif token is Token.BEGIN_OBJECT:
                self.begin_object()
                depth += 1
            elif token in (Token.END_ARRAY, Token.END_OBJECT):
                self._close()
                depth -= 1
            elif token is Token.NAME:
                self.next_name()
            elif token in (Token.STRING, Token.NUMBER):
                self.next_string()
            else:
                self._consumed()
            if depth <= 0 and not (self._frames and self._frames[-1].dangling):
                return

    def path(self) -> str:
        """Where the reader is, as ``$[0].tags.error``."""
        steps = (f"[{f.index}]" if f.is_array else f".{f.name}" for f in self._frames)
        return "$" + "".join(steps)

    # How it is found

    def _scan(self) -> Token:
        if not self._frames:
            return self._scan_document()
        frame = self._frames[-1]
        if frame.is_array:
            return self._scan_element(frame)
        return self._scan_member(frame)

    def _scan_document(self) -> Token:
        if self._started:
            return Token.END_DOCUMENT
        self._started = True
        return self._value(self._significant())

    def _scan_element(self, frame: _Frame) -> Token:
        first, frame.fresh = frame.fresh, False
        char = self._significant()
        if not first:
            if char == "]":
                return Token.END_ARRAY
            self._comma(char, "Unterminated array")
            char = self._significant()
        if char == "]" and first:
            return Token.END_ARRAY
        if char in "];,":
            self._malformed()
        return self._value(char)

    def _scan_member(self, frame: _Frame) -> Token:
        if frame.dangling:
            return self._scan_member_value(frame)
        first, frame.fresh = frame.fresh, False
        char = self._significant()
        if char == "}":
            return Token.END_OBJECT
        if not first:
            self._comma(char, "Unterminated object")
            char = self._significant()
        if char == '"':
            return Token.NAME
        if char == "}":
            self._syntax("Expected name")
        self._malformed()

    def _scan_member_value(self, frame: _Frame) -> Token:
        frame.dangling = False
        char = self._significant()
        if char == "=":
            self._malformed()
        if char != ":":
            self._syntax("Expected ':'")
        char = self._significant()
        if char in "];,":
            self._syntax("Unexpected value")
        return self._value(char)

    def _value(self, char: str) -> Token:
        if char == '"':
            return Token.STRING
        if char == "[":
            return Token.BEGIN_ARRAY
        if char == "{":
            return Token.BEGIN_OBJECT
        self._at -= 1
        return self._keyword() or self._number() or self._unreadable(char)

    def _keyword(self) -> Token | None:
        match = _KEYWORD.match(self._text, self._at)
        if match is None or self._literal_goes_on(match.end()):
            return None
        self._at = match.end()
        self._literal = match.group().lower()
        return Token.NULL if self._literal == "null" else Token.BOOLEAN

    def _number(self) -> Token | None:
        match = _NUMBER.match(self._text, self._at)
        if match is None or self._literal_goes_on(match.end()):
            return None
        self._literal = match.group()
        self._literal_end = match.end()
        if _is_long(self._literal):  # of others, error texts name the place before
            self._at = match.end()
        return Token.NUMBER

    def _literal_goes_on(self, at: int) -> bool:
        """Whether an unquoted word would continue at this place."""
        if at >= len(self._text):
            return False
        char = self._text[at]
        if char in "/\\;#=":
            self._malformed()
        return char not in "{}[]:, \t\f\r\n"

    def _unreadable(self, char: str) -> NoReturn:
        if char in "{}[]:, \t\f\r\n":
            self._syntax("Expected value")
        self._malformed()

    def _quoted(self) -> str:
        """Rest of a string whose opening quote was passed."""
        parts: list[str] = []
        while True:
            match = _STRING_RUN.match(self._text, self._at)
            assert match is not None  # the pattern matches the empty run
            parts.append(match.group())
            self._at = match.end()
            if self._at >= len(self._text):
                self._syntax("Unterminated string")
            self._at += 1
            if self._text[self._at - 1] == '"':
                return _well_formed("".join(parts))
            parts.append(self._escape())

    def _escape(self) -> str:
        if self._at >= len(self._text):
            self._syntax("Unterminated escape sequence")
        char = self._text[self._at]
        self._at += 1
        if char == "u":
            match = _FOUR_HEX.match(self._text, self._at)
            if match is None:
                if len(self._text) - self._at < 4:
                    self._syntax("Unterminated escape sequence")
                raise JsonError("\\u" + self._text[self._at : self._at + 4])
            self._at = match.end()
            return chr(int(match.group(), 16))
        if char not in _ESCAPES:
            self._syntax("Invalid escape sequence")
        return _ESCAPES[char]

    def _significant(self) -> str:
        """The next character that is no white space, passed over."""
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        if self._at >= len(self._text):
            raise JsonError(f"End of input{self._location()}")
        char = self._text[self._at]
        self._at += 1
        if char in "/#":  # comments, which the lenient mode would skip
            self._malformed()
        return char

    def _comma(self, char: str, otherwise: str) -> None:
        if char == ";":
            self._malformed()
        if char != ",":
            self._syntax(otherwise)

    # What was read

    def _expect(self, token: Token) -> None:
        if self.peek() is not token:
            was = self.peek().value
            raise JsonError(f"Expected {token.value} but was {was}{self._location()}")

    def _consumed(self) -> None:
        self._token = None
        if self._frames and self._frames[-1].is_array:
            self._frames[-1].index += 1

    def _close(self) -> None:
        self._frames.pop()
        self._consumed()

    def _integer(self, article: str, largest: int) -> int:
        token = self.peek()
        if token is Token.STRING:
            text = self._quoted()
        elif token is Token.NUMBER:
            text = self._literal
            self._at = self._literal_end
        else:
            raise JsonError(f"Expected {article} but was {token.value}{self._location()}")
        value = _java_integer(text, largest)
        if value is None:
            raise JsonError(f"Expected {article} but was {text}{self._location()}")
        self._consumed()
        return value

    def _location(self) -> str:
        line = self._text.count("\n", 0, self._at) + 1
        column = self._at - (self._text.rfind("\n", 0, self._at) + 1) + 1
        return f" at line {line} column {column} path {self.path()}"

    def _syntax(self, what: str) -> NoReturn:
        raise JsonError(what + self._location())

    def _malformed(self) -> NoReturn:
        raise JsonError(f"malformed JSON{self._location()}")


def _is_long(text: str) -> bool:
    """Whether a number is a whole one of 64 bits (minus zero is not)."""
    if len(text) > 20 or text == "-0" or not _JAVA_LONG.fullmatch(text):
        return False
    return -(2**63) <= int(text) < 2**63


def _java_integer(text: str, largest: int) -> int | None:
    """The whole number a text stands for, as Java reads it; None when it is not whole or fits not.

    Raises JsonError when the text is no number at all.
    """
    if len(text) < 24 and _JAVA_LONG.fullmatch(text):
        value = int(text)
        if -largest - 1 <= value <= largest:
            return value
    as_double = _java_double(text)
    if not math.isfinite(as_double):
        return None
    value = min(max(int(as_double), -largest - 1), largest)
    return value if float(value) == as_double else None


def _java_double(text: str) -> float:
    trimmed = text.strip("".join(map(chr, range(33))))
    if not trimmed:
        raise JsonError("empty String")
    match = _JAVA_DOUBLE.fullmatch(trimmed)
    if match is None:
        if _TWO_POINTS.match(trimmed):
            raise JsonError("multiple points")
        raise JsonError(f'For input string: "{trimmed}"')
    sign, nan, infinity, digits = match.groups()
    if nan:
        return float("nan")
    return float(sign + ("inf" if infinity else digits))


def _well_formed(text: str) -> str:
    """Escaped surrogate pairs joined, halves without their other half as ``?``."""
    if not _LONE_SURROGATE.search(text):
        return text
    joined = _SURROGATE_PAIR.sub(
        lambda pair: pair.group().encode("utf-16", "surrogatepass").decode("utf-16"), text
    )
    return _LONE_SURROGATE.sub("?", joined)
