"""Prometheus' text exposition and OpenMetrics, line by line.

A line that is not understood costs only itself. Series are remembered by the text before the value,
which seldom changes from scrape to scrape. Sources: "Exposition formats" in the Prometheus
documentation, and the OpenMetrics 1.0 specification.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from ..metrics.rows import Metadata
from ..metrics.series import METRIC_NAME

_LABEL = re.compile(
    r"""\s*(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)|(?P<quoted>"(?:[^"\\]|\\.)*"))\s*"""
    r"""(?:=\s*(?P<value>"(?:[^"\\]|\\.)*"))?\s*(?:,|(?=\}))""",
    re.DOTALL,
)
_NAME = re.compile(r"[a-zA-Z_:.][a-zA-Z0-9_:.]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}
_VALUE = re.compile(
    r"\s+(?P<value>\S+)(?:\s+(?P<time>[-+0-9.eE]+))?\s*(?:#\s*(?P<exemplar>\{.*))?\Z", re.DOTALL
)


class BadLine(ValueError):
    """A line that is no sample."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """What may follow an OpenMetrics sample."""

    labels: tuple[tuple[str, str], ...]
    value: float
    time_ms: int | None


@dataclass(frozen=True, slots=True)
class TextSample:
    """One line: labels with the name among them, a value, perhaps a time and an exemplar."""

    labels: tuple[tuple[str, str], ...]
    value: float
    time_ms: int | None = None
    exemplar: Exemplar | None = None


@dataclass(slots=True)
class Exposition:
    """What a text held, and the lines that were not understood."""

    samples: list[TextSample] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    bad_lines: list[str] = field(default_factory=list)


def parse(text: str, *, openmetrics: bool = False) -> Exposition:
    """The samples of a text. OpenMetrics has times in seconds, the classic format in ms."""
    found = Exposition()
    families: dict[str, dict[str, str]] = {}
    for raw in text.split("\n"):
        line = raw.strip(" \t\r")
        if not line:
            continue
        if line.startswith("#"):
            _note_family(line, families)
            continue
        try:
            found.samples.append(parse_line(line, openmetrics=openmetrics))
        except BadLine as error:
            found.bad_lines.append(str(error))
    found.metadata = list(_metadata(families))
    return found


def parse_line(line: str, *, openmetrics: bool = False) -> TextSample:
    """The sample of one line. Raises BadLine."""
    end = _end_of_series(line)
    labels = parse_series(line[:end])
    match = _VALUE.match(line, end)
    if match is None:
        raise BadLine(f"expected a value after the series: {line[:200]!r}")
    value, time, exemplar = match.groups()
    scale = 1000 if openmetrics else 1
    return TextSample(
        labels,
        parse_value(value),
        None if time is None else _time(time, scale),
        None if exemplar is None else _exemplar(exemplar),
    )


@lru_cache(maxsize=100_000)
def parse_series(text: str) -> tuple[tuple[str, str], ...]:
    """Labels of ``name{label="value",...}``, the name among them. Raises BadLine."""
    name, brace, _ = text.partition("{")
    name = name.strip()
    if name and not _NAME.fullmatch(name):
        raise BadLine(f"invalid metric name {name[:200]!r}")
    labels = {METRIC_NAME: name} if name else {}
    if brace:
        for key, value in _labels(text, len(text.partition("{")[0]) + 1):
            if key in labels:
                raise BadLine(f"label {key!r} is given twice: {text[:200]!r}")
            labels[key] = value
    if METRIC_NAME not in labels:
        raise BadLine(f"a series without a name: {text[:200]!r}")
    return tuple(sorted(labels.items()))


def parse_value(text: str) -> float:
    """A number as Go reads it. Raises BadLine."""
    try:
        if "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise BadLine(f"{text[:80]!r} is no number") from None


def _end_of_series(line: str) -> int:
    """Where the value part begins."""
    brace = line.find("{")
    space = next((at for at, char in enumerate(line) if char in " \t"), -1)
    if brace < 0 or (0 <= space < brace and line[space:brace].strip()):
        if space < 0:
            raise BadLine(f"expected a value after the name: {line[:200]!r}")
        return space
    at = brace + 1
    quoted = False
    while at < len(line):
        char = line[at]
        if char == "\\" and quoted:
            at += 1
        elif char == '"':
            quoted = not quoted
        elif char == "}" and not quoted:
            return at + 1
        at += 1
    raise BadLine(f"labels have no end: {line[:200]!r}")


def _labels(text: str, at: int) -> Iterator[tuple[str, str]]:
    while text[at:].strip() != "}":
        match = _LABEL.match(text, at)
        if match is None:
            raise BadLine(f"invalid labels: {text[:200]!r}")
        name, quoted, value = match["name"], match["quoted"], match["value"]
        if value is None:
            if quoted is None:
                raise BadLine(f"label {name!r} has no value: {text[:200]!r}")
            yield METRIC_NAME, _unquoted(quoted)  # {"a name that needs quotes", ...}
        else:
            yield name or _unquoted(quoted), _unquoted(value)
        at = match.end()


def _unquoted(text: str) -> str:
    if "\\" not in text:
        return text[1:-1]
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[0]), text[1:-1])


def _time(text: str, scale: int) -> int:
    try:
        time = float(text) * scale if scale != 1 else int(text)
        return round(time)
    except (ValueError, OverflowError):
        raise BadLine(f"{text[:80]!r} is no timestamp") from None


def _exemplar(text: str) -> Exemplar:
    end = _end_of_series(text)
    labels = tuple(sorted(_labels(text[:end], 1)))
    parts = text[end:].split()
    if not parts:
        raise BadLine(f"an exemplar without a value: {text[:200]!r}")
    value = parse_value(parts[0])
    if not math.isfinite(value):
        raise BadLine(f"an exemplar without a finite value: {text[:200]!r}")
    return Exemplar(labels, value, _time(parts[1], 1000) if len(parts) > 1 else None)


def _note_family(line: str, families: dict[str, dict[str, str]]) -> None:
    parts = line[1:].split(None, 2)
    if len(parts) < 2 or parts[0] not in ("TYPE", "HELP", "UNIT"):
        return
    keyword, name = parts[:2]
    text = parts[2] if len(parts) > 2 else ""
    if keyword == "HELP":
        text = _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[0]), text)
    families.setdefault(name.strip('"'), {})[keyword] = text


def _metadata(families: dict[str, dict[str, str]]) -> Iterator[Metadata]:
    for name, words in families.items():
        mtype = words.get("TYPE", "unknown").strip().replace("untyped", "unknown")
        yield Metadata(name, mtype, words.get("HELP", ""), words.get("UNIT", ""))
