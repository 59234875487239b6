"""Samples as the documents that SOFALookout's gateway keeps in Elasticsearch.

``{"time":"2018-03-29T08:27:21Z","id":"jvm.memory.free","value":12.0,"tags":["k1=v1","k2=v2"]}``,
each behind the line that its bulk request asks for. What reads such an index goes on reading it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_ACTION = '{"index":{}}'


def bulk_lines(samples: Iterable[tuple[Mapping[str, str], float, str]]) -> Iterator[str]:
    """The lines of a bulk request to one index, from labels, seconds and value of each sample.

    NaN, infinities and histograms are left out: such a document has room for a number alone.
    """
    for labels, time, text in samples:
        value = _number(text)
        if value is not None:
            yield _ACTION
            yield json.dumps(document(labels, time, value), separators=(",", ":"))


def document(labels: Mapping[str, str], time: float, value: float) -> dict[str, Any]:
    """One sample. ``time`` are Unix seconds, of which whole ones are told; tags only if any."""
    moment = datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found: dict[str, Any] = {"time": moment, "id": labels.get("__name__", ""), "value": value}
    tags = [f"{key}={text}" for key, text in sorted(labels.items()) if key != "__name__"]
    return {**found, "tags": tags} if tags else found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
