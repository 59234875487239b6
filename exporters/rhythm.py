"""When a log file is full of time: the suffix of a rolled file tells its period."""

from __future__ import annotations

import re
import time

DAILY = ".%Y-%m-%d"
HOURLY = ".%Y-%m-%d_%H"

_NAMED = {"daily": DAILY, "hourly": HOURLY}

# SOFATracer's patterns are Java's SimpleDateFormat; these letters are what its users write.
_JAVA = {
    "yyyy": "%Y",
    "yy": "%y",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
    "ss": "%S",
}
_JAVA_TOKEN = re.compile(r"'([^']*)'|(yyyy|yy|MM|dd|HH|mm|ss)|(.)")


class Rhythm:
    """A period of local time, given as the date pattern of the suffix it names.

    ``pattern`` is "daily", "hourly", a strftime pattern (``.%Y-%m-%d_%H%M``) or, with letters
    instead of percent signs, SOFATracer's form (``'.'yyyy-MM-dd_HH``). Two moments belong to
    the same period when they format alike. Raises ValueError for a pattern that always gives
    the same text, or text that a file name may not hold or end with on some system.
    """

    def __init__(self, pattern: str = "daily") -> None:
        self.pattern = _NAMED.get(pattern.lower(), pattern)
        if "%" not in self.pattern:
            self.pattern = _from_java(self.pattern)
        if not self._is_legal():
            raise ValueError(f"not a date pattern for file names: {pattern!r}")
        self._second = -1
        self._suffix = ""

    def _is_legal(self) -> bool:
        try:
            early, late = self.suffix(0.0), self.suffix(40_000_000.25)
        except ValueError:  # a directive this system does not know, or text it cannot spell
            return False
        return early != late and ends_a_name(early) and ends_a_name(late)

    def suffix(self, moment: float) -> str:
        """The suffix of the period that ``moment`` (Unix, seconds) lies in."""
        return time.strftime(self.pattern, time.localtime(moment))

    def current(self, moment: float) -> str:
        """The same, remembered for the second."""
        second = int(moment)
        if second != self._second:
            self._suffix = self.suffix(moment)
            self._second = second
        return self._suffix


def ends_a_name(text: str) -> bool:
    """Whether a file's name may end with ``text``, on Windows too.

    https://learn.microsoft.com/windows/win32/fileio/naming-a-file
    """
    legal = not set(text) & _FORBIDDEN and (text.isascii() or text.isprintable())
    return legal and not text.endswith((".", " "))


_FORBIDDEN = {*'<>:"/\\|?*', *map(chr, range(32)), "\x7f"}


def _from_java(pattern: str) -> str:
    return "".join(
        quoted or _JAVA.get(letters, "") or other
        for quoted, letters, other in _JAVA_TOKEN.findall(pattern)
    )


def reserve_seconds(text: str | float) -> float:
    """How long rolled files are kept, in seconds, from SOFATracer's form.

    ``7`` and ``7D`` are seven days, ``1D6H`` is a day and six hours. Raises ValueError.
    """
    match = re.fullmatch(r"\s*(?:(\d+)\s*D?)?\s*(?:(\d+)\s*H)?\s*", str(text), re.IGNORECASE)
    if match is None or not (match[1] or match[2]):
        raise ValueError(f"expected days and hours like 7, 7D, 0D12H or 1D6H, not {text!r}")
    return int(match[1] or 0) * 86_400.0 + int(match[2] or 0) * 3_600.0
