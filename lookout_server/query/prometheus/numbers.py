"""Numbers as PromQL writes them and as Prometheus prints them."""

from __future__ import annotations

import math
import re

from .quoting import quote

_DECIMAL = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNDERSCORES = re.compile(r"_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*")
_LARGEST_INT = 2**63 - 1


def parse_number(text: str) -> float:
    """The value of an unsigned number literal: decimal, ``0x`` hexadecimal, ``0`` octal, Inf, NaN.

    Source: `strconv.ParseInt` with base 0, then `strconv.ParseFloat`.

    Raises:
        ValueError: the text is no number; its message is what Go says about it.
    """
    lower = text.lower()
    if lower in ("inf", "nan"):
        return float(lower)
    for prefix, base in (("0x", 16), ("0", 8)):
        value = _based(lower, prefix, base)
        if value is not None:
            return value
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax")
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"strconv.ParseFloat: parsing {quote(text)}: value out of range")
    return number


def _based(text: str, prefix: str, base: int) -> float | None:
    """An integer with a prefix, or None. Only such integers may contain underscores."""
    digits = text.removeprefix(prefix)
    if digits == text or not _UNDERSCORES.fullmatch(digits):
        return None
    try:
        value = int(digits.replace("_", ""), base)
    except ValueError:
        return None
    return float(value) if value <= _LARGEST_INT or base == 16 else None


def format_float(value: float) -> str:
    """The shortest text for a number, without an exponent (Go's format ``f``, precision -1)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return _without_exponent(repr(value))


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
    mantissa = repr(abs(value)).partition("e")[0]
    return len(mantissa.replace(".", "").strip("0"))
