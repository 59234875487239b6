"""Sampling by rules from a file: the first rule that matches a root decides.

    default = 0.1                 # what no rule matches: a ratio, or the forms below

    [[rule]]
    name = "GET /health*"         # glob of the span's name
    ratio = 0

    [[rule]]
    path = "/checkout/*"          # glob of the tag url.path (or http.target)
    kind = "server"
    tags = { "tenant" = "gold*" } # globs of tags given at the start
    ratio = 1.0

    [[rule]]
    name = "poll"
    per_second = 2                # or: percent = 12.5

The file may change at run time; it is looked at again at most once a second.
"""

from __future__ import annotations

import logging
import os
import time
import tomllib
from collections.abc import Callable, Mapping
from fnmatch import translate
from pathlib import Path
from re import Pattern
from re import compile as compiled
from typing import Any, NamedTuple

from .kinds import SpanKind
from .sampling import AlwaysOn, Decision, Ratio, Sampler
from .sampling_rate import KInHundred, RateLimited
from .span_context import SpanContext

_log = logging.getLogger("lookout")

_PATH_TAGS = ("url.path", "http.target", "http.route")
_FORMS: dict[str, Callable[[float], Sampler]] = {
    "ratio": Ratio,
    "per_second": RateLimited,
    "percent": KInHundred,
}
_KEYS = {"name", "path", "kind", "tags", *_FORMS}


class RuleError(ValueError):
    """A rule that cannot be used; the message says which and why."""


class Rule(NamedTuple):
    """What a root must be like, and the sampler to ask then. None matches everything."""

    sampler: Sampler
    name: Pattern[str] | None = None
    path: Pattern[str] | None = None
    kind: SpanKind | None = None
    tags: Mapping[str, Pattern[str]] | None = None

    def matches(self, name: str, kind: int, tags: Mapping[str, object]) -> bool:
        """Whether a root of that name, kind and tags is meant."""
        if self.name is not None and not self.name.match(name):
            return False
        if self.kind is not None and self.kind != kind:
            return False
        if self.path is not None and not self.path.match(_path_of(tags)):
            return False
        return self.tags is None or all(
            key in tags and pattern.match(str(tags[key])) for key, pattern in self.tags.items()
        )


class Rules:
    """Asks the sampler of the first rule that matches, ``default`` where none does."""

    def __init__(self, rules: tuple[Rule, ...] = (), default: Sampler | None = None) -> None:
        self.rules = rules
        self.default = default or AlwaysOn()

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        for rule in self.rules:
            if rule.matches(name, kind, tags or {}):
                return rule.sampler.sample(trace_id, name, kind, tags, parent)
        return self.default.sample(trace_id, name, kind, tags, parent)

    @classmethod
    def parse(cls, text: str) -> Rules:
        """The rules of a TOML document. RuleError says what is wrong with it."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as problem:
            raise RuleError(str(problem)) from None
        given = content.get("rule", [])
        if not isinstance(given, list):
            raise RuleError("rules are written as [[rule]]")
        rules = tuple(_rule(number, item) for number, item in enumerate(given, 1))
        default = content.get("default", 1.0)
        if isinstance(default, dict):
            return cls(rules, _sampler_of("default", default))
        return cls(rules, _sampler_of("default", {"ratio": default}))


class RulesFile:
    """The rules of a file, read again when the file changes.

    A file that is missing or wrong is reported once, and what was read last stays in force.
    """

    def __init__(
        self, path: str | os.PathLike[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        self._rules = Rules()
        self._seen: tuple[int, int, int] | None = None
        self._look_again = 0.0
        self._reported = ""
        self._refresh()

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        if self._clock() >= self._look_again:
            self._refresh()
        return self._rules.sample(trace_id, name, kind, tags, parent)

    def _refresh(self) -> None:
        self._look_again = self._clock() + 1.0
        try:
            state = self.path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen == self._seen:
                return
            self._seen = seen
            self._rules = Rules.parse(self.path.read_text(encoding="utf-8"))
            self._reported = ""
        except (OSError, ValueError) as problem:
            if str(problem) != self._reported:
                self._reported = str(problem)
                _log.warning("sampling rules %s not used: %s", self.path, problem)

    def __repr__(self) -> str:
        return f"RulesFile({str(self.path)!r})"


def _path_of(tags: Mapping[str, object]) -> str:
    for key in _PATH_TAGS:
        if key in tags:
            return str(tags[key]).partition("?")[0]
    return ""


def _rule(number: int, item: Any) -> Rule:
    where = f"rule {number}"
    if not isinstance(item, dict):
        raise RuleError(f"{where} is no table")
    unknown = sorted(set(item) - _KEYS)
    if unknown:
        raise RuleError(
            f"{where}: unknown {', '.join(unknown)}; there are {', '.join(sorted(_KEYS))}"
        )
    tags = item.get("tags")
    if tags is not None and not isinstance(tags, dict):
        raise RuleError(f"{where}: tags is a table of globs")
    return Rule(
        _sampler_of(where, {key: item[key] for key in _FORMS if key in item}),
        _glob(item.get("name")),
        _glob(item.get("path")),
        _kind(where, item.get("kind")),
        {key: compiled(translate(str(glob))) for key, glob in tags.items()} if tags else None,
    )


def _glob(pattern: Any) -> Pattern[str] | None:
    return None if pattern is None else compiled(translate(str(pattern)))


def _kind(where: str, value: Any) -> SpanKind | None:
    if value is None:
        return None
    try:
        return SpanKind[str(value).upper()]
    except KeyError:
        names = ", ".join(kind.name.lower() for kind in SpanKind)
        raise RuleError(f"{where}: kind {value!r} is none of {names}") from None


def _sampler_of(where: str, given: Mapping[str, Any]) -> Sampler:
    if len(given) != 1 or next(iter(given)) not in _FORMS:
        raise RuleError(f"{where} needs exactly one of {', '.join(_FORMS)}")
    form, value = next(iter(given.items()))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RuleError(f"{where}: {form} must be a number, not {value!r}")
    try:
        return _FORMS[form](value)
    except ValueError as problem:
        raise RuleError(f"{where}: {problem}") from None
