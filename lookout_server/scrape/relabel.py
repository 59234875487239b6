"""Relabelling: rules that change, keep or drop label sets.

Source: "relabel_config" in the Prometheus documentation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..query.prometheus.regexes import PatternError, compile_pattern

_ACTIONS = {
    "replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase",
    "uppercase", "keepequal", "dropequal",
}  # fmt: skip
_NEEDS_TARGET = {"replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"}
_GO_GROUP = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(\$))")
_KEYS = {"source_labels", "separator", "target_label", "regex", "modulus", "replacement", "action"}


class BadRule(ValueError):
    """A rule that is not valid; the text says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``relabel_config``."""

    action: str = "replace"
    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    target_label: str = ""
    regex: str = "(.*)"
    modulus: int = 0
    replacement: str = "$1"

    def apply(self, labels: dict[str, str]) -> bool:
        """Change ``labels`` in place; False where they are to be dropped."""
        value = self.separator.join(labels.get(name, "") for name in self.source_labels)
        match self.action:
            case "keep":
                return compile_pattern(self.regex).fullmatch(value) is not None
            case "drop":
                return compile_pattern(self.regex).fullmatch(value) is None
            case "keepequal":
                return value == labels.get(self.target_label, "")
            case "dropequal":
                return value != labels.get(self.target_label, "")
            case "labelmap":
                self._map(labels)
            case "labeldrop" | "labelkeep":
                self._filter(labels)
            case _:
                self._set(labels, value)
        return True

    def _set(self, labels: dict[str, str], value: str) -> None:
        if self.action == "replace":
            self._replace(labels, value)
        elif self.action == "hashmod":
            # The last eight bytes of the MD5, as Prometheus does it.
            digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
            labels[self.target_label] = str(int.from_bytes(digest[8:], "big") % self.modulus)
        else:
            changed = value.lower() if self.action == "lowercase" else value.upper()
            labels[self.target_label] = changed

    def _replace(self, labels: dict[str, str], value: str) -> None:
        match = compile_pattern(self.regex).fullmatch(value)
        if match is None:
            return
        target = expand(self.target_label, match)
        replaced = expand(self.replacement, match)
        if replaced:
            labels[target] = replaced
        else:
            labels.pop(target, None)

    def _map(self, labels: dict[str, str]) -> None:
        for name, value in list(labels.items()):
            match = compile_pattern(self.regex).fullmatch(name)
            if match is not None:
                labels[expand(self.replacement, match)] = value

    def _filter(self, labels: dict[str, str]) -> None:
        pattern = compile_pattern(self.regex)
        for name in list(labels):
            if (pattern.fullmatch(name) is not None) == (self.action == "labeldrop"):
                del labels[name]


def expand(template: str, match: Any) -> str:
    """Go's ``Regexp.Expand``: ``$1`` and ``${name}``; a group that is not there is empty."""

    def group(found: re.Match[str]) -> str:
        if found[3]:
            return "$"
        name = found[1] or found[2]
        try:
            return match.group(int(name) if name.isdecimal() else name) or ""
        except (IndexError, KeyError):
            return ""

    return _GO_GROUP.sub(group, template)


def relabelled(rules: Sequence[Rule], labels: Mapping[str, str]) -> dict[str, str] | None:
    """The labels after all rules, None where one drops them."""
    changed = dict(labels)
    for rule in rules:
        if not rule.apply(changed):
            return None
    return {name: value for name, value in changed.items() if value}


def rule_of(entry: object) -> Rule:
    """A rule from its YAML. Raises BadRule."""
    if not isinstance(entry, dict):
        raise BadRule(f"a relabel rule is a mapping, not {entry!r}")
    unknown = set(entry) - _KEYS
    if unknown:
        raise BadRule(f"unknown field {sorted(unknown)[0]!r} in a relabel rule")
    fields = {key: str(value) for key, value in entry.items() if key not in _SPECIAL}
    rule = Rule(
        source_labels=tuple(str(name) for name in entry.get("source_labels", ())),
        modulus=int(entry.get("modulus", 0)),
        **fields,
    )
    if rule.action.lower() not in _ACTIONS:
        raise BadRule(f"unknown relabel action {rule.action!r}")
    if rule.action in _NEEDS_TARGET and not rule.target_label:
        raise BadRule(f"relabel action {rule.action} needs target_label")
    if rule.action == "hashmod" and rule.modulus <= 0:
        raise BadRule("relabel action hashmod needs a positive modulus")
    try:
        compile_pattern(rule.regex)
    except PatternError as error:
        raise BadRule(str(error)) from error
    return rule


_SPECIAL = {"source_labels", "modulus"}
