"""Go's string literals: PromQL takes them over, and Prometheus' messages print them.

Source: "String literals" in the Go language specification; `strconv.Quote` for the output.
A byte that is no valid UTF-8 is carried in a str as a lone surrogate (``surrogateescape``).
"""

from __future__ import annotations

import re

_NAMED = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_ESCAPE_OF = {char: name for name, char in _NAMED.items() if name not in "'\""}
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))")
_RAW_BYTE_START, _RAW_BYTE_END = 0xDC80, 0xDCFF


def quote(text: str) -> str:
    """A text between double quotes, escaped as Go's ``%q`` does."""
    return '"' + "".join(_escaped(char, '"') for char in text) + '"'


def quote_char(char: str) -> str:
    """A character between single quotes, as Go's ``%q`` prints a rune; "" stands for none."""
    return f"'{_escaped(char or chr(0xFFFD), chr(39))}'"


def _escaped(char: str, delimiter: str) -> str:
    if char == delimiter:
        return "\\" + char
    if char in _ESCAPE_OF:
        return "\\" + _ESCAPE_OF[char]
    if char.isprintable():
        return char
    code = ord(char)
    if _RAW_BYTE_START <= code <= _RAW_BYTE_END:
        return f"\\x{code & 0xFF:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unquote(literal: str) -> str:
    """The value of a quoted literal, quotes included; backticks mean no escapes at all."""
    body = literal[1:-1]
    if literal[0] == "`":
        return body.replace("\r", "")
    if "\\" not in body:
        return body
    raw = _ESCAPE.sub(_unescaped, body.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def _unescaped(match: re.Match[bytes]) -> bytes:
    two, four, eight, octal, named = match.groups()
    if two:
        return bytes([int(two, 16)])
    if octal:
        return bytes([int(octal, 8)])
    if named:
        return _NAMED[named.decode()].encode()
    return chr(int(four or eight, 16)).encode()
