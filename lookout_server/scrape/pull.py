"""SOFALookout's pull protocol: a client keeps completed steps until the next scrape confirms them.

``GET /get?success=<cursor,...>`` (port 19399) answers JSON, the newest step first: ``{"step",
"slotCount", "data": [{"cursor", "data": [{"name", "timestamp", "tags", "metrics"}]}]}``, a
metric's ``metrics`` being numbers by the part they measure.
Steps are confirmed after they were journalled: one that is answered twice has the same times and
values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ..ingest.gateway import clean_key, clean_name, clean_value
from ..ingest.prometheus_text import Exposition, TextSample
from ..metrics.series import METRIC_NAME

#: Tags that steer clients and are none of the metric's own.
_INTERNAL_TAGS = {"_type_", "priority"}


class BadSlots(Exception):
    """An answer that is not of the pull protocol; the text says why."""


@dataclass(slots=True)
class Slots(Exposition):
    """The samples of all steps answered, and the cursors of these."""

    cursors: tuple[int, ...] = ()


def is_pull(content_type: str) -> bool:
    """Whether an answer is of this protocol rather than an exposition."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def confirming(url: str, cursors: Sequence[int]) -> str:
    """The address that asks for new steps and confirms those taken."""
    if not cursors:
        return url
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}success={','.join(map(str, cursors))}"


def read_slots(body: bytes) -> Slots:
    """The samples of an answer, oldest first, names as the gateway makes them. Raises BadSlots."""
    try:
        steps = sorted(orjson.loads(body)["data"], key=lambda step: int(step["cursor"]))
        samples = [s for step in steps for metric in step["data"] for s in _samples(metric)]
        return Slots(samples, cursors=tuple(int(step["cursor"]) for step in steps))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadSlots(f"the answer is not of SOFALookout's pull protocol: {reason}") from error


def _samples(metric: Mapping[str, Any]) -> Iterator[TextSample]:
    tags = {
        clean_key(str(key)): clean_value("" if value is None else str(value))
        for key, value in metric["tags"].items()
        if key not in _INTERNAL_TAGS
    }
    for part, value in metric["metrics"].items():
        if _is_number(value):
            labels = {**tags, METRIC_NAME: clean_name(f"{metric['name']}.{part}")}
            yield TextSample(tuple(sorted(labels.items())), float(value), int(metric["timestamp"]))


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)
