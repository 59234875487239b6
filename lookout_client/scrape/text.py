"""The Prometheus text formats, 0.0.4 and OpenMetrics 1.0.

https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://prometheus.io/docs/specs/om/open_metrics_spec/. Rendered here rather than by
prometheus_client because a scrape runs inside the application, beside its requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate

from exporters.naming import escaped_name, prometheus_labels, prometheus_name, unit_words

from ..exemplars import Exemplar
from ..family import Definition
from ..metric import NATIVE, Kind, Tags
from ..snapshot import BucketPoint, ExponentialPoint, NumberPoint, Snapshot

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_TYPES = {
    Kind.COUNTER: "counter",
    Kind.UP_DOWN_COUNTER: "gauge",
    Kind.GAUGE: "gauge",
    Kind.TIMER: "histogram",
    Kind.SUMMARY: "histogram",
    Kind.HISTOGRAM: "histogram",
    Kind.NATIVE_HISTOGRAM: "histogram",
    Kind.NATIVE_TIMER: "histogram",
    Kind.INFO: "info",
}

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})

#: Label blocks remembered between scrapes; each is a few dozen bytes.
MAX_REMEMBERED = 100_000


def number(value: float) -> str:
    """``value`` as both formats write it."""
    if isinstance(value, int):
        return str(value)
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def prometheus_type(definition: Definition) -> str:
    """The type Prometheus knows the metric as."""
    kind = _TYPES[definition.kind]
    return "summary" if kind == "histogram" and _has_no_buckets(definition) else kind


def _has_no_buckets(definition: Definition) -> bool:
    return not definition.bounds and definition.kind not in NATIVE


def family_name(definition: Definition) -> str:
    """The Prometheus name of the metric, as the text format 0.0.4 announces it."""
    if definition.verbatim:
        return definition.name
    kind = prometheus_type(definition)
    mtype = definition.mtype if kind == "gauge" else kind
    return prometheus_name(definition.name, definition.unit, mtype)


class TextRenderer:
    """Renders snapshots of one registry. Label blocks are kept between scrapes."""

    content_type = TEXT_TYPE

    def __init__(self) -> None:
        self._common: Tags = ()
        self._blocks: dict[Tags, str] = {}

    def render(self, snapshots: Iterable[Snapshot], common_tags: Tags = ()) -> bytes:
        """The exposition of ``snapshots``, every series with ``common_tags`` besides its own."""
        if common_tags != self._common:
            self._common = common_tags
            self._blocks.clear()
        lines: list[str] = []
        for snapshot in unique(snapshots):
            lines.extend(self._family(*snapshot))
        lines.extend(self._end())
        return "".join(lines).encode()

    def _family(self, name: str, snapshot: Snapshot) -> Iterator[str]:
        definition = snapshot.definition
        kind = prometheus_type(definition)
        yield from self._head(name, kind, definition)
        first = snapshot.points[0]
        if isinstance(first, NumberPoint):
            yield from self._numbers(name, kind, snapshot)
        elif isinstance(first, BucketPoint):
            for point in snapshot.points:
                yield from self._buckets(name, definition.bounds, point)  # type: ignore[arg-type]
        else:
            for point in snapshot.points:
                yield from self._exponential(name, point)  # type: ignore[arg-type]

    def _head(self, name: str, kind: str, definition: Definition) -> Iterator[str]:
        if definition.description:
            yield f"# HELP {name} {definition.description.translate(_HELP_ESCAPES)}\n"
        yield f"# TYPE {name} {'gauge' if kind == 'info' else kind}\n"

    def _numbers(self, name: str, kind: str, snapshot: Snapshot) -> Iterable[str]:
        blocks = self._blocks
        lines = []
        for tags, value, _, _ in snapshot.points:  # type: ignore[misc]
            block = blocks.get(tags) or self._block(tags)
            shown = str(value) if value.__class__ is int else number(value)
            lines.append(f"{name}{block} {shown}\n")
        return lines

    def _buckets(
        self, name: str, bounds: tuple[float, ...], point: BucketPoint, histogram: bool = False
    ) -> Iterator[str]:
        """Buckets, sum and count; a ``histogram`` without bounds still has the bucket +Inf."""
        block = self._blocks.get(point.tags) or self._block(point.tags)
        running = list(accumulate(point.counts))
        if bounds or histogram:
            start = f"{name}_bucket{block[:-1]}," if block else f"{name}_bucket{{"
            for bound, count in zip((*bounds, math.inf), running, strict=True):
                yield f'{start}le="{number(bound)}"}} {count}\n'
        yield f"{name}_count{block} {running[-1]}\n"
        yield f"{name}_sum{block} {number(point.total)}\n"

    def _exponential(self, name: str, point: ExponentialPoint) -> Iterator[str]:
        """A text format cannot carry native buckets: their powers of two stand for them."""
        bounds, counts = powers_of_two(point)
        classic = BucketPoint(point.tags, point.total, counts, point.created_ns)
        return self._buckets(name, bounds, classic, histogram=True)

    def _block(self, tags: Tags) -> str:
        """The label block of ``tags``, the common tags included: ``{a="b"}``."""
        pairs = tags
        if self._common:
            pairs = tuple(sorted({**dict(self._common), **dict(tags)}.items()))
        inner = ",".join(
            f'{key}="{value.translate(_ESCAPES)}"' for key, value in prometheus_labels(pairs)
        )
        block = f"{{{inner}}}" if inner else ""
        if len(self._blocks) >= MAX_REMEMBERED:
            self._blocks.clear()
        self._blocks[tags] = block
        return block

    def _end(self) -> Iterable[str]:
        return ()


class OpenMetricsRenderer(TextRenderer):
    """OpenMetrics: units, created timestamps and exemplars besides."""

    content_type = OPENMETRICS_TYPE

    def _head(self, name: str, kind: str, definition: Definition) -> Iterator[str]:
        name = name.removesuffix("_total" if kind == "counter" else "_info")
        yield f"# TYPE {name} {kind}\n"
        unit = "_".join(filter(None, unit_words(definition.unit)))
        if unit and name.endswith(f"_{unit}"):
            yield f"# UNIT {name} {unit}\n"
        if definition.description:
            yield f"# HELP {name} {definition.description.translate(_ESCAPES)}\n"

    def _numbers(self, name: str, kind: str, snapshot: Snapshot) -> Iterable[str]:
        if kind != "counter":
            return super()._numbers(name, kind, snapshot)
        return self._counters(name, snapshot)

    def _counters(self, name: str, snapshot: Snapshot) -> Iterator[str]:
        created_name = f"{name.removesuffix('_total')}_created"
        for tags, value, created_ns, exemplar in snapshot.points:  # type: ignore[misc]
            block = self._blocks.get(tags) or self._block(tags)
            yield f"{name}{block} {number(value)}{_exemplar(exemplar)}\n"
            yield f"{created_name}{block} {created_ns / 1e9!r}\n"

    def _buckets(
        self, name: str, bounds: tuple[float, ...], point: BucketPoint, histogram: bool = False
    ) -> Iterator[str]:
        block = self._blocks.get(point.tags) or self._block(point.tags)
        exemplars = point.exemplars if point.exemplars and bounds else {}
        buckets = len(bounds) + 1 if bounds or histogram else 0
        for index, line in enumerate(super()._buckets(name, bounds, point, histogram)):
            if index in exemplars:  # one line per bucket comes first
                yield f"{line[:-1]}{_exemplar(exemplars[index])}\n"
            elif index < buckets or point.total >= 0:
                yield line  # a sum below zero, and the count with it, must not be told
        yield f"{name}_created{block} {point.created_ns / 1e9!r}\n"

    def _end(self) -> Iterable[str]:
        return ("# EOF\n",)


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    trace_id, span_id, value, time_ns = exemplar
    labels = f'{{trace_id="{trace_id}",span_id="{span_id}"}}'
    return f" # {labels} {number(value)} {time_ns / 1e9:.3f}"


def powers_of_two(point: ExponentialPoint) -> tuple[tuple[float, ...], list[int]]:
    """``point`` as classic buckets whose bounds are powers of two, exact at each of them."""
    buckets: dict[float, int] = {}
    for index, count in enumerate(point.negative_counts, point.negative_offset):
        bound = -math.ldexp(1.0, _power_below(index, point.scale))
        buckets[bound] = buckets.get(bound, 0) + count
    if point.zero_count:
        buckets[point.zero_threshold] = point.zero_count
    for index, count in enumerate(point.counts, point.offset):
        bound = _power_of_two(_power_below(index, point.scale) + _width(point.scale))
        buckets[bound] = buckets.get(bound, 0) + count
    beyond = buckets.pop(math.inf, 0)
    bounds = sorted(buckets)
    return tuple(bounds), [*(buckets[bound] for bound in bounds), beyond]


def _width(scale: int) -> int:
    return 1 << max(-scale, 0)


def _power_below(index: int, scale: int) -> int:
    """The power of two at or below the lower bound of bucket ``index``."""
    return index >> scale if scale >= 0 else index << -scale


def _power_of_two(exponent: int) -> float:
    return math.inf if exponent > 1023 else math.ldexp(1.0, exponent)


def unique(snapshots: Iterable[Snapshot]) -> Iterator[tuple[str, Snapshot]]:
    """``snapshots`` with their Prometheus names, no two of which share a sample's name.

    A metric whose name is taken already, by one that differs only in what Prometheus cannot
    carry, gets the escaped spelling of its own: nothing merges and nothing is lost.
    """
    taken: set[str] = set()
    for snapshot in snapshots:
        definition = snapshot.definition
        kind = prometheus_type(definition)
        name = family_name(definition)
        if not taken.isdisjoint(sample_names(name, kind)):
            suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
            name = escaped_name(definition.name) + suffix
            while not taken.isdisjoint(sample_names(name, kind)):
                name = f"U_{name}"
        taken.update(sample_names(name, kind))
        yield name, snapshot


def sample_names(name: str, kind: str) -> tuple[str, ...]:
    """Every name that the samples or the head of a metric may have in either format."""
    if kind in ("counter", "info"):
        base = name.removesuffix("_total" if kind == "counter" else "_info")
        return name, base, f"{base}_created"
    if kind == "gauge":
        return (name,)
    return name, f"{name}_bucket", f"{name}_count", f"{name}_sum", f"{name}_created"
