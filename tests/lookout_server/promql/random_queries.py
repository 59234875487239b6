"""Random data, and random queries over it that both Prometheus 2 and 3 read the same way.

Functions that came or changed with Prometheus 3 are left out, and operations that make much of a
difference in the last digit, like ``%``. The two differ on the borders of windows too: 2 counts
a sample on the left one. So either the samples never fall on a border (they are a little late), or
they do, and Prometheus 2 is asked for windows a millisecond shorter (:func:`for_two`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lookout_server.query.prometheus.source import STALE

_INSTANCES, _JOBS = ("a", "b", "c", "d"), ("api", "db")
_BOUNDS = ("0.1", "0.5", "1", "5", "+Inf")


@dataclass
class Series:
    """One series: labels, times (ms) and values."""

    labels: dict[str, str]
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def data(start_ms: int, minutes: int, seed: int, *, late: bool) -> list[Series]:
    """Counters with resets, gauges with gaps and stale ends, infos and classic histograms.

    Samples every 15 s from ``start_ms``; with ``late`` each series up to 0.9 s after that.
    """
    generator = _Chance(seed, late=late)
    found: list[Series] = []
    for job in _JOBS:
        for instance in _INSTANCES:
            own = {"job": job, "instance": instance}
            for code in ("200", "500"):
                labels = {"__name__": "requests_total", **own, "code": code}
                found.append(_counter(generator, labels, start_ms, minutes))
            found.append(_gauge(generator, {"__name__": "memory", **own}, start_ms, minutes))
            found.append(_gauge(generator, {"__name__": "limit", **own}, start_ms, minutes))
            info = {"__name__": "build_info", **own, "version": generator.choice("xyz")}
            found.append(_constant(generator, info, start_ms, minutes))
        found += _histogram(generator, {"job": job}, start_ms, minutes)
    return found


class _Chance(random.Random):
    def __init__(self, seed: int, *, late: bool) -> None:
        super().__init__(seed)
        self._late = late

    def lateness(self) -> int:
        """Milliseconds after the full 15 s."""
        return self.randrange(1, 900) if self._late else 0


def _times(start_ms: int, minutes: int, late_ms: int) -> list[int]:
    return [start_ms + late_ms + step * 15_000 for step in range(minutes * 4)]


def _counter(generator: _Chance, labels: dict[str, str], start_ms: int, minutes: int) -> Series:
    series, value = Series(labels), float(generator.randrange(10_000, 90_000))
    for time in _times(start_ms, minutes, generator.lateness()):
        value = 5000.0 if generator.random() < 0.01 else value + generator.randrange(0, 50)
        series.times.append(time)
        series.values.append(value)
    return series


def _gauge(generator: _Chance, labels: dict[str, str], start_ms: int, minutes: int) -> Series:
    series = Series(labels)
    level = generator.uniform(-50, 200)
    for time in _times(start_ms, minutes, generator.lateness()):
        level += generator.uniform(-5, 5)
        if generator.random() > 0.03:
            series.times.append(time)
            series.values.append(round(level, 3) if generator.random() > 0.01 else float("nan"))
            if generator.random() < 0.01:
                series.values[-1] = STALE
    return series


def _constant(generator: _Chance, labels: dict[str, str], start_ms: int, minutes: int) -> Series:
    times = _times(start_ms, minutes, generator.lateness())
    return Series(labels, times, [1.0] * len(times))


def _histogram(
    generator: _Chance, labels: dict[str, str], start_ms: int, minutes: int
) -> list[Series]:
    times = _times(start_ms, minutes, generator.lateness())
    counts = [10_000.0 * (index + 1) for index in range(len(_BOUNDS))]
    found = [
        Series({"__name__": "latency_bucket", **labels, "le": bound}, times) for bound in _BOUNDS
    ]
    for _ in times:
        added = 0.0
        for index, series in enumerate(found):
            added += generator.randrange(0, 9)
            counts[index] += added
            series.values.append(counts[index])
    return found


#: Queries with a mistake that both versions name alike.
MALFORMED = (
    "sum(foo bar)",
    "sum(abs(foo bar))",
    "abs(sum by (a) (foo bar))",
    "sum(foo) bar",
    "sum(foo{a=})",
    "sum by (a) foo",
    "sum foo",
    "sum by",
    "topk(1 2, foo)",
    'label_replace(foo, , "b")',
    "abs(foo, * 2)",
    "abs(, foo)",
    "abs(foo,",
    "a + on (b) group_left / c",
    "a + on (b) group_left",
    "a + on (b) group_left )",
    "a + on (b) group_left by (c)",
    'a + on (b) group_left "c"',
    "a + on b",
    "a + on (b) ignoring (c) d",
    "a + bool bool b",
    "a + group_left (c) b",
    "nofunc(a) $",
    "nofunc(a $",
    "1[5m] $",
    "foo offset 5m offset 5m $",
    "foo @ 5 @ 5 $",
    "sum(a, b) $",
    "count() bar",
    "(a b",
    "((a) b)",
    "a,b",
    "sum(a) by (b) by (c)",
    "sum(a)(b)",
    'sum{a="b"} c',
    "abs(a)(b)",
    "a @ start( b",
    'a{b="c"}}',
    'a{b="c",,}',
    "a{b}",
    '{a=""}',
    "1 == 1",
    "a and 1",
    "a * on (b) group_left (b) c",
    "rate(a)",
    '"a" + 1 |',
)

_WINDOW = re.compile(r"\[(\d+)(ms|s|m)(:[^\]]*)?\]")
_MILLIS = {"ms": 1, "s": 1000, "m": 60_000}
#: What the range's length itself goes into: a millisecond less gives another result.
_EXTRAPOLATING = ("rate", "increase", "delta")


def for_two(query: str, *, late: bool) -> str:
    """``query`` in the words of Prometheus 2, for windows that hold what those of 3 hold."""
    query = query.replace("double_exponential_smoothing(", "holt_winters(")
    return _WINDOW.sub(lambda window: _shorter(window, late=late), query)


def _shorter(window: re.Match[str], *, late: bool) -> str:
    number, unit, step = window.groups()
    if late and not step:  # a subquery's samples are on its steps, and so maybe on a border
        return window[0]
    return f"[{int(number) * _MILLIS[unit] - 1}ms{step or ''}]"


class Queries:
    """An endless supply of queries, the same ones for the same seed."""

    def __init__(self, seed: int, start_ms: int, *, late: bool) -> None:
        self._random = random.Random(seed)
        self._start_ms = start_ms
        self._late = late

    def next(self) -> str:
        """A query of type instant vector or scalar."""
        return self._vector(self._random.choice((1, 2, 2, 3, 4)))

    def next_instant(self) -> str:
        """A query of any type."""
        if self._random.random() < 0.1:
            return self._range(2, counter=self._random.random() < 0.3)
        return self.next()

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _matchers(self) -> str:
        chosen = self._pick(
            *("", "", '{job="api"}', '{job!="api"}', '{instance=~"a|b"}', '{nothing=""}'),
            *('{instance!~"c.*", job="db"}', '{code=~"5.."}', '{le!="0.5"}', '{job=~".+"}'),
        )
        return chosen

    def _at(self) -> str:
        seconds = self._start_ms / 1000 + self._random.randrange(30 * 60, 110 * 60)
        return f" @ {seconds + (0.5 if self._late else 0):.3f}"

    def _modifier(self) -> str:
        offset = self._pick(" offset 3m", " offset -2m", " offset 45s", " offset 10m")
        at = self._pick(" @ start()", " @ end()", self._at())
        return self._pick("", "", "", "", offset, at, at + offset, offset + at)

    def _selector(self) -> str:
        name = self._pick("requests_total", "memory", "limit", "build_info", "latency_bucket")
        return f"{name}{self._matchers()}{self._modifier()}"

    def _range(self, depth: int, *, counter: bool) -> str:
        if depth > 1 and not counter and self._random.random() < 0.3:
            inner = self._vector(depth - 2)
            window = f"{self._pick('7m', '11m', '4m')}:{self._pick('40s', '1m', '', '30s')}"
            # Prometheus 2 loses samples where both have an ``@``.
            modifier = " offset 3m" if "@" in inner else self._modifier()
            return f"({inner})[{window}]{modifier}"
        name = "requests_total" if counter else self._pick("requests_total", "memory", "limit")
        duration = self._pick("1m", "5m", "7m", "20m", "90s", "45s")
        return f"{name}{self._matchers()}[{duration}]{self._modifier()}"

    def _vector(self, depth: int) -> str:
        if depth <= 0:
            return self._selector()
        kind = self._random.random()
        if kind < 0.30:
            return self._over_time(depth)
        if kind < 0.50:
            return self._aggregation(depth)
        if kind < 0.75:
            return self._binary(depth)
        if kind < 0.97:
            return self._function(depth)
        return self._selector()

    def _over_time(self, depth: int) -> str:
        name = self._pick(
            *("rate", "increase", "delta", "irate", "idelta", "deriv", "changes", "resets"),
            *("avg_over_time", "sum_over_time", "min_over_time", "max_over_time"),
            *("count_over_time", "last_over_time", "present_over_time", "stddev_over_time"),
            *("stdvar_over_time", "quantile_over_time", "predict_linear", "absent_over_time"),
            "double_exponential_smoothing",
        )
        if name in _EXTRAPOLATING and not self._late:
            name = "irate"
        # What rate makes of a counter that is near zero changed with Prometheus 3.
        window = self._range(depth, counter=name in (*_EXTRAPOLATING, "irate"))
        if name == "quantile_over_time":
            return f"{name}({self._pick('0', '0.3', '0.99', '1', '1.5', '-0.1')}, {window})"
        if name == "predict_linear":
            # With ``@`` the answer changed too.
            return f"{name}(memory[10m] offset 3m, {self._pick('60', '-300', '1800')})"
        if name == "double_exponential_smoothing":
            return f"{name}({window}, {self._pick('0.3', '0.9')}, {self._pick('0.1', '0.6')})"
        return f"{name}({window})"

    def _grouping(self) -> str:
        return self._pick(
            *("", " by (job)", " by (instance, job)", " without (instance)", " by (code)"),
            *(" without (job, code)", " by (missing)", " by ()", " without ()"),
        )

    def _aggregation(self, depth: int) -> str:
        inner, by = self._vector(depth - 1), self._grouping()
        op = self._pick(
            *("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"),
            *("quantile", "topk", "bottomk", "count_values"),
        )
        if op in ("stddev", "stdvar"):  # of NaN they are 0 in Prometheus 2
            inner = f"max_over_time(requests_total{self._matchers()}[5m])"
        if op == "quantile":
            return f"quantile{by}({self._pick('0.1', '0.5', '0.95', '-1', '2')}, {inner})"
        if op in ("topk", "bottomk"):
            # Which of equal values is chosen is not defined, only what they are.
            return (
                f"{self._pick('count', 'sum')}{by}({op}{by}({self._pick('0', '1', '3')}, {inner}))"
            )
        if op == "count_values":
            return f'count_values{by}("{self._pick("value", "job")}", {self._selector()})'
        return f"{op}{by}({inner})"

    def _binary(self, depth: int) -> str:
        left, right = self._vector(depth - 1), self._vector(depth - 1)
        arithmetic = self._pick("+", "-", "*", "/", "+", "-", "^")
        comparison = self._pick(">", "<", ">=", "<=", "!=", "==")
        form = self._random.randrange(12)
        if form == 11:  # Prometheus 2 keeps the names here
            return f"abs(({left}) atan2 {self._matching()} ({right}))"
        if form == 0:
            return f"({left}) {arithmetic} {self._scalar()}"
        if form == 1:
            return f"{self._scalar()} {comparison} ({left})"
        if form == 2:
            return f"({left}) {comparison} bool {self._scalar()}"
        if form in (3, 4):
            operator = self._pick("and", "or", "unless")
            return f"({left}) {operator} {self._matching()} ({right})"
        if form == 5:
            one = f"sum by (job) ({right})"
            return f"({left}) {arithmetic} on (job) group_left () {one}"
        if form == 6:
            match = self._pick("on (job, instance)", "ignoring (code, version, le)")
            names = self._pick("", "version", "code")
            return f"({left}) {arithmetic} {match} group_left ({names}) ({right})"
        if form == 7:
            one = f"max by (instance) ({left})"
            return f"{one} {arithmetic} on (instance) group_right () ({right})"
        if form == 8:
            return f"({left}) {arithmetic} {self._matching()} ({right})"
        if form == 9:
            return f"({left}) {comparison} {self._matching()} ({right})"
        return f"({left}) {comparison} bool {self._matching()} ({right})"

    def _matching(self) -> str:
        return self._pick("", "on (job)", "on (job, instance)", "ignoring (code)", "on ()")

    def _scalar(self) -> str:
        return self._pick(
            *(
                "2",
                "0.5",
                "-3",
                "100",
                "time()",
                "scalar(memory)",
                "(1 / 0)",
                "pi()",
                "NaN",
                "-Inf",
            ),
            *("(3 > bool 2)", "scalar(sum(limit))", "(2 ^ 3 ^ 0.5)", "-time()"),
        )

    def _function(self, depth: int) -> str:
        inner = self._vector(depth - 1)
        trigonometric = ("asin", "acos", "sinh", "asinh", "acosh", "atanh", "tanh")
        calendar = ("hour", "day_of_week", "month", "minute", "year", "day_of_month")
        return self._pick(
            *(f"{name}({inner})" for name in ("abs", "sqrt", "ln", "sgn")),
            # A last digit makes all the difference to these unless it was stored so.
            *(f"{name}({self._selector()})" for name in ("ceil", "floor", "round")),
            *(f"{name}({inner})" for name in ("log2", "log10", "atan", *trigonometric)),
            *(f"{name}({inner})" for name in ("absent", "-", "deg", "rad", "sort")),
            *(f"{name}({self._timestamp()})" for name in (*calendar, "days_in_month", "")),
            *(f"round({self._selector()}, 0.25)", f"-({inner})", f"+({inner})"),
            *(f"day_of_year({self._timestamp()})", f"vector(scalar({inner}))", f"{inner}"),
            # Of large numbers these lose all digits.
            f"{self._pick('sin', 'cos', 'exp')}(clamp({inner}, -9, 9))",
            f"clamp({inner}, -10, {self._scalar()})",
            f"clamp_min({inner}, 5)",
            f"clamp_max({inner}, {self._scalar()})",
            f"sgn({inner}) ^ 2",
            f"vector({self._scalar()})",
            f'label_replace({inner}, "new", "$1-x", "instance", "(.*)")',
            f'label_replace({inner}, "instance", "same", "job", "api")',
            f'label_replace({inner}, "__name__", "other_$1", "job", "(a.*)")',
            f'label_join({inner}, "both", "/", "job", "instance")',
            f'label_join({inner}, "instance", "", "job")',
            f"histogram_quantile({self._pick('0.5', '0.9', '1')}, {self._increases()})",
            f"histogram_quantile(0.8, sum by (le) ({self._increases(self._matchers())}))",
        )

    def _timestamp(self) -> str:
        """Of a selector, which Prometheus does not expect to have both ``@`` and offset."""
        name = self._pick("requests_total", "memory", "limit")
        modifier = self._pick("", " offset 3m", " offset -2m", " @ start()", " @ end()", self._at())
        return f"timestamp({name}{self._matchers()}{modifier})"

    def _increases(self, matchers: str = "") -> str:
        name = self._pick("rate", "increase") if self._late else "irate"
        return f"{name}(latency_bucket{matchers}[{self._pick('5m', '9m')}])"


def by_time(series: Iterable[Series], stretch_ms: int) -> list[list[Series]]:
    """The series cut into stretches of time, in order."""
    cut: dict[int, list[Series]] = {}
    for one in series:
        pieces: dict[int, Series] = {}
        for time, value in zip(one.times, one.values, strict=True):
            piece = pieces.setdefault(time // stretch_ms, Series(one.labels))
            piece.times.append(time)
            piece.values.append(value)
        for number, piece in pieces.items():
            cut.setdefault(number, []).append(piece)
    return [cut[number] for number in sorted(cut)]
