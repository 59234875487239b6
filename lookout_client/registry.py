"""Get-or-create for meters, within limits."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from .bound import Meter
from .errors import MeterClash, MeterError
from .exemplars import CurrentTrace, Exemplars
from .family import Definition, Family
from .info import Facts, Info, Poll
from .maxima import Maxima
from .meters import (
    Counter,
    DistributionSummary,
    Gauge,
    Histogram,
    NativeHistogram,
    NativeTimer,
    Timer,
    UpDownCounter,
)
from .metric import OVERFLOW_TAGS, MetricId, Tags, checked_name, tag_set, text
from .shadowing import intruder
from .snapshot import Point, Snapshot
from .steps import Priority
from .units import check_mtype, check_unit

M = TypeVar("M", bound=Meter[Any])

AnyMeter = Meter[Any]

log = logging.getLogger("lookout.meters")

#: Seconds. The boundaries the OpenTelemetry HTTP conventions recommend for durations:
#: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
DURATION_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
MAX_SERIES = 20_000
MAX_SERIES_PER_METRIC = 2_000
MAX_BUCKETS = 500
#: Ways to make one gauge of those of several processes.
ACROSS = ("all", "sum", "min", "max", "latest")


class Collects(Protocol):
    """Has metrics to report."""

    def collect(self) -> list[Snapshot]:
        """All of them, at this moment."""


class Listener(Protocol):
    """Hears of series that come and go."""

    def added(self, meter: AnyMeter) -> None:
        """``meter`` is reported from now on."""

    def removed(self, meter: AnyMeter) -> None:
        """``meter`` is not reported any more."""


#: Adds metrics to every collection.
Source = Callable[[], Iterable[Snapshot]]


class Registry:
    """The meters of an application, each under a unique name.

    Every factory answers the existing meter if the name and tags are known. A name has one type
    and one unit: asking for another raises :class:`MeterClash` and leaves the first untouched;
    with ``strict=False`` (the process-wide registry) it is logged once and answered with a meter
    that works but is not reported.

    Past ``max_series_per_metric`` tag sets of one metric, and ``max_series`` in all, further tag
    sets share one series tagged ``otel.metric.overflow=true``: totals stay right, memory bounded.
    """

    def __init__(
        self,
        *,
        max_series: int = MAX_SERIES,
        max_series_per_metric: int = MAX_SERIES_PER_METRIC,
        common_tags: Mapping[str, object] | None = None,
        strict: bool = True,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.max_series = max_series
        self.max_series_per_metric = max_series_per_metric
        self._common: Tags = tag_set(common_tags or {})
        self.strict = strict
        self.clock_ns = clock_ns
        self.families: dict[str, Family] = {}
        self.exemplars = Exemplars(clock_ns)
        #: Recordings that could not be taken, by reason.
        self.refused: dict[str, int] = {}
        #: Tag sets folded into an overflow series, counted once per look-up.
        self.overflowed = 0
        self._series = 0
        #: Where the metrics of other processes are, if they are to be scraped with these.
        self.workers: Collects | None = None
        self._sources: tuple[Source, ...] = ()
        self._listeners: tuple[Listener, ...] = ()
        self._warned: set[object] = set()
        # Re-entrant: a signal handler may create a meter while the interrupted code does.
        self.lock = threading.RLock()
        self.maxima = Maxima(self)
        _registries.add(self)

    def counter(
        self, name: str, tags: Mapping[str, object] | None = None, /, **options: Any
    ) -> Counter:
        """A number that only grows. See :meth:`meter` for the options."""
        return self.meter(Counter, name, tags, **options)

    def up_down_counter(
        self, name: str, tags: Mapping[str, object] | None = None, /, **options: Any
    ) -> UpDownCounter:
        """A sum that may shrink."""
        return self.meter(UpDownCounter, name, tags, **options)

    def gauge(
        self,
        name: str,
        tags: Mapping[str, object] | None = None,
        /,
        callback: Callable[[], float] | None = None,
        **options: Any,
    ) -> Gauge:
        """A value that is set, or read from ``callback``. A later callback replaces the former."""
        gauge = self.meter(Gauge, name, tags, **options)
        if callback is not None:
            gauge.callback = callback
        return gauge

    def timer(
        self, name: str, tags: Mapping[str, object] | None = None, /, **options: Any
    ) -> Timer:
        """Durations, kept in seconds, with :data:`DURATION_BUCKETS` unless ``buckets`` says."""
        options.setdefault("unit", "s")
        options.setdefault("buckets", DURATION_BUCKETS)
        return self.meter(Timer, name, tags, **options)

    def summary(
        self, name: str, tags: Mapping[str, object] | None = None, /, **options: Any
    ) -> DistributionSummary:
        """Count, sum and maximum of values; with ``buckets`` their distribution too."""
        return self.meter(DistributionSummary, name, tags, **options)

    def histogram(
        self, name: str, tags: Mapping[str, object] | None = None, /, **options: Any
    ) -> Histogram:
        """The distribution of values over ``buckets``, :data:`DURATION_BUCKETS` by default."""
        options.setdefault("buckets", DURATION_BUCKETS)
        return self.meter(Histogram, name, tags, **options)

    def info(
        self,
        name: str,
        facts: Facts | Callable[[], Facts] | None = None,
        tags: Mapping[str, object] | None = None,
        /,
        *,
        poll: Poll | None = None,
        **options: Any,
    ) -> Info:
        """Facts that are texts; ``poll`` says how often a step report tells them."""
        options.setdefault("priority", Priority.LOW)
        info = self.meter(Info, name, tags, **options)
        if facts is not None:
            info.set(facts)
        if poll is not None:
            info.poll = poll
        return info

    def native_histogram(
        self, name: str, tags: Mapping[str, object] | None = None, /, **options: Any
    ) -> NativeHistogram:
        """The distribution of values over exponential buckets."""
        return self.meter(NativeHistogram, name, tags, **options)

    def native_timer(
        self, name: str, tags: Mapping[str, object] | None = None, /, **options: Any
    ) -> NativeTimer:
        """Durations in seconds over exponential buckets."""
        options.setdefault("unit", "s")
        return self.meter(NativeTimer, name, tags, **options)

    def meter(
        self,
        meter_type: type[M],
        name: str,
        tags: Mapping[str, object] | None = None,
        /,
        *,
        unit: str = "",
        mtype: str = "",
        description: str = "",
        help: str = "",
        keys: Sequence[str] = (),
        meta: Mapping[str, object] | None = None,
        buckets: Sequence[float] = (),
        priority: Priority | str = Priority.NORMAL,
        group: str = "",
        across: str = "",
        strict: bool | None = None,
        **more_tags: object,
    ) -> M:
        """The meter of ``meter_type`` with this name and these tags, created if need be.

        ``unit`` and ``mtype`` are Metrics 2.0's; ``description``, or ``help`` as Prometheus calls
        it, says in a sentence what is measured; ``keys`` declares the tag keys for
        :meth:`Meter.tagged`; ``meta`` are tags outside identity; ``buckets`` are upper bounds;
        ``priority`` is how often SOFALookout's protocol reports it, ``group`` the mixin it is in;
        ``across`` says what a gauge of several worker processes is: all, sum, min, max or latest;
        ``strict`` overrides the registry's.
        Tags may be given as a mapping, as further keyword arguments, or both.
        """
        series = tag_set({**(tags or {}), **more_tags})
        try:
            family = self.families.get(name)
            if family is None or not family.is_asked_for(meter_type, unit, keys):
                wanted = Definition(
                    checked_name(name),
                    meter_type.kind,
                    check_unit(unit, meter_type.kind),
                    check_mtype(mtype, unit, meter_type.kind),
                    str(description or help),
                    tuple(checked_name(key) for key in keys),
                    tag_set(meta or {}),
                    checked_bounds(buckets),
                    Priority.of(priority),
                    text(group),
                    across=checked_across(across),
                )
                family = self._family(meter_type, wanted)
        except MeterError as error:
            if self.strict if strict is None else strict:
                raise
            self._warn(("refused", repr(name), str(error)), "%s; it is not reported", error)
            return self._detached(meter_type, series)
        return self._open(meter_type, family.get(series))

    def _open(self, meter_type: type[M], meter: Any) -> M:
        """``meter``, accepting tags with each recording from now on."""
        if type(meter) is not meter_type:
            meter.__class__ = meter_type  # the open class has the same slots as the bound one
        return meter  # type: ignore[no-any-return]

    def get(self, name: str, tags: Mapping[str, object] | None = None) -> AnyMeter | None:
        """The meter with this name and exactly these tags, or None."""
        family = self.families.get(name)
        return family.series.get(tag_set(tags or {})) if family else None

    def lint(self) -> list[str]:
        """What could be better about the metrics: units, names, tags. Remarks, never errors."""
        from .lint import remarks

        return list(remarks(self))

    def remove(self, name: str) -> bool:
        """Forget a metric with all its series; False if there was none."""
        with self.lock:
            family = self.families.pop(name, None)
            if family is None:
                return False
            self._series -= len(family.series)
        for meter in list(family.series.values()):
            self._tell("removed", meter)
        return True

    def forget(self, meter: AnyMeter) -> bool:
        """Take one series out; False if it was not there. Who holds it can go on recording."""
        family = meter.family
        with self.lock:
            if family.series.get(meter.tags) is not meter:
                return False
            del family.series[meter.tags]
            family.spellings.forget(meter)
            self._series -= 1
        self._tell("removed", meter)
        return True

    def restore(self, meter: AnyMeter) -> None:
        """Undo :meth:`forget`; a series that took the place meanwhile gets what was recorded."""
        family = meter.family
        with self.lock:
            present = family.series.setdefault(meter.tags, meter)
            if present is meter:
                self._series += 1
            else:
                present.take(meter)
        if present is meter:
            self._tell("added", meter)

    @property
    def common_tags(self) -> Tags:
        """Tags that every series is reported with, unless it has its own of that key."""
        return self._common

    def set_common_tag(self, key: str, value: object | None) -> None:
        """Report every series with this tag; None takes it away."""
        tags = dict(self._common)
        if value is None:
            tags.pop(key, None)
        else:
            tags[checked_name(key)] = text(value)
        self._common = tag_set(tags)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell ``listener`` of every series added or removed, those already there included.

        The answer ends that. A listener that raises is passed over.
        """
        self._listeners = (*self._listeners, listener)
        for meter in self:
            self._tell("added", meter, (listener,))

        def stop() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

        return stop

    def _tell(
        self, event: str, meter: AnyMeter, listeners: tuple[Listener, ...] | None = None
    ) -> None:
        for listener in self._listeners if listeners is None else listeners:
            try:
                getattr(listener, event)(meter)
            except Exception as error:
                self._warn(("listener", repr(listener)), "listener %r fails: %r", listener, error)

    def __iter__(self) -> Iterator[AnyMeter]:
        """Every series, metric by metric."""
        for family in list(self.families.values()):
            yield from list(family.series.values())

    def __len__(self) -> int:
        return self._series

    def trace_with(self, current: CurrentTrace) -> None:
        """Take exemplars from ``current``, beginning with the next recording of every series."""
        self.exemplars.use(current)
        for meter in self:
            meter._armed = self.exemplars.tries

    def collect(self) -> list[Snapshot]:
        """Every metric with everything its series hold, and arm the series for exemplars.

        A series without tags that was never recorded into is left out when the metric declares
        tag keys or has other series: it only served to make them.
        """
        tries = self.exemplars.tries
        snapshots = []
        for family in list(self.families.values()):
            points: list[Point] = []
            series = list(family.series.values())
            for meter in series:
                if not meter.tags and (family.quiet or len(series) > 1) and not meter.touched:
                    continue
                point = meter.point()
                if point is not None:
                    points.append(point)
                meter._armed = tries
            if points:
                snapshots.append(Snapshot(family.definition, points))
        return self._with_sources(snapshots) if self._sources else snapshots

    def add_source(self, source: Source) -> Callable[[], None]:
        """Read ``source`` with every collection; the answer ends that.

        A source that raises is passed over and counted.
        """
        self._sources = (*self._sources, source)

        def stop() -> None:
            self._sources = tuple(known for known in self._sources if known is not source)

        return stop

    def _with_sources(self, snapshots: list[Snapshot]) -> list[Snapshot]:
        merged = {snapshot.definition.name: snapshot for snapshot in snapshots}
        for snapshot in self.read_sources():
            _merge(merged, snapshot)
        return list(merged.values())

    def read_sources(self) -> Iterator[Snapshot]:
        """What the added sources have at this moment, metrics without a series left out."""
        for source in self._sources:
            try:
                yield from [snapshot for snapshot in source() if snapshot.points]
            except Exception as error:
                self.refused["source"] = self.refused.get("source", 0) + 1
                self._warn(("source", repr(source)), "source %r fails: %r", source, error)

    def admit(self, family: Family, tags: Tags) -> AnyMeter:
        """Add a series to ``family``, or answer its overflow series where a limit is reached."""
        with self.lock:
            found: AnyMeter | None = family.series.get(tags)
            if found is not None:
                return found
            full = len(family.series) >= family.limit or self._series >= self.max_series
            if full and tags:
                return self._overflow(family, tags)
            meter = self._new(family, tags)
            family.series[tags] = meter
            self._series += 1
        self._tell("added", meter)
        return meter

    def _new(self, family: Family, tags: Tags) -> AnyMeter:
        # Bound: a registry opens it where it hands it out itself.
        bound_type: type[AnyMeter] = family.meter_type.__bases__[0]
        meter = bound_type(family, tags, self.clock_ns())
        meter._armed = self.exemplars.tries
        return meter

    def _overflow(self, family: Family, tags: Tags) -> AnyMeter:
        self.overflowed += 1
        if family.overflow is None:
            family.overflow = self._new(family, OVERFLOW_TAGS)
            family.series[OVERFLOW_TAGS] = family.overflow
        self._warn(
            ("overflow", family.name),
            "metric %s has reached its limit of series (%d of it, %d in all): %s and further "
            "tag sets are recorded as %s",
            family.name,
            family.limit,
            self.max_series,
            MetricId(family.name, tags),
            MetricId(family.name, OVERFLOW_TAGS),
        )
        meter: AnyMeter = family.overflow
        return meter

    def _family(self, meter_type: type[AnyMeter], wanted: Definition) -> Family:
        with self.lock:
            family = self.families.get(wanted.name)
            if family is None:
                family = Family(self, wanted, meter_type, self.max_series_per_metric)
                self.families[wanted.name] = family
            elif not _compatible(family.definition, wanted):
                raise MeterClash(wanted.name, f"a <{family.definition}>", f"a <{wanted}>")
            return family

    def _detached(self, meter_type: type[M], tags: Tags) -> M:
        definition = Definition("detached", meter_type.kind, bounds=DURATION_BUCKETS)
        family = Family(self, definition, meter_type, 0)
        meter = meter_type(family, tags, self.clock_ns())
        family.series[tags] = family.overflow = meter
        return meter

    def _after_fork(self) -> None:
        """In the child: what was counted so far is the parent's to report.

        Counting goes on from nothing, so that sums over a pool of workers stay right.
        """
        # Another thread may have held the lock when the process forked.
        self.lock = threading.RLock()
        now_ns = self.clock_ns()
        for meter in self:
            meter.reset(now_ns)
        self.refused.clear()
        self.overflowed = 0

    def _warn(self, key: object, message: str, *args: object) -> None:
        """Log once per ``key``, and never more than a bounded number of keys."""
        if key not in self._warned and len(self._warned) < 1_000:
            self._warned.add(key)
            log.warning(message, *args)


def _merge(snapshots: dict[str, Snapshot], other: Snapshot) -> None:
    """Add ``other`` to the snapshots; of a name there already, the series it does not have."""
    name = other.definition.name
    known = snapshots.setdefault(name, other)
    if known is other:
        return
    same = known.definition.kind is other.definition.kind
    if same and known.definition.bounds == other.definition.bounds:
        tags = {point.tags for point in known.points}
        known.points.extend(point for point in other.points if point.tags not in tags)
    else:
        snapshots[f"{name}\0{other.definition}{other.definition.bounds}"] = other


def _compatible(existing: Definition, wanted: Definition) -> bool:
    """Whether ``wanted`` may share ``existing``'s series; what it leaves open matches anything."""
    return (
        existing.kind is wanted.kind
        and wanted.unit in ("", existing.unit)
        and wanted.keys in ((), existing.keys)
    )


def checked_across(across: str) -> str:
    """``across`` if it is one of the ways to make one gauge of several processes'."""
    if across and across not in ACROSS:
        raise MeterError(f"across must be one of {', '.join(ACROSS)}, got {across!r}")
    return across


def checked_bounds(buckets: Sequence[float]) -> tuple[float, ...]:
    """Bucket bounds as finite ascending floats, +Inf left out because it is implied."""
    try:
        bounds = sorted({float(bound) for bound in buckets} - {math.inf})
    except (TypeError, ValueError) as error:
        raise MeterError(f"bucket bounds must be numbers, got {buckets!r}") from error
    if any(not math.isfinite(bound) for bound in bounds):
        raise MeterError(f"bucket bounds must not be NaN or -Inf, got {buckets!r}")
    if len(bounds) > MAX_BUCKETS:
        raise MeterError(f"at most {MAX_BUCKETS} buckets, got {len(bounds)}")
    return tuple(bounds)


_registries: weakref.WeakSet[Registry] = weakref.WeakSet()


def _after_fork() -> None:
    for registry in list(_registries):
        registry._after_fork()


def _watch_forks() -> None:
    if not intruder(("exporters",)):
        from exporters._process import always_after_fork_in_child

        always_after_fork_in_child(_after_fork)
    elif hasattr(os, "register_at_fork"):  # all but uWSGI's forks, and nothing is pushed anyway
        os.register_at_fork(after_in_child=_after_fork)


_watch_forks()
