"""Regular expressions as PromQL means them: RE2's syntax, and its promise of linear time."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, cast

import re2


class PatternError(ValueError):
    """A pattern that is not valid; the text is what Prometheus says about it."""


class Match(Protocol):
    """What a pattern found, as in `re.Match`."""

    def expand(self, template: str) -> str: ...
    def group(self, *groups: int | str) -> str | None: ...
    def groups(self, default: str | None = None) -> tuple[str | None, ...]: ...


class Pattern(Protocol):
    """A compiled pattern, as in `re.Pattern`."""

    groups: int
    groupindex: dict[str, int]

    def fullmatch(self, text: str) -> Match | None: ...


#: RE2's reasons in the words of Go's `regexp/syntax`, where the two differ.
_REASONS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern for use with ``fullmatch``; ``.`` also matches a newline.

    Raises:
        PatternError: the pattern is not valid.
    """
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    try:
        return cast(Pattern, re2.compile(pattern, options=options))
    except UnicodeEncodeError:
        raise PatternError("error parsing regexp: invalid UTF-8") from None
    except re2.error as error:
        reason, _, culprit = error.args[0].decode("utf-8", "replace").partition(": ")
        named = _REASONS.get(reason, reason)
        raise PatternError(f"error parsing regexp: {named}: `{culprit}`") from None
