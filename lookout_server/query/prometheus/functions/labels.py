"""Functions of series' labels: label_replace, label_join, the sorts by label, absent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cmp_to_key

from .. import labelsets, tree
from ..errors import ExecutionError
from ..frame import Frame
from ..matchers import MatchType
from ..regexes import Match, PatternError, compile_pattern
from ..source import METRIC_NAME, Labels

_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_CHUNK = re.compile(r"[0-9]+|[^0-9]+")
_LARGEST_INT = 2**63 - 1


def label_replace(frame: Frame, target: str, replacement: str, source: str, pattern: str) -> Frame:
    """Set ``target`` from what ``pattern`` finds in the whole of ``source``."""
    try:
        regex = compile_pattern(pattern)
    except PatternError:
        raise ExecutionError(f"invalid regular expression in label_replace(): {pattern}") from None
    _check_name(target, "destination", "label_replace")
    drop = frame.drop_name.copy()
    labels: list[Labels] = []
    for row, each in enumerate(frame.labels):
        found = regex.fullmatch(labelsets.get(each, source))
        if found is None:
            labels.append(each)
            continue
        labels.append(labelsets.replaced(each, {target: _expanded(replacement, found)}))
        drop[row] &= target != METRIC_NAME
    return Frame(labels, frame.values, frame.present, drop, frame.histograms).merged()


def _expanded(template: str, found: Match) -> str:
    """Go's ``Regexp.Expand``: ``$1``, ``${1}`` and ``$name``; what is no group is empty."""

    def group(reference: re.Match[str]) -> str:
        if reference[0] == "$$":
            return "$"
        name = reference[1] or reference[2]
        try:
            return found.group(int(name) if _NUMBER.fullmatch(name) else name) or ""
        except (IndexError, KeyError):
            return ""

    return _REFERENCE.sub(group, template)


def label_join(frame: Frame, target: str, separator: str, sources: Sequence[str]) -> Frame:
    """Set ``target`` to the values of ``sources``, joined."""
    for name in sources:
        _check_name(name, "source", "label_join")
    _check_name(target, "destination", "label_join")
    drop = frame.drop_name.copy()
    if target == METRIC_NAME:
        drop[:] = False
    labels = [
        labelsets.replaced(
            each, {target: separator.join(labelsets.get(each, name) for name in sources)}
        )
        for each in frame.labels
    ]
    return Frame(labels, frame.values, frame.present, drop, frame.histograms).merged()


def _check_name(name: str, role: str, function: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        name = ""
    if not name:
        raise ExecutionError(f"invalid {role} label name in {function}(): {name}")


def sort_by_label(frame: Frame, names: Sequence[str], *, descending: bool) -> Frame:
    """Rows in natural order of some labels' values, then of all labels."""

    def compare(left: int, right: int) -> int:
        first, second = frame.labels[left], frame.labels[right]
        for name in names:
            one, other = labelsets.get(first, name), labelsets.get(second, name)
            if one != other:
                return -1 if _natural_less(one, other) else 1
        return (first > second) - (first < second)

    rows = sorted(range(len(frame)), key=cmp_to_key(compare), reverse=descending)
    return frame.take(rows)


def _natural_less(left: str, right: str) -> bool:
    """Whether ``left`` comes first, numbers within compared by their value."""
    ours, theirs = _CHUNK.findall(left), _CHUNK.findall(right)
    for one, other in zip(ours, theirs, strict=False):
        number, its = _whole_number(one), _whole_number(other)
        if number is not None and its is not None:
            if number != its:
                return number < its
        elif one != other:
            return bool(one < other)
    return len(ours) <= len(theirs)


def _whole_number(chunk: str) -> int | None:
    """The number a chunk is; None where it is none, or too large for 64 bits."""
    digits = chunk.lstrip("0")
    if chunk[0] not in "0123456789" or len(digits) > len(str(_LARGEST_INT)):
        return None
    number = int(digits or "0")
    return number if number <= _LARGEST_INT else None


def labels_of_absent(expr: tree.Expr) -> Labels:
    """The labels that an absent series would certainly have: those a selector demands."""
    if isinstance(expr, tree.MatrixSelector):
        expr = expr.selector
    if not isinstance(expr, tree.VectorSelector):
        return labelsets.NO_LABELS
    wanted: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in expr.matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.type is MatchType.EQUAL and matcher.name not in seen:
            wanted[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            wanted.pop(matcher.name, None)
    return labelsets.replaced(labelsets.NO_LABELS, wanted)
