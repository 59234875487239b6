"""Durations as people write them, in settings and on the command line."""

from __future__ import annotations

import math
import re
from contextlib import suppress

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}


def parse_duration(text: object) -> float:
    """Seconds of ``7d``, ``1h30m``, ``250ms`` or a plain number of seconds.

    Raises ValueError naming the text and the form expected.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdwy])", str(text))
    if parts and "".join(n + u for n, u in parts) == str(text):
        return float(sum(float(n) * _UNITS[u] for n, u in parts))
    with suppress(ValueError):
        seconds = float(str(text))
        if 0 <= seconds < math.inf:
            return seconds
    raise ValueError(f"{text!r} is no duration; expected such as 7d, 12h, 90s or 0")


def parse_age(text: object) -> float:
    """The same, but a number needs its unit: data kept for ``3.5`` seconds is data lost.

    Raises ValueError as above, and for a number other than 0 alone.
    """
    seconds = parse_duration(text)
    if seconds and not str(text)[-1:].isalpha():
        raise ValueError(f"{text!r} has no unit; expected such as {text}d, {text}h, or 0")
    return seconds


def format_duration(seconds: float) -> str:
    """The duration as people write it, such as ``7d`` or ``1h30m``, to the millisecond."""
    rest = round(seconds * 1000)
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, round(_UNITS[unit] * 1000))
        text += f"{count}{unit}" if count else ""
    return text or "0"
