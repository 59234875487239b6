"""``init`` and what ends it: both halves of the SDK as one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Set
from dataclasses import fields
from typing import Any

from tracer import misspelt, setup
from tracer.config import Config
from tracer.instrumentation import instrument as instrument_libraries

from .config import MetricsConfig, load
from .default import REGISTRY
from .metrics import Metrics
from .red import SpanMetrics

_log = logging.getLogger("lookout")


misspelt.know(MetricsConfig.variables())


class _State:
    """What ``init`` started in this process."""

    metrics: Metrics | None = None


def init(
    service_name: str | None = None, *, instrument: Iterable[str] = (), **settings: Any
) -> setup.Sdk:
    """Start tracing and metrics of this process.

    ``settings`` are those of :class:`tracer.config.Config` and
    :class:`lookout_client.config.MetricsConfig`; each also has environment variables. Spans and,
    every ``metrics_interval_s``, all metrics go to the ``collector``, ``http://127.0.0.1:9411``
    unless said otherwise. ``instrument`` names client libraries to trace, such as ``requests``.

    Called again it replaces the earlier set-up, and a log line says so; meters and what they
    counted stay. TypeError for a setting that does not exist; a wrong value is logged and the
    default used.
    """
    mine = MetricsConfig.names()
    tracing = {row.name for row in fields(Config)} | {*(setup.init.__kwdefaults__ or {})}
    _check_names(settings, mine | tracing)
    _stop_metrics()
    config = load({name: value for name, value in settings.items() if name in mine})
    theirs = {name: value for name, value in settings.items() if name not in mine}
    if config.span_metrics:
        theirs.setdefault("count_unsampled", True)
    sdk = setup.init(service_name, **theirs)
    if instrument:
        instrument_libraries(*instrument)
    _start_metrics(sdk, config)
    return sdk


def _check_names(settings: Mapping[str, Any], known: Set[str]) -> None:
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise TypeError(
            f"no such setting: {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )


def ensure_started() -> None:
    """``init`` from the environment, unless it, or the tracing half of it, was done before."""
    sdk = setup.running()
    if sdk is None:
        init()
    elif _State.metrics is None:
        _start_metrics(sdk, load())


def _start_metrics(sdk: setup.Sdk, config: MetricsConfig) -> None:
    if not sdk.config.enabled:
        return
    _State.metrics = metrics = Metrics(
        REGISTRY, config, sdk.flusher, sdk.pipeline.resource, sdk.config.spill_dir
    )
    if config.span_metrics:
        sdk.add_destination(SpanMetrics(REGISTRY))
    metrics.start(sdk.collector.post if sdk.collector is not None else None)
    sdk.before_flush.append(metrics.flush)
    sdk.before_shutdown.append(metrics.last_words)


def flush(timeout: float = 5.0) -> bool:
    """Send all finished spans and the current metrics; False if ``timeout`` was not enough."""
    return setup.flush(timeout)


def shutdown(timeout: float | None = None) -> bool:
    """Push the metrics a last time, flush the spans and stop; False if time ran out."""
    done = setup.shutdown(timeout)
    _stop_metrics()
    return done


def ledger() -> Mapping[str, Any]:
    """What became of every span so far; empty before ``init``."""
    return setup.ledger()


def _stop_metrics() -> None:
    metrics, _State.metrics = _State.metrics, None
    if metrics is not None:
        metrics.stop()
