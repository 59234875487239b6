"""Random data, and random queries over it that both Prometheus 2 and 3 read the same way.

Sample times and query times never fall on the borders of windows (the two differ there), and
functions that came or changed with Prometheus 3 are left out. So are operations that make much
of a difference in the last digit, like ``%``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_INSTANCES, _JOBS = ("a", "b", "c", "d"), ("api", "db")
_BOUNDS = ("0.1", "0.5", "1", "5", "+Inf")


@dataclass
class Series:
    """One series: labels, times (ms) and values."""

    labels: dict[str, str]
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def data(start_ms: int, minutes: int, seed: int) -> list[Series]:
    """Counters with resets, gauges with gaps, infos and classic histograms."""
    generator = random.Random(seed)
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
            found.append(_constant(info, start_ms, minutes))
        found += _histogram(generator, {"job": job}, start_ms, minutes)
    return found


def _times(start_ms: int, minutes: int, late_ms: int) -> list[int]:
    return [start_ms + late_ms + step * 15_000 for step in range(minutes * 4)]


def _counter(
    generator: random.Random, labels: dict[str, str], start_ms: int, minutes: int
) -> Series:
    series, value = Series(labels), float(generator.randrange(10_000, 90_000))
    for time in _times(start_ms, minutes, generator.randrange(1, 900)):
        value = 5000.0 if generator.random() < 0.01 else value + generator.randrange(0, 50)
        series.times.append(time)
        series.values.append(value)
    return series


def _gauge(generator: random.Random, labels: dict[str, str], start_ms: int, minutes: int) -> Series:
    series = Series(labels)
    level = generator.uniform(-50, 200)
    for time in _times(start_ms, minutes, generator.randrange(1, 900)):
        level += generator.uniform(-5, 5)
        if generator.random() > 0.03:
            series.times.append(time)
            series.values.append(round(level, 3) if generator.random() > 0.01 else float("nan"))
    return series


def _constant(labels: dict[str, str], start_ms: int, minutes: int) -> Series:
    times = _times(start_ms, minutes, 333)
    return Series(labels, times, [1.0] * len(times))


def _histogram(
    generator: random.Random, labels: dict[str, str], start_ms: int, minutes: int
) -> list[Series]:
    times = _times(start_ms, minutes, 555)
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


class Queries:
    """An endless supply of queries, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def next(self) -> str:
        """A query of type instant vector or scalar."""
        return self._vector(self._random.choice((1, 2, 2, 3)))

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _matchers(self) -> str:
        chosen = self._pick(
            "",
            "",
            '{job="api"}',
            '{job!="api"}',
            '{instance=~"a|b"}',
            '{instance!~"c.*", job="db"}',
            '{nothing=""}',
        )
        return chosen

    def _modifier(self) -> str:
        return self._pick("", "", "", " offset 3m", " offset -2m", " @ start()", " @ end()")

    def _selector(self) -> str:
        name = self._pick("requests_total", "memory", "limit", "build_info", "latency_bucket")
        return f"{name}{self._matchers()}{self._modifier()}"

    def _range(self, depth: int, *, counter: bool) -> str:
        if depth > 1 and not counter and self._random.random() < 0.2:
            inner = self._vector(1)
            return f"({inner})[{self._pick('7m', '11m', '4m')}:{self._pick('40s', '1m', '')}]"
        name = "requests_total" if counter else self._pick("requests_total", "memory", "limit")
        duration = self._pick("1m", "5m", "7m", "20m", "90s")
        return f"{name}{self._matchers()}[{duration}]{self._modifier()}"

    def _vector(self, depth: int) -> str:
        if depth <= 0:
            return self._selector()
        kind = self._random.random()
        if kind < 0.30:
            return self._over_time(depth)
        if kind < 0.55:
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
        )
        # What rate makes of a counter that is near zero changed with Prometheus 3.
        window = self._range(depth, counter=name in ("rate", "increase", "irate"))
        if name == "quantile_over_time":
            return f"{name}({self._pick('0', '0.3', '0.99', '1', '1.5')}, {window})"
        if name == "predict_linear":
            return f"{name}(memory[10m], {self._pick('60', '-300', '1800')})"
        return f"{name}({window})"

    def _grouping(self) -> str:
        return self._pick(
            *("", " by (job)", " by (instance, job)", " without (instance)", " by (code)"),
            *(" without (job, code)", " by (missing)"),
        )

    def _aggregation(self, depth: int) -> str:
        inner, by = self._vector(depth - 1), self._grouping()
        op = self._pick(
            *("sum", "avg", "min", "max", "count", "group"),
            *("quantile", "topk", "bottomk", "count_values"),
        )
        if op == "quantile":
            return f"quantile{by}({self._pick('0.1', '0.5', '0.95', '-1')}, {inner})"
        if op in ("topk", "bottomk"):
            # Which of equal values is chosen is not defined, so only their number is asked for.
            return f"count{by}({op}{by}({self._pick('0', '1', '3')}, {inner}))"
        if op == "count_values":
            return f'count_values{by}("value", {self._selector()})'
        return f"{op}{by}({inner})"

    def _binary(self, depth: int) -> str:
        left, right = self._vector(depth - 1), self._vector(depth - 1)
        arithmetic = self._pick("+", "-", "*", "/")
        comparison = self._pick(">", "<", ">=", "<=", "!=", "==")
        form = self._random.randrange(7)
        if form == 0:
            return f"({left}) {arithmetic} {self._scalar()}"
        if form == 1:
            return f"{self._scalar()} {comparison} ({left})"
        if form == 2:
            return f"({left}) {comparison} bool {self._scalar()}"
        if form == 3:
            operator = self._pick("and", "or", "unless")
            return f"({left}) {operator} {self._matching()} ({right})"
        if form == 4:
            one = f"sum by (job) ({right})"
            return f"({left}) {arithmetic} on (job) group_left () {one}"
        if form == 5:
            return f"({left}) {arithmetic} {self._matching()} ({right})"
        return f"({left}) {comparison} bool {self._matching()} ({right})"

    def _matching(self) -> str:
        return self._pick("", "on (job)", "on (job, instance)", "ignoring (code)", "on ()")

    def _scalar(self) -> str:
        return self._pick("2", "0.5", "-3", "100", "time()", "scalar(memory)", "(1 / 0)", "pi()")

    def _function(self, depth: int) -> str:
        inner = self._vector(depth - 1)
        return self._pick(
            *(f"{name}({inner})" for name in ("abs", "ceil", "floor", "exp", "sqrt", "ln", "sgn")),
            *(f"{name}({inner})" for name in ("log2", "log10", "atan", "tanh")),
            *(f"{name}({inner})" for name in ("absent", "timestamp", "-", "deg", "rad", "sort")),
            *(f"{name}(timestamp({inner}))" for name in ("hour", "day_of_week", "month", "minute")),
            f"clamp({inner}, -10, {self._scalar()})",
            f"clamp_min({inner}, 5)",
            f"sgn({inner}) ^ 2",
            f"vector({self._scalar()})",
            f'label_replace({inner}, "new", "$1-x", "instance", "(.*)")',
            f'label_join({inner}, "both", "/", "job", "instance")',
            f"histogram_quantile({self._pick('0.5', '0.9', '1')}, rate(latency_bucket[5m]))",
            f"histogram_quantile(0.8, sum by (le)(increase(latency_bucket{self._matchers()}[9m])))",
        )
