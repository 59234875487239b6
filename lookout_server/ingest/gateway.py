"""What SOFALookout's gateway does to every metric, whatever protocol it came by.

Names, tag keys and values are made of a small alphabet, the client's address becomes the tag
``ip``, and what is too long, too old or has too many tags is left out. All samples of a push are
aligned to its step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from ..metrics.rows import MetricRows, RowsBuilder
from ..metrics.series import METRIC_NAME
from ..signal import Receipt

NAME_LENGTH, TAGS, KEY_LENGTH, VALUE_LENGTH = 200, 20, 100, 200
MAX_AGE_MS = 2 * 86_400_000
#: Seconds that samples are aligned to where a push does not say; -1 leaves times as they are.
DEFAULT_STEP = 10

_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_:.]")
_NOT_IN_KEY = re.compile(r"[^A-Za-z0-9_]")
_NOT_IN_VALUE = re.compile(r'[\t\n\r"\\=\s,]+')
#: Tags that steer the gateway and are none of the metric's own.
_INTERNAL_TAGS = {"_type_", "priority"}


@dataclass(frozen=True, slots=True)
class Point:
    """One decoded metric: name, tags, value and Unix time in ms."""

    name: str
    tags: Mapping[str, str]
    value: float
    time_ms: int


@lru_cache(maxsize=8192)
def clean_name(name: str) -> str:
    """A metric name in ``[A-Za-z0-9_:.]`` that starts with a letter."""
    return _lettered(_NOT_IN_NAME.sub("_", name))


@lru_cache(maxsize=8192)
def clean_key(key: str) -> str:
    """A tag key in ``[A-Za-z0-9_]`` that starts with a letter; ``_bucket`` is exempt."""
    return key if key == "_bucket" else _lettered(_NOT_IN_KEY.sub("_", key))


@lru_cache(maxsize=8192)
def clean_value(value: str) -> str:
    """A tag value without spaces, quotes, backslashes, ``=`` and commas: runs of them are ``_``."""
    return _NOT_IN_VALUE.sub("_", value)


def _lettered(text: str) -> str:
    return text if text[:1].isascii() and text[:1].isalpha() else f"m_{text}"


def rows_of(points: Iterable[Point], receipt: Receipt, *, align: bool = True) -> MetricRows:
    """Rows of what the gateway lets through; the receipt's hints have ip, tags and step."""
    hints = receipt.hints
    extra = {str(k): str(v) for k, v in dict(hints.get("tags", {})).items()}
    step = int(hints.get("step", DEFAULT_STEP)) if align else -1
    builder = RowsBuilder(receipt.tenant, receipt.received_ms)
    for point in points:
        tags = {**extra, **point.tags}
        tags.setdefault("ip", str(hints.get("ip", "")))
        if reason := refusal(point, tags, receipt.received_ms):
            builder.problem("gateway_rule", 1, f"{reason}: {point.name[:NAME_LENGTH]}")
            continue
        series = builder.series([(METRIC_NAME, clean_name(point.name)), *_labels(tags)])
        builder.sample(series, aligned(point.time_ms, step), point.value)
    return builder.build()


def refusal(point: Point, tags: Mapping[str, str], now_ms: int) -> str | None:
    """Why the gateway drops a metric, or None."""
    if len(point.name) > NAME_LENGTH:
        return "name to long"
    own = [key for key in tags if key not in _INTERNAL_TAGS]
    if not 0 < len(own) <= TAGS:
        return "tags count error"
    if any(not 0 < len(key) <= KEY_LENGTH for key in own):
        return "tag key length error"
    if point.time_ms < now_ms - MAX_AGE_MS:
        return "metric is too old"
    return None


def _labels(tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in tags.items():
        if key not in _INTERNAL_TAGS:
            yield clean_key(key), clean_value(value)[:VALUE_LENGTH]


def aligned(time_ms: int, step_s: int) -> int:
    """The start of the step a time is in; with a step of -1 the time itself."""
    return time_ms if step_s <= 0 else time_ms - time_ms % (step_s * 1000)


def parse_time(value: object) -> int:
    """Milliseconds of ISO 8601 text or of epoch milliseconds. Raises ValueError."""
    if isinstance(value, int | float):
        return int(value)
    text = str(value)
    if text.lstrip("-").isdecimal():
        return int(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
