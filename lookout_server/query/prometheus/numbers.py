"""Numbers as PromQL writes them and as Prometheus prints them."""

from __future__ import annotations

import math
import re

from .quoting import quote

_INTEGER = re.compile(r"0[xX](?:_?[0-9a-fA-F]+)+|0(?:_?[0-7]+)+")
_DECIMAL = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SEPARATOR = re.compile(r"(?<=[0-9a-fA-FxX])_(?=[0-9a-fA-F])")


def parse_number(text: str) -> float:
    """The value of an unsigned number literal: decimal, ``0x`` hexadecimal, ``0`` octal, Inf, NaN.

    Underscores may separate digits. Source: `strconv.ParseInt` with base 0, else
    `strconv.ParseFloat`.

    Raises:
        ValueError: the text is no number; its message is what Go says about it.
    """
    if text.lower() in ("inf", "nan"):
        return float(text)
    digits = _SEPARATOR.sub("", text)
    if _INTEGER.fullmatch(text):
        return float(int(digits, 16 if digits[1] in "xX" else 8))
    if not _DECIMAL.fullmatch(digits):
        raise ValueError(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax")
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"strconv.ParseFloat: parsing {quote(text)}: value out of range")
    return number


def format_float(value: float) -> str:
    """The shortest text for a number, without an exponent (Go's format ``f``, precision -1)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return _without_exponent(repr(float(value)))  # NumPy's floats have a repr of their own


def _without_exponent(text: str) -> str:
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return mantissa.removesuffix(".0")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    shift = int(exponent)
    if shift < 0:
        return f"{sign}0.{'0' * (-shift - 1)}{whole}{fraction}"
    return f"{sign}{whole}{fraction.ljust(shift, '0')}"


def format_go(value: float) -> str:
    """The shortest text for a number, with an exponent from 1e+06 on and below 1e-04.

    This is Go's ``%v`` and ``%g``.
    """
    if not math.isfinite(value) or value == 0:
        return format_float(value)
    mantissa, _, exponent = f"{value:.{_digits(value) - 1}e}".partition("e")
    if -4 <= int(exponent) < 6:
        return format_float(value)
    return f"{mantissa}e{int(exponent):+03d}"


def _digits(value: float) -> int:
    """How many significant digits the shortest text for a number has."""
    mantissa = repr(abs(float(value))).partition("e")[0]
    return len(mantissa.replace(".", "").strip("0"))
