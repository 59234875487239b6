"""One metric out of several processes' shares of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .exemplars import Exemplar
from .family import Definition
from .metric import Kind, Tags
from .registry import ACROSS
from .snapshot import BucketPoint, ExponentialPoint, NumberPoint, Point, Snapshot

ALL, SUM, MIN, MAX, LATEST = ACROSS


class _Share(NamedTuple):
    """One process's point of a series. ``pid`` is None once the process has ended."""

    pid: int | None
    time_ns: int
    point: Point


class Sums:
    """Adds up what processes hold. Ended processes count, but their gauges do not."""

    def __init__(self) -> None:
        self._definitions: dict[str, Definition] = {}
        self._shares: dict[str, dict[Tags, list[_Share]]] = {}

    def add(self, pid: int | None, time_ns: int, snapshots: Iterable[Snapshot]) -> None:
        """Take in one process's metrics. A name keeps the definition it was first given."""
        for definition, points in snapshots:
            known = self._definitions.setdefault(definition.name, definition)
            if known.kind is not definition.kind or known.bounds != definition.bounds:
                continue
            series = self._shares.setdefault(definition.name, {})
            for point in points:
                series.setdefault(point.tags, []).append(_Share(pid, time_ns, point))

    def snapshots(self, *, living: bool = True) -> list[Snapshot]:
        """The sums; without ``living`` only those that outlast a process."""
        found = []
        for name, series in self._shares.items():
            definition = self._definitions[name]
            points: list[Point] = []
            for tags, shares in series.items():
                found_here = _together(definition, shares, living)
                if tags or len(series) == 1 or not _is_untouched(found_here):
                    points.extend(found_here)
            if points:
                found.append(Snapshot(definition, points))
        return found


def _is_untouched(points: list[Point]) -> bool:
    """Whether it is a series that in no process did more than make the tagged ones."""
    return all(
        point.value == 0 if isinstance(point, NumberPoint) else point.recorded == 0
        for point in points
    )


def _together(definition: Definition, shares: list[_Share], living: bool) -> list[Point]:
    if definition.kind not in (Kind.GAUGE, Kind.UP_DOWN_COUNTER, Kind.INFO):
        total = shares[0].point
        for share in shares[1:]:
            total = added(total, share.point)
        return [total]
    alive = [share for share in shares if share.pid is not None]
    if not living or not alive:
        return []
    if definition.kind is Kind.GAUGE:
        return _gauge(definition.across, alive)
    if definition.kind is Kind.INFO:
        return [alive[0].point]
    return _gauge(SUM, alive)


def _gauge(across: str, shares: list[_Share]) -> list[Point]:
    numbers = [(share, share.point) for share in shares if isinstance(share.point, NumberPoint)]
    if across in (ALL, ""):
        return [
            point._replace(tags=tuple(sorted({**dict(point.tags), "pid": str(share.pid)}.items())))
            for share, point in numbers
        ]
    values = [point.value for _, point in numbers]
    if across == LATEST:
        return [max(numbers, key=lambda number: number[0].time_ns)[1]]
    value = min(values) if across == MIN else max(values) if across == MAX else sum(values)
    return [numbers[0][1]._replace(value=value)]


def added(one: Point, other: Point) -> Point:
    """Both points as one; of unlike points the first."""
    created_ns = min(one.created_ns, other.created_ns)
    if isinstance(one, NumberPoint) and isinstance(other, NumberPoint):
        exemplar = _latest(one.exemplar, other.exemplar)
        return NumberPoint(one.tags, one.value + other.value, created_ns, exemplar)
    if isinstance(one, BucketPoint) and isinstance(other, BucketPoint):
        counts = [mine + yours for mine, yours in zip(one.counts, other.counts, strict=True)]
        theirs = other.exemplars or {}
        exemplars = {
            bucket: _latest((one.exemplars or {}).get(bucket), theirs.get(bucket))
            for bucket in {*(one.exemplars or {}), *theirs}
        }
        kept = {bucket: item for bucket, item in exemplars.items() if item is not None}
        return BucketPoint(one.tags, one.total + other.total, counts, created_ns, kept or None)
    if isinstance(one, ExponentialPoint) and isinstance(other, ExponentialPoint):
        return _added_exponentials(one, other, created_ns)
    return one


def _latest(one: Exemplar | None, other: Exemplar | None) -> Exemplar | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda exemplar: exemplar.time_ns)


def _added_exponentials(
    one: ExponentialPoint, other: ExponentialPoint, created_ns: int
) -> ExponentialPoint:
    """The sum at the coarser scale of the two."""
    scale = min(one.scale, other.scale)
    offset, counts = _rows(
        scale,
        (one.scale, one.offset, one.counts),
        (other.scale, other.offset, other.counts),
    )
    negative_offset, negative_counts = _rows(
        scale,
        (one.scale, one.negative_offset, one.negative_counts),
        (other.scale, other.negative_offset, other.negative_counts),
    )
    return ExponentialPoint(
        one.tags,
        one.total + other.total,
        scale,
        one.zero_count + other.zero_count,
        max(one.zero_threshold, other.zero_threshold),
        offset,
        counts,
        negative_offset,
        negative_counts,
        created_ns,
        (*one.exemplars, *other.exemplars)[:8],
    )


def _rows(scale: int, *rows: tuple[int, int, list[int]]) -> tuple[int, list[int]]:
    filled: dict[int, int] = {}
    for own_scale, offset, counts in rows:
        for index, count in enumerate(counts, offset):
            if count:
                at = index >> (own_scale - scale)
                filled[at] = filled.get(at, 0) + count
    if not filled:
        return 0, []
    first = min(filled)
    return first, [filled.get(index, 0) for index in range(first, max(filled) + 1)]
