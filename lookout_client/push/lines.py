"""SOFALookout's line: one JSON object per metric, joined by tabs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from itertools import islice

import orjson

from ..metric import Tags
from ..windows import Indicator, Value

SEPARATOR = b"\t"
TYPE_TAG = "_type_"
#: What the gateway takes; it drops or cuts what is beyond, so that is refused here, counted.
MAX_NAME = 200
MAX_TAGS = 20
MAX_KEY = 100
_RESERVED = ("time", "tags")


def line(indicator: Indicator, common_tags: Tags = (), zone: tzinfo | None = None) -> bytes | None:
    """``indicator`` as a line, or None where the gateway would not take it.

    Its own tags win over ``common_tags``. ``zone`` is the local time zone unless given. Two keys
    of a line are not metrics; a metric called so gets the prefix the gateway's own rules use.
    """
    tags = {**dict(common_tags), **dict(indicator.tags)}
    if indicator.type:
        tags[TYPE_TAG] = indicator.type
    values = {name: value for name, value in indicator.values.items() if _is_told(value)}
    too_long = len(indicator.name) > MAX_NAME or any(len(key) > MAX_KEY for key in tags)
    if not values or too_long or len(tags) > MAX_TAGS:
        return None
    name = f"m_{indicator.name}" if indicator.name in _RESERVED else indicator.name
    return orjson.dumps({"time": iso_seconds(indicator.time_ms, zone), "tags": tags, name: values})


def _is_told(value: Value) -> bool:
    """JSON has no NaN and no infinities, and orjson no integers beyond 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def iso_seconds(time_ms: int, zone: tzinfo | None = None) -> str:
    """ISO 8601 with seconds and offset, ``Z`` for UTC: ``2018-06-05T16:41:30+08:00``."""
    moment = datetime.fromtimestamp(time_ms // 1000, zone).astimezone(zone)
    text = moment.isoformat(timespec="seconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def batches(lines: Iterable[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """``lines`` in lists of up to ``size``."""
    remaining = iter(lines)
    while batch := list(islice(remaining, size)):
        yield batch
