"""The lines of SOFALookout clients: one JSON object a metric, joined by tabs.

``{"time":"2018-06-05T16:41:30+08:00","tags":{"app":"demo"},"hits":{"count":6,"rate":0.2}}`` holds
the metrics ``hits.count`` and ``hits.rate``. Clients write NaN and Infinity as they are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from ..metrics.rows import MetricRows
from ..signal import Malformed, Receipt
from .gateway import Point, parse_time, rows_of

_SEPARATORS = re.compile(r"[\t\n\r]+")


def decode(body: bytes, receipt: Receipt) -> MetricRows:
    """Rows of a body. A bad line is left out and noted, the others are kept."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode("latin-1")  # what the Java client sends where it does not escape
    bad: list[str] = []
    lines = [line for line in _SEPARATORS.split(text) if line.strip()]
    points = [point for line in lines for point in _points(line, bad)]
    if lines and len(bad) == len(lines):
        raise Malformed(f"no line is a metric: {bad[0]}")
    step = "step" in receipt.hints
    rows = rows_of(points, receipt, align=step)
    if bad:
        rows.note("malformed_line", len(bad), bad[0])
    return rows


def _points(line: str, bad: list[str]) -> Iterator[Point]:
    try:
        parsed = _parsed(line)
        tags = {str(key): _text(value) for key, value in dict(parsed.pop("tags", {})).items()}
        time_ms = parse_time(parsed.pop("time"))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        bad.append(f"{type(error).__name__}: {error}")
        return
    for name, value in parsed.items():
        if isinstance(value, Mapping):
            for part, number in value.items():
                if _is_number(number):
                    yield Point(f"{name}.{part}", tags, float(number), time_ms)
        elif _is_number(value):
            yield Point(name, tags, float(value), time_ms)


def _parsed(line: str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError:
        parsed = json.loads(line)  # knows NaN and Infinity
    if not isinstance(parsed, dict):
        raise ValueError("a metric is a JSON object")
    return parsed


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not isinstance(value, int) or math.isfinite(float(value))


def _text(value: object) -> str:
    return "" if value is None else str(value)
