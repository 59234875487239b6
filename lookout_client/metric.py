"""Identity of a metric: its name and intrinsic tags, apart from what merely describes it.

Metrics 2.0 calls tags *intrinsic* when changing one makes another series, and *meta* when it
does not. ``unit`` and ``mtype`` say what the numbers mean; they belong to the metric, not to a
single series. See https://github.com/metrics20/spec (spec.md).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from .errors import InvalidName

#: A tag set: unique keys, sorted, texts only. Equal sets are equal tuples.
Tags = tuple[tuple[str, str], ...]

#: The tag that marks the series into which a metric's surplus series are folded. The name is
#: OpenTelemetry's: https://opentelemetry.io/docs/specs/otel/metrics/sdk/#cardinality-limits
OVERFLOW_TAG = "otel.metric.overflow"
OVERFLOW_TAGS: Tags = ((OVERFLOW_TAG, "true"),)


class Kind(enum.Enum):
    """What a meter is; the value is how error messages name it."""

    COUNTER = "Counter"
    UP_DOWN_COUNTER = "UpDownCounter"
    GAUGE = "Gauge"
    TIMER = "Timer"
    SUMMARY = "DistributionSummary"
    HISTOGRAM = "Histogram"
    NATIVE_HISTOGRAM = "NativeHistogram"
    NATIVE_TIMER = "NativeTimer"
    INFO = "Info"


#: The kinds whose buckets are exponential.
NATIVE = (Kind.NATIVE_HISTOGRAM, Kind.NATIVE_TIMER)


class MetricId(NamedTuple):
    """A name and its intrinsic tags. ``str`` of it reads ``name[a=1, b=2]``."""

    name: str
    tags: Tags

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(f'{key}={value}' for key, value in self.tags)}]"


def text(value: object) -> str:
    """``value`` as a text that UTF-8 can carry; None is empty, as in SOFALookout.

    Lone surrogates become U+FFFD, and an object whose ``str`` fails is named by its type: a tag
    must not be the reason why a recording raises.
    """
    if value is None:
        return ""
    try:
        # Of a text's subclass the text, which it is equal to: a member of an enumeration finds
        # the series that its text does.
        result = str.__str__(value) if isinstance(value, str) else str(value)
    except Exception:
        return f"<{type(value).__name__}>"
    if result.isascii():
        return result
    return result.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def checked_name(value: object) -> str:
    """``value`` if it can name a metric or a tag: any text but the empty one."""
    if not isinstance(value, str):
        raise InvalidName(f"a name must be a text, got {type(value).__name__} {value!r}")
    if not value.strip():
        raise InvalidName(f"a name must not be empty or blank, got {value!r}")
    return text(value)


def tag_set(tags: Mapping[str, object]) -> Tags:
    """The canonical form of ``tags``: sorted by key, values as texts.

    Keys that are no texts are turned into texts; an empty key is dropped, since nothing that
    reads metrics can carry it.
    """
    pairs = {text(key): text(value) for key, value in tags.items()}
    pairs.pop("", None)
    return tuple(sorted(pairs.items()))
