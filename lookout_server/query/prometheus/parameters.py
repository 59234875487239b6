"""Parameters of API requests, read as Prometheus reads them, with its messages."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.requests import Request

from .duration import parse_duration as parse_prometheus_duration
from .errors import BadData
from .matchers import Matcher
from .parse_error import ParseError
from .parser import parse_selector
from .quoting import quote

#: What ``math.MinInt64/1000 + 62135596801`` and its like mean to Prometheus: all of time.
MIN_MS, MAX_MS = -(2**62), 2**62
_MIN_TEXT, _MAX_TEXT = "-292273086-05-16T16:47:06Z", "+292277025-08-18T07:12:54.999999999Z"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_SPECIAL = re.compile(r"[+-]?(?:inf|infinity|nan)", re.IGNORECASE)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)
_MAX_INT64 = 2**63 - 1


class Form:
    """URL query and, of a POST, the form in the body, which goes first."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    @classmethod
    def of(cls, request: Request, body: bytes = b"") -> Form:
        """The parameters of a request whose form-encoded body was already read."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        pairs: list[tuple[str, str]] = []
        if body and kind == "application/x-www-form-urlencoded":
            pairs += _decoded(body.decode("utf-8", "surrogateescape"))
        pairs += _decoded(request.scope["query_string"].decode("latin-1"))
        return cls(pairs)

    def get(self, name: str, default: str = "") -> str:
        """The first value, or the default."""
        return self._values.get(name, [default])[0]

    def all(self, name: str) -> list[str]:
        """All values."""
        return self._values.get(name, [])


def _decoded(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def invalid(name: str, error: object) -> BadData:
    """The error for a parameter that is not what it should be."""
    return BadData(f"invalid parameter {quote(name)}: {error}")


def time_parameter(form: Form, name: str, default_ms: int) -> int:
    """An optional time, in ms. Raises BadData."""
    text = form.get(name)
    if not text:
        return default_ms
    try:
        return parse_time(text)
    except ValueError as error:
        raise invalid(name, f"Invalid time value for '{name}': {error}") from None


def required_time(form: Form, name: str) -> int:
    """A time that must be given, in ms. Raises BadData."""
    try:
        return parse_time(form.get(name))
    except ValueError as error:
        raise invalid(name, error) from None


def duration_parameter(form: Form, name: str) -> int:
    """A duration that must be given, in ms. Raises BadData."""
    try:
        return parse_duration(form.get(name))
    except ValueError as error:
        raise invalid(name, error) from None


def limit_parameter(form: Form) -> int:
    """``limit``, 0 where it is off. Raises BadData."""
    text = form.get("limit")
    if not text:
        return 0
    try:
        limit = parse_int(text)
    except ValueError as error:
        raise invalid("limit", error) from None
    if limit < 0:
        raise invalid("limit", "limit must be non-negative")
    return limit


def parse_int(text: str) -> int:
    """As Go's ``strconv.Atoi``. Raises ValueError with its message."""
    if not _INT.fullmatch(text):
        raise ValueError(f"strconv.Atoi: parsing {quote(text)}: invalid syntax")
    number = int(text) if len(text) < 30 else _MAX_INT64 + 1
    if not -_MAX_INT64 - 1 <= number <= _MAX_INT64:
        raise ValueError(f"strconv.Atoi: parsing {quote(text)}: value out of range")
    return number


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of Unix seconds or RFC 3339. Raises ValueError."""
    number = _go_float(text)
    if number is not None:
        if not math.isfinite(number) or abs(number) > _MAX_INT64 / 1000:
            raise ValueError(f"cannot parse {quote(text)} to a valid timestamp")
        return round(number * 1000)
    found = _RFC3339.fullmatch(text)
    if found:
        try:
            return _rfc3339(found)
        except (ValueError, OverflowError):
            pass
    if text == _MIN_TEXT:
        return MIN_MS
    if text == _MAX_TEXT:
        return MAX_MS
    raise ValueError(f"cannot parse {quote(text)} to a valid timestamp")


def parse_duration(text: str) -> int:
    """Milliseconds of float seconds or of a Prometheus duration. Raises ValueError."""
    number = _go_float(text)
    if number is not None:
        if math.isnan(number) or abs(number) * 1e9 > _MAX_INT64:
            raise ValueError(f"cannot parse {quote(text)} to a valid duration. It overflows int64")
        return int(number * 1000)
    try:
        return parse_prometheus_duration(text)
    except ValueError:
        raise ValueError(f"cannot parse {quote(text)} to a valid duration") from None


def matchers_parameter(form: Form) -> list[list[Matcher]]:
    """The selectors of ``match[]``, none of which matches just any series. Raises BadData."""
    sets = selectors_parameter(form)
    if any(all(matcher.matches_empty for matcher in matchers) for matchers in sets):
        raise BadData("match[] must contain at least one non-empty matcher")
    return sets


def selectors_parameter(form: Form, name: str = "match[]") -> list[list[Matcher]]:
    """The selectors of a parameter. Raises BadData."""
    try:
        return [list(parse_selector(text)) for text in form.all(name)]
    except ParseError as error:
        raise BadData(str(error)) from None


def now_ms() -> int:
    """The present, in ms."""
    return time.time_ns() // 1_000_000


def _go_float(text: str) -> float | None:
    if _NUMBER.fullmatch(text) or _SPECIAL.fullmatch(text):
        return float(text)
    return None


def _rfc3339(found: re.Match[str]) -> int:
    seconds, fraction, zone = found.groups()
    moment = datetime.fromisoformat(seconds + zone.replace("Z", "+00:00"))
    whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return whole * 1000 + int((fraction or "0")[:3].ljust(3, "0"))
