"""Metricbeat's bulk requests to Elasticsearch: numeric leaves of documents become metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from ..metrics.rows import MetricRows
from ..signal import Malformed, Receipt
from .gateway import Point, parse_time, rows_of

#: What describes a document rather than being measured.
_ABOUT = {"@timestamp", "metricset", "beat", "type", "@metadata", "agent", "ecs", "host", "event"}
_DEPTH = 32


def decode(body: bytes, receipt: Receipt) -> MetricRows:
    """Rows of NDJSON. Action lines have no numeric leaves and a line that is no JSON is noted."""
    bad: list[str] = []
    lines = [line for line in body.split(b"\n") if line.strip()]
    points = [point for line in lines for point in _points(line, bad)]
    if lines and len(bad) == len(lines):
        raise Malformed(f"no line is a document: {bad[0]}")
    rows = rows_of(points, receipt)
    if bad:
        rows.note("malformed_line", len(bad), bad[0])
    return rows


def _points(line: bytes, bad: list[str]) -> Iterator[Point]:
    try:
        document = orjson.loads(line)
        if "@timestamp" not in document:
            return  # {"index": ...}, the line before a document
        time_ms = parse_time(document["@timestamp"])
    except (ValueError, TypeError, OverflowError) as error:
        bad.append(str(error))
        return
    tags = tags_of(document)
    for key, value in document.items():
        if key not in _ABOUT:
            for name, number in _leaves(key, value, 0):
                yield Point(name, tags, number, time_ms)


def tags_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Entries of ``metricset``, its timing aside, and of ``beat``, which goes first."""
    about = {**(document.get("metricset") or {}), **(document.get("beat") or {})}
    return {
        key: str(value)
        for key, value in about.items()
        if key != "rtt" and isinstance(value, str | int | float)
    }


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        if depth < _DEPTH:
            for key, inner in value.items():
                yield from _leaves(f"{path}.{key}", inner, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)
