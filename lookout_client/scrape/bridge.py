"""Living together with prometheus_client, in both directions.

``register()`` makes our metrics part of a prometheus_client registry, for applications
that already serve one; ``include()`` makes theirs part of ours: scraped, pushed
and limited to what they hold.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import REGISTRY as THEIR_REGISTRY
from prometheus_client import CollectorRegistry
from prometheus_client import Metric as TheirMetric
from prometheus_client.samples import Exemplar as TheirExemplar
from prometheus_client.samples import Sample

from exporters.naming import prometheus_labels

from ..default import REGISTRY
from ..exemplars import Exemplar
from ..family import Definition
from ..metric import Kind, Tags
from ..registry import Registry
from ..snapshot import BucketPoint, ExponentialPoint, NumberPoint, Snapshot
from .text import number, powers_of_two, prometheus_type, unique


class LookoutCollector:
    """A prometheus_client collector of everything in ``registry``."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def describe(self) -> list[TheirMetric]:
        """Nothing: our metrics may come and go, so names are not checked beforehand."""
        return []

    def _own(self) -> list[Snapshot]:
        """Our metrics without theirs, where :func:`include` made those ours too."""
        _reading.now = True
        try:
            return self.registry.collect()
        finally:
            _reading.now = False

    def collect(self) -> Iterator[TheirMetric]:
        """Our metrics as prometheus_client's."""
        if getattr(_reading, "now", False):
            return
        common = self.registry.common_tags
        for name, snapshot in unique(self._own()):
            kind = prometheus_type(snapshot.definition)
            suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
            metric = TheirMetric(
                name.removesuffix(suffix), snapshot.definition.description or " ", kind
            )
            for point in snapshot.points:
                tags = {**dict(common), **dict(point.tags)}
                labels = dict(prometheus_labels(sorted(tags.items())))
                if isinstance(point, NumberPoint):
                    exemplar = _their_exemplar(point.exemplar)
                    metric.add_sample(name, labels, point.value, exemplar=exemplar)
                else:
                    _add_distribution(metric, name, labels, snapshot.definition, point)
            yield metric


def _add_distribution(
    metric: TheirMetric,
    name: str,
    labels: dict[str, str],
    definition: Definition,
    point: BucketPoint | ExponentialPoint,
) -> None:
    if isinstance(point, ExponentialPoint):
        (bounds, counts), exemplars = powers_of_two(point), {}
    else:
        bounds, counts, exemplars = definition.bounds, point.counts, dict(point.exemplars or {})
    running = list(accumulate(counts))
    if bounds or isinstance(point, ExponentialPoint):
        for index, bound in enumerate((*bounds, math.inf)):
            metric.add_sample(
                f"{name}_bucket",
                {**labels, "le": number(bound)},
                running[index],
                exemplar=_their_exemplar(exemplars.get(index)),
            )
    metric.add_sample(f"{name}_count", labels, running[-1])
    metric.add_sample(f"{name}_sum", labels, point.total)


def _their_exemplar(exemplar: Exemplar | None) -> TheirExemplar | None:
    if exemplar is None:
        return None
    labels = {"trace_id": exemplar.trace_id, "span_id": exemplar.span_id}
    return TheirExemplar(labels, exemplar.value, exemplar.time_ns / 1e9)


def register(
    theirs: CollectorRegistry = THEIR_REGISTRY, registry: Registry | None = None
) -> Callable[[], None]:
    """Serve ``registry``, the process's by default, through ``theirs`` too.

    The answer undoes it.
    """
    collector: Any = LookoutCollector(registry if registry is not None else REGISTRY)
    theirs.register(collector)
    return lambda: theirs.unregister(collector)


def include(
    theirs: CollectorRegistry = THEIR_REGISTRY, registry: Registry | None = None
) -> Callable[[], None]:
    """Report everything in ``theirs`` through ``registry`` too; the answer undoes it.

    May be combined with :func:`register`: each metric is then in both, once.
    """
    ours = registry if registry is not None else REGISTRY

    def read() -> list[Snapshot]:
        if getattr(_reading, "now", False):  # theirs includes ours, which is being read
            return []
        _reading.now = True
        try:
            return list(snapshots(theirs.collect()))
        finally:
            _reading.now = False

    return ours.add_source(read)


_reading = threading.local()

_KINDS = {
    "counter": Kind.COUNTER,
    "gauge": Kind.GAUGE,
    "unknown": Kind.GAUGE,
    "stateset": Kind.GAUGE,
    "info": Kind.INFO,
    "histogram": Kind.HISTOGRAM,
    "summary": Kind.SUMMARY,
}


def snapshots(metrics: Iterable[TheirMetric]) -> Iterator[Snapshot]:
    """prometheus_client's metrics as our snapshots, under the names they have."""
    for metric in metrics:
        kind = _KINDS.get(metric.type)
        if kind is None:
            continue  # a gauge histogram, which no client makes
        if kind in (Kind.HISTOGRAM, Kind.SUMMARY):
            yield from _distributions(metric, kind)
        else:
            yield from _numbers(metric, kind)


def _numbers(metric: TheirMetric, kind: Kind) -> Iterator[Snapshot]:
    suffix = {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(kind, "")
    created = _created(metric)
    points = [
        NumberPoint(
            _tags(sample),
            sample.value,
            created.get(_tags(sample), 0),
            _our_exemplar(sample.exemplar),
        )
        for sample in metric.samples
        if sample.name == metric.name + suffix
    ]
    if points:
        yield Snapshot(_definition(metric, metric.name + suffix, kind), list(points))


def _distributions(metric: TheirMetric, kind: Kind) -> Iterator[Snapshot]:
    """One snapshot for each set of bounds: prometheus_client lets children differ."""
    buckets: dict[Tags, list[Sample]] = defaultdict(list)
    sums: dict[Tags, float] = {}
    counts: dict[Tags, float] = {}
    for sample in metric.samples:
        suffix = sample.name.removeprefix(metric.name)
        if suffix == "_bucket":
            buckets[_tags(sample, "le")].append(sample)
        elif suffix == "_sum":
            sums[_tags(sample)] = sample.value
        elif suffix == "_count":
            counts[_tags(sample)] = sample.value
    created = _created(metric)
    by_bounds: dict[tuple[float, ...], list[Any]] = defaultdict(list)
    for tags, count in counts.items():
        ordered = sorted(buckets[tags], key=lambda sample: float(sample.labels["le"]))
        bounds = tuple(float(sample.labels["le"]) for sample in ordered[:-1])
        running = [int(sample.value) for sample in ordered] or [int(count)]
        separate = [after - before for before, after in zip([0, *running], running, strict=False)]
        found = {
            index: exemplar
            for index, sample in enumerate(ordered)
            if (exemplar := _our_exemplar(sample.exemplar)) is not None
        }
        by_bounds[bounds].append(
            BucketPoint(tags, sums.get(tags, 0.0), separate, created.get(tags, 0), found)
        )
    for bounds, points in by_bounds.items():
        yield Snapshot(_definition(metric, metric.name, kind, bounds), points)


def _definition(
    metric: TheirMetric, name: str, kind: Kind, bounds: tuple[float, ...] = ()
) -> Definition:
    mtype = "counter" if kind is Kind.COUNTER else "gauge"
    return Definition(
        name, kind, metric.unit, mtype, metric.documentation, bounds=bounds, verbatim=True
    )


def _tags(sample: Sample, *without: str) -> Tags:
    return tuple(sorted(pair for pair in sample.labels.items() if pair[0] not in without))


def _created(metric: TheirMetric) -> dict[Tags, int]:
    return {
        _tags(sample): int(sample.value * 1e9)
        for sample in metric.samples
        if sample.name == f"{metric.name}_created"
    }


def _our_exemplar(exemplar: TheirExemplar | None) -> Exemplar | None:
    """Their exemplar, if it names a trace the way ours do."""
    if exemplar is None:
        return None
    try:
        trace_id = int(exemplar.labels["trace_id"], 16)
        span_id = int(exemplar.labels.get("span_id", "0"), 16)
    except (KeyError, ValueError):
        return None
    if trace_id >> 128 or span_id >> 64:
        return None
    time_ns = int(float(exemplar.timestamp or 0) * 1e9)
    return Exemplar.of(trace_id, span_id, exemplar.value, time_ns)
