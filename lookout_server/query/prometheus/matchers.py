"""Label matchers: what a selector demands of a series' labels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .regexes import compile_pattern


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
            found = compile_pattern(self.value).fullmatch(value) is not None
        else:
            found = value == self.value
        return found != self.type.is_negative

    @property
    def matches_empty(self) -> bool:
        """Whether a series without the label fulfils the condition."""
        return self.matches("")
