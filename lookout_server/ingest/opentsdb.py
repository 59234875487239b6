"""OpenTSDB's ``/api/put``: a data point as a JSON object, or an array of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from ..metrics.rows import MetricRows
from ..signal import Malformed, Receipt
from .gateway import Point, rows_of

#: A timestamp of more digits than seconds have is in milliseconds, as in OpenTSDB itself.
_FIRST_MILLIS = 100_000_000_000


def decode(body: bytes, receipt: Receipt) -> MetricRows:
    """Rows of a body. Raises Malformed; a bad point among others is left out and noted."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is no JSON: {error}") from error
    points = parsed if isinstance(parsed, list) else [parsed]
    bad: list[str] = []
    rows = rows_of(_points(points, bad), receipt)
    if points and len(bad) == len(points):
        raise Malformed(bad[0])
    if bad:
        rows.note("malformed_point", len(bad), bad[0])
    return rows


def _points(items: list[Any], bad: list[str]) -> Iterator[Point]:
    for item in items:
        try:
            yield _point(item)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            bad.append(
                "a data point needs metric, timestamp, value and tags: "
                f"{type(error).__name__} {error}"
            )


def _point(item: Any) -> Point:
    tags = {str(key): str(value) for key, value in (item.get("tags") or {}).items()}
    timestamp = int(item["timestamp"])
    time_ms = timestamp if timestamp >= _FIRST_MILLIS else timestamp * 1000
    name = item["metric"]
    if not isinstance(name, str) or not name:
        raise ValueError("metric must be a name")
    return Point(name, tags, float(item["value"]), time_ms)
