"""The process-wide registry and the functions that record into it: the one place of state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .info import Facts, Info
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
from .registry import Registry

Tags = Mapping[str, object]

#: What the functions below record into. It exists from the start, so that a meter created
#: before ``init`` is the same meter after it.
REGISTRY = Registry(strict=False)


def counter(name: str, tags: Tags | None = None, /, **options: Any) -> Counter:
    """A counter of the process-wide registry: ``counter("orders", kind="book").inc()``.

    Options: ``unit``, ``mtype``, ``description``, ``keys``, ``meta``; any other keyword is a tag.
    What cannot be created is logged once and answered with a meter that is not reported.
    """
    return REGISTRY.counter(name, tags, **options)


def up_down_counter(name: str, tags: Tags | None = None, /, **options: Any) -> UpDownCounter:
    """A sum that may shrink, in the process-wide registry."""
    return REGISTRY.up_down_counter(name, tags, **options)


def gauge(
    name: str,
    tags: Tags | None = None,
    /,
    callback: Callable[[], float] | None = None,
    **options: Any,
) -> Gauge:
    """A gauge of the process-wide registry, set by hand or read from ``callback``."""
    return REGISTRY.gauge(name, tags, callback, **options)


def timer(name: str, tags: Tags | None = None, /, **options: Any) -> Timer:
    """A timer of the process-wide registry: ``with timer("query").time(): ...``."""
    return REGISTRY.timer(name, tags, **options)


def summary(name: str, tags: Tags | None = None, /, **options: Any) -> DistributionSummary:
    """Count, sum and maximum of values, in the process-wide registry."""
    return REGISTRY.summary(name, tags, **options)


def histogram(name: str, tags: Tags | None = None, /, **options: Any) -> Histogram:
    """A distribution over ``buckets``, in the process-wide registry."""
    return REGISTRY.histogram(name, tags, **options)


def native_histogram(name: str, tags: Tags | None = None, /, **options: Any) -> NativeHistogram:
    """A distribution over exponential buckets, in the process-wide registry."""
    return REGISTRY.native_histogram(name, tags, **options)


def native_timer(name: str, tags: Tags | None = None, /, **options: Any) -> NativeTimer:
    """Durations over exponential buckets, in the process-wide registry."""
    return REGISTRY.native_timer(name, tags, **options)


def info(
    name: str,
    facts: Facts | Callable[[], Facts] | None = None,
    tags: Tags | None = None,
    /,
    **options: Any,
) -> Info:
    """Facts that are texts, in the process-wide registry: ``info("build", {"version": "1.2"})``."""
    return REGISTRY.info(name, facts, tags, **options)
