"""Prometheus' own test scripts, run against the engine in this process.

The scripts, their parser and their judge are kept beside the checkout (``../shared/conformance``
or ``LOOKOUT_CONFORMANCE``); they are not part of this repository.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lookout_server.query.prometheus import tree
from lookout_server.query.prometheus.engine import Engine, EngineOptions
from lookout_server.query.prometheus.errors import QueryError
from lookout_server.query.prometheus.features import ALL
from lookout_server.query.prometheus.histogram import (
    NO_BUCKETS,
    Buckets,
    Histogram,
    ResetHint,
    convert_classic,
    json_buckets,
)
from lookout_server.query.prometheus.numbers import format_float
from lookout_server.query.prometheus.parser import parse
from lookout_server.query.prometheus.printer import to_text
from lookout_server.query.prometheus.result import Result
from lookout_server.query.prometheus.source import STALE, MemorySource

_BESIDE = Path(__file__).parents[3].parent / "shared" / "conformance"
DIRECTORY = Path(os.environ.get("LOOKOUT_CONFORMANCE", _BESIDE)) / "promql"
HINTS = {
    None: ResetHint.UNKNOWN,
    "unknown": ResetHint.UNKNOWN,
    "reset": ResetHint.RESET,
    "not_reset": ResetHint.NOT_RESET,
    "gauge": ResetHint.GAUGE,
}


def tools() -> ModuleType:
    """The scripts' parser and judge."""
    spec = importlib.util.spec_from_file_location("promqltest", DIRECTORY / "promqltest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["promqltest"] = module
    spec.loader.exec_module(module)
    return module


def files() -> list[Path]:
    """All scripts there are."""
    return sorted((DIRECTORY / "testdata").glob("*.test"))


def native(item: Any) -> Histogram:
    """A histogram of a script as the engine knows it."""

    def side(offset: int, counts: Sequence[float]) -> Buckets:
        if not counts:
            return NO_BUCKETS
        return Buckets(
            np.arange(offset, offset + len(counts), dtype=np.int64),
            np.array(counts, dtype=np.float64),
        )

    return Histogram(
        schema=item.schema,
        count=item.count,
        sum=item.sum,
        zero_threshold=item.z_bucket_w,
        zero_count=item.z_bucket,
        positive=side(item.offset, item.buckets),
        negative=side(item.n_offset, item.n_buckets),
        custom_values=tuple(item.custom_values),
        hint=HINTS[item.counter_reset_hint],
    )


def source_of(loads: Sequence[Any]) -> MemorySource:
    """What a script has loaded, as one source."""
    series: dict[tuple[tuple[str, str], ...], dict[int, tuple[Any, int]]] = {}
    for load in loads:
        classic: dict[str, list[tuple[dict[str, str], dict[int, float]]]] = {}
        for item in load.series:
            samples = _samples(load, item)
            series.setdefault(tuple(sorted(item.labels.items())), {}).update(samples)
            if load.with_nhcb:
                _note_classic(item.labels, samples, classic)
        for labels, samples in _converted(classic):
            series.setdefault(labels, {}).update(samples)
    source = MemorySource()
    for labels, samples in series.items():
        starts = [start for _, start in samples.values()]
        source.add(
            dict(labels),
            list(samples),
            [value for value, _ in samples.values()],
            starts if any(starts) else None,
        )
    return source


def _samples(load: Any, item: Any) -> dict[int, tuple[Any, int]]:
    found: dict[int, tuple[Any, int]] = {}
    for index, value in enumerate(item.values):
        if value is None:
            continue
        time = index * load.gap_ms
        start = 0 if item.st is None or item.st[index] is None else time + item.st[index]
        found[time] = (value if isinstance(value, float) else native(value), start)
    return found


def _note_classic(labels: dict[str, str], samples: Any, classic: Any) -> None:
    name = labels.get("__name__", "")
    for suffix in ("_bucket", "_count", "_sum"):
        if name.endswith(suffix):
            rest = {k: v for k, v in labels.items() if k != "le"}
            rest["__name__"] = name.removesuffix(suffix)
            key = tuple(sorted(rest.items()))
            classic.setdefault(key, []).append((suffix, labels.get("le"), samples))


def _converted(classic: Any) -> Iterator[Any]:
    for labels, parts in classic.items():
        times = sorted({time for _, _, samples in parts for time in samples})
        converted: dict[int, tuple[Any, int]] = {}
        for time in times:
            here = [(s, le, m[time][0]) for s, le, m in parts if time in m]
            buckets = {float(le): v for s, le, v in here if s == "_bucket" and le is not None}
            if any(np.float64(v).view(np.uint64) == 0x7FF0000000000002 for _, _, v in here):
                converted[time] = (STALE, 0)
                continue
            if not buckets:
                continue
            count = next((v for s, _, v in here if s == "_count"), None)
            total = next((v for s, _, v in here if s == "_sum"), 0.0)
            converted[time] = (convert_classic(buckets, count, total), 0)
        if converted:
            yield labels, converted


def engine() -> Engine:
    """As Prometheus sets up its engine for the scripts."""
    return Engine(EngineOptions(features=ALL, start_timestamps=True))


def type_and_unit_engine() -> Engine:
    """The engine of the scripts on type and unit labels."""
    return Engine(replace(engine().options, type_and_unit_labels=True))


def ask(engine: Engine, source: MemorySource, case: Any) -> tuple[int, dict[str, Any]]:
    """HTTP status and body that the API would give."""
    try:
        if case.kind == "instant":
            result = engine.instant(case.expr, case.start_ms, source)
        else:
            result = engine.range(case.expr, case.start_ms, case.end_ms, case.step_ms, source)
    except QueryError as error:
        return error.status, {
            "status": "error",
            "errorType": error.error_type,
            "error": str(error),
        }
    return 200, {
        "status": "success",
        "data": {"resultType": result.kind, "result": rendered(result)},
        "warnings": result.warnings,
        "infos": result.infos,
    }


def rendered(result: Result) -> Any:
    """The API's JSON of a result."""
    if result.kind == "scalar":
        return [result.time_ms / 1000, format_float(result.scalar)]
    if result.kind == "string":
        return [result.time_ms / 1000, result.string]
    return [_series(result, row) for row in range(len(result.labels))]


def _series(result: Result, row: int) -> dict[str, Any]:
    floats, histograms = [], []
    for index in range(int(result.offsets[row]), int(result.offsets[row + 1])):
        time = int(result.timestamps[index]) / 1000
        item = None if result.histograms is None else result.histograms[index]
        if item is None:
            floats.append([time, format_float(float(result.values[index]))])
        else:
            histograms.append([time, _histogram(item)])
    metric = dict(result.labels[row])
    if result.kind == "vector":
        if histograms:
            return {"metric": metric, "histogram": histograms[0]}
        return {"metric": metric, "value": floats[0]}
    series: dict[str, Any] = {"metric": metric}
    if floats:
        series["values"] = floats
    if histograms:
        series["histograms"] = histograms
    return series


def _histogram(item: Histogram) -> dict[str, Any]:
    body: dict[str, Any] = {"count": format_float(item.count), "sum": format_float(item.sum)}
    buckets = json_buckets(item)
    if buckets:
        body["buckets"] = [[rule, *map(format_float, rest)] for rule, *rest in buckets]
    return body


#: Their value depends on the query's window, so that a range query differs from an instant one.
_OF_WINDOW = re.compile(r"\b(?:start|end|range|step)\s*\(")


def may_be_range(case: Any) -> bool:
    """Whether a case's answer is also that of a range query at that step."""
    unordered = case.kind == "instant" and not case.ordered and case.string is None
    return unordered and case.range_vector is None and not _OF_WINDOW.search(case.expr)


def around(case: Any) -> Any:
    """An instant case as the middle of a range query of three steps, a minute apart."""
    minute = 60_000
    start, end = case.start_ms - minute, case.start_ms + minute
    return replace(case, kind="range", start_ms=start, end_ms=end, step_ms=minute)


def middle(case: Any, status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The answer to :func:`around` a case as one to the case."""
    if body["status"] != "success":
        return status, body
    series = [_middle(each, case.start_ms / 1000) for each in body["data"]["result"]]
    found = [each for each in series if each is not None]
    if case.scalar is not None:
        data = {"resultType": "scalar", "result": found[0]["value"]}
    else:
        data = {"resultType": "vector", "result": found}
    return status, {"status": "success", "data": data}


def ask_as_range(engine: Engine, source: MemorySource, case: Any) -> tuple[int, dict[str, Any]]:
    """The answer to an instant case, asked as a range query."""
    return middle(case, *ask(engine, source, around(case)))


def _middle(series: dict[str, Any], time: float) -> dict[str, Any] | None:
    for kind, one in (("values", "value"), ("histograms", "histogram")):
        for sample in series.get(kind, ()):
            if sample[0] == time:
                return {"metric": series["metric"], one: sample}
    return None


#: Functions of the evaluation time: pinning selectors does not pin them.
_OF_TIME = frozenset(
    {
        *("day_of_month", "day_of_week", "day_of_year", "days_in_month", "end", "hour", "minute"),
        *("month", "predict_linear", "range", "start", "start_timestamp", "step", "time"),
        *("timestamp", "year"),
    }
)


def pinned(query: str, time_ms: int) -> str | None:
    """The query with every selector held at a time by ``@``; None where that is not enough."""
    expr = parse(query, ALL)
    calls = [node.function.name for node in tree.walk(expr) if isinstance(node, tree.Call)]
    return None if _OF_TIME.intersection(calls) else to_text(_pinned(expr, time_ms))


def _pinned(expr: Any, time_ms: int) -> Any:
    match expr:
        case tree.VectorSelector() | tree.Subquery():
            free = expr.timestamp_ms is None and expr.boundary is None
            return replace(expr, timestamp_ms=time_ms) if free else expr
        case tree.MatrixSelector():
            return replace(expr, selector=_pinned(expr.selector, time_ms))
        case tree.Binary():
            left, right = _pinned(expr.left, time_ms), _pinned(expr.right, time_ms)
            return replace(expr, left=left, right=right)
        case tree.Call():
            return replace(expr, args=tuple(_pinned(arg, time_ms) for arg in expr.args))
        case tree.Aggregate():
            param = None if expr.param is None else _pinned(expr.param, time_ms)
            return replace(expr, expr=_pinned(expr.expr, time_ms), param=param)
        case tree.Paren() | tree.Unary():
            return replace(expr, expr=_pinned(expr.expr, time_ms))
        case _:
            return expr


def may_be_pinned(case: Any) -> bool:
    """Whether a case's answer is that at any other time, too, with ``@`` on all selectors."""
    if case.kind != "instant" or case.fail or case.range_vector is not None:
        return False
    return pinned(case.expr, case.start_ms) is not None


def elsewhere(case: Any) -> Any:
    """An instant case at another time, its selectors pinned to the case's."""
    query = pinned(case.expr, case.start_ms)
    assert query is not None
    offset = (-1_000_000, -60_000, 1, 60_000, 10_000_000)[case.line % 5]
    return replace(case, expr=query, start_ms=case.start_ms + offset)


def ask_elsewhere(engine: Engine, source: MemorySource, case: Any) -> tuple[int, dict[str, Any]]:
    """The answer to an instant case, asked at another time."""
    return ask(engine, source, elsewhere(case))
