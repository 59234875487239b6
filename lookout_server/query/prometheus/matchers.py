"""Label matchers: what a selector demands of a series' labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class MatchType(StrEnum):
    """How a matcher compares; the value is the operator as written in a query."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"

    @property
    def is_regex(self) -> bool:
        return self in (MatchType.REGEX, MatchType.NOT_REGEX)

    @property
    def is_negative(self) -> bool:
        return self in (MatchType.NOT_EQUAL, MatchType.NOT_REGEX)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a label that is absent has the value ``""``."""

    type: MatchType
    name: str
    value: str

    def matches(self, value: str) -> bool:
        """Whether a label value fulfils the condition."""
        if self.type.is_regex:
            found = compile_anchored(self.value).fullmatch(value) is not None
        else:
            found = value == self.value
        return found != self.type.is_negative

    @property
    def matches_empty(self) -> bool:
        """Whether a series without the label fulfils the condition."""
        return self.matches("")


@lru_cache(maxsize=1024)
def compile_anchored(pattern: str) -> re.Pattern[str]:
    """Compile an RE2 pattern for use with ``fullmatch``; ``.`` also matches a newline.

    Raises:
        re.error: the pattern is not valid.
    """
    return re.compile(_to_python(pattern), re.DOTALL)


# RE2 spells a few things differently from Python's re.
_RE2_ONLY = {r"\z": r"\Z", r"\pN": r"\d", r"\pL": r"[^\W\d_]", r"\C": r"."}


def _to_python(pattern: str) -> str:
    return re.sub(r"\\(?:z|pN|pL|C|\\)", lambda m: _RE2_ONLY.get(m[0], m[0]), pattern)
