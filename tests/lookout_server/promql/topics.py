"""Reads and judges the scripts in ``topics/``, written in the language of Prometheus' promqltest.

Source: the README of ``promql/promqltest`` in Prometheus. Of the language only what the scripts
use: ``load``, ``load_with_nhcb``, ``clear``, ``eval`` with its ``expect`` lines, and series of
numbers, gaps, stale markers and native histograms.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lookout_server.query.prometheus.duration import parse_duration
from lookout_server.query.prometheus.engine import Engine
from lookout_server.query.prometheus.errors import QueryError
from lookout_server.query.prometheus.histogram import Histogram
from lookout_server.query.prometheus.parser import parse_selector
from lookout_server.query.prometheus.quoting import unquote
from lookout_server.query.prometheus.result import Result
from lookout_server.query.prometheus.source import STALE

from . import scripts
from .native_histograms import contents

DIRECTORY = Path(__file__).parent / "topics"

_METRIC = re.compile(r'([A-Za-z_:][\w:]*)?(\{(?!\{)(?:[^"}]|"(?:\\.|[^"\\])*")*\})?\s*')
_NUMBER = r"[+-]?(?:[0-9.]+(?:e[+-]?[0-9]+)?|inf|nan)"
_ITEM = re.compile(
    rf"(?P<first>_|stale|{_NUMBER})(?P<step>[+-](?:[0-9.]+))?(?:x(?P<times>[0-9]+))?(?=\s|$)", re.I
)
_HISTOGRAM = re.compile(r"\{\{(?P<fields>[^}]*)\}\}(?:x(?P<times>[0-9]+))?")
_FIELD = re.compile(r"(\w+):(\[[^\]]*\]|\S+)")
_INSTANT = re.compile(r"eval instant at (\S+) (.+)")
_RANGE = re.compile(r"eval range from (\S+) to (\S+) step (\S+) (.+)")
_EXPECT = re.compile(r"expect (fail|warn|info|no_warn|no_info|ordered)(?: (msg|regex):\s*(.+))?")


@dataclass
class HistogramItem:
    """A histogram of a script, in the script's words."""

    schema: int = 0
    sum: float = 0.0
    count: float = 0.0
    z_bucket: float = 0.0
    z_bucket_w: float = 0.0
    offset: int = 0
    buckets: list[float] = field(default_factory=list)
    n_offset: int = 0
    n_buckets: list[float] = field(default_factory=list)
    custom_values: list[float] = field(default_factory=list)
    counter_reset_hint: str | None = None


@dataclass
class SeriesItem:
    """A series and what is said of its samples; None is a gap."""

    labels: dict[str, str]
    values: list[Any]
    st: None = None


@dataclass
class Load:
    """Series to load, their samples ``gap_ms`` apart."""

    gap_ms: int
    with_nhcb: bool
    series: list[SeriesItem]


@dataclass
class Case:
    """One ``eval``."""

    line: int
    expr: str
    start_ms: int
    end_ms: int
    step_ms: int
    loads: list[Load]
    expects: list[tuple[str, str, str]] = field(default_factory=list)
    series: list[SeriesItem] = field(default_factory=list)
    scalar: float | None = None
    string: str | None = None

    @property
    def kind(self) -> str:
        return "range" if self.step_ms else "instant"

    def of(self, kind: str) -> list[tuple[str, str]]:
        """How and with what text something is expected, each time it is."""
        return [(how, text) for wanted, how, text in self.expects if wanted == kind]


def cases(path: Path) -> Iterator[Case]:
    """The evaluations of a script with what has been loaded since the last ``clear``."""
    loads: list[Load] = []
    for number, (first, *rest) in _paragraphs(path.read_text("utf-8")):
        if first == "clear":
            loads = []
        elif first.startswith("load"):
            command, gap = first.split()
            series = [_series(line) for line in rest]
            loads = [*loads, Load(parse_duration(gap), command == "load_with_nhcb", series)]
        else:
            yield _case(number, first, rest, loads)


def _paragraphs(text: str) -> Iterator[tuple[int, list[str]]]:
    lines: list[str] = []
    stripped = [line.strip() for line in text.split("\n")]
    for number, line in enumerate([*stripped, ""], 1):
        if line and not line.startswith("#"):
            lines.append(line)
        elif lines and not line:
            yield number - len(lines), lines
            lines = []


def _case(number: int, first: str, rest: list[str], loads: list[Load]) -> Case:
    if match := _INSTANT.fullmatch(first):
        start = end = parse_duration(match[1])
        case = Case(number, match[2], start, end, 0, loads)
    else:
        match = _RANGE.fullmatch(first)
        assert match, f"line {number}: {first}"
        start, end, step = map(parse_duration, match.group(1, 2, 3))
        case = Case(number, match[4], start, end, step, loads)
    for line in rest:
        if line.startswith("expect string "):
            case.string = unquote(line.removeprefix("expect string "))
        elif expect := _EXPECT.fullmatch(line):
            case.expects.append((expect[1], expect[2] or "", expect[3] or ""))
        elif re.fullmatch(_NUMBER, line, re.I):
            case.scalar = float(line)
        else:
            case.series.append(_series(line))
    return case


def _series(line: str) -> SeriesItem:
    metric = _METRIC.match(line)
    assert metric and metric.end(), line
    text = (metric[1] or "") + (metric[2] or "")
    matchers = () if text == "{}" else parse_selector(text)
    return SeriesItem({m.name: m.value for m in matchers}, list(_values(line[metric.end() :])))


def _values(text: str) -> Iterator[Any]:
    text = text.strip()
    while text:
        match = _HISTOGRAM.match(text) or _ITEM.match(text)
        assert match, text
        text = text[match.end() :].lstrip()
        times = int(match["times"] or 0)
        if "fields" in match.groupdict():
            yield from [_histogram(match["fields"])] * (times + 1)
        elif match["first"] == "_":
            yield from [None] * (times or 1)
        else:
            first = STALE if match["first"] == "stale" else float(match["first"])
            step = float(match["step"] or 0)
            yield from (first + at * step if step else first for at in range(times + 1))


def _histogram(fields: str) -> HistogramItem:
    item = HistogramItem()
    for name, value in _FIELD.findall(fields):
        if value.startswith("["):
            setattr(item, name, [float(number) for number in value[1:-1].split()])
        elif name == "counter_reset_hint":
            item.counter_reset_hint = value
        else:
            setattr(item, name, type(getattr(item, name))(float(value)))
    return item


# ---------------------------------------------------------------------- judging


def fault(engine: Engine, case: Case) -> str:
    """What is wrong with the engine's answer to a case; nothing if it is right."""
    source = scripts.source_of(case.loads)
    window = (case.start_ms, case.end_ms, case.step_ms)
    try:
        if case.step_ms:
            result = engine.range(case.expr, *window, source)
        else:
            result = engine.instant(case.expr, case.start_ms, source)
    except QueryError as error:
        return _wrong_failure(case, str(error))
    if case.of("fail"):
        return "does not fail"
    notes = _wrong_notes(case, "warn", result.warnings) or _wrong_notes(case, "info", result.infos)
    return notes or _wrong_result(case, result)


def _fits(how: str, wanted: str, text: str) -> bool:
    if how == "msg":
        return wanted == text
    return how != "regex" or re.search(wanted, text) is not None


def _wrong_failure(case: Case, message: str) -> str:
    if not case.of("fail"):
        return f"fails: {message}"
    right = all(_fits(how, wanted, message) for how, wanted in case.of("fail"))
    return "" if right else f"fails otherwise: {message}"


def _wrong_notes(case: Case, kind: str, notes: list[str]) -> str:
    wanted = case.of(kind)
    if case.of(f"no_{kind}") and notes:
        return f"unexpected {kind}: {notes}"
    for how, text in wanted:
        if not any(_fits(how, text, note) for note in notes):
            return f"no {kind} {text}: {notes}"
    if wanted and not all(any(_fits(*each, note) for each in wanted) for note in notes):
        return f"another {kind}: {notes}"
    return ""


def _wrong_result(case: Case, result: Result) -> str:
    if case.string is not None:
        return "" if result.string == case.string else f"string {result.string!r}"
    if case.scalar is not None and result.kind == "scalar":
        return "" if _same(case.scalar, result.scalar) else f"scalar {result.scalar}"
    wanted = {tuple(sorted(each.labels.items())): each.values for each in case.series}
    order = list(result.labels)
    if sorted(order) != sorted(wanted):
        return f"series {order}"
    if case.of("ordered") and order != list(wanted):
        return f"order {order}"
    for row, labels in enumerate(order):
        if reason := _wrong_row(case, result, row, wanted[labels]):
            return f"{labels}: {reason}"
    return ""


def _wrong_row(case: Case, result: Result, row: int, values: list[Any]) -> str:
    found: dict[int, Any] = {}
    for index in range(int(result.offsets[row]), int(result.offsets[row + 1])):
        histogram = None if result.histograms is None else result.histograms[index]
        value = float(result.values[index]) if histogram is None else histogram
        found[int(result.timestamps[index])] = value
    times = [case.start_ms + case.step_ms * at for at in range(len(values))]
    wanted = {time: value for time, value in zip(times, values, strict=True) if value is not None}
    if found.keys() != wanted.keys():
        return f"samples at {list(found)}"
    for time, value in wanted.items():
        if not _same(value, found[time]):
            return f"{found[time]} at {time}"
    return ""


def _same(wanted: Any, found: Any) -> bool:
    if not isinstance(wanted, HistogramItem):
        return isinstance(found, float) and _close(wanted, found)
    if not isinstance(found, Histogram):
        return False
    item = scripts.native(wanted)
    ours, theirs = contents(item.compact()), contents(found.compact())
    return (
        ours.keys() == theirs.keys()
        and all(_close(count, theirs[bounds]) for bounds, count in ours.items())
        and _close(item.count, found.count)
        and _close(item.sum, found.sum)
        and (wanted.counter_reset_hint is None or item.hint is found.hint)
    )


def _close(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or math.isclose(one, other, rel_tol=1e-9)
