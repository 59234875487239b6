"""The settings of the metrics half, in the same table form as :mod:`tracer.config`."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_log = logging.getLogger("lookout")

_WORDS = {"1": True, "true": True, "yes": True, "on": True,
          "0": False, "false": False, "no": False, "off": False}  # fmt: skip


def _boolean(value: Any) -> bool:
    try:
        return _WORDS[str(value).strip().lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def _at_least(
    least: float, kind: type[Any], scale: float = 1, most: float = math.inf
) -> Callable[[Any], Any]:
    allowed = f"a number from {least}" + (f" to {most}" if most != math.inf else "")

    def read(value: Any) -> Any:
        try:
            number = kind(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not least <= number <= most or math.isinf(number):
            raise ValueError(f"expected {allowed}")
        return number * scale if scale != 1 else number

    return read


#: A TCP port; 0 has the system choose one.
_port = _at_least(0, int, most=65_535)


def _words(value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value
    found = tuple(word for item in words if (word := str(item).strip()))
    return () if found == ("none",) else found


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        word = str(value).strip().lower()
        if word not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return word

    return read


#: What OTEL_METRICS_EXPORTER may name; OpenTelemetry's Prometheus exporter listens on this port.
_EXPORTERS = {"otlp", "prometheus", "none"}
_PROMETHEUS_PORT = 9464


def _exporters(value: Any) -> set[str]:
    found = {word.strip().lower() for word in str(value).split(",")}
    if not found <= _EXPORTERS:
        raise ValueError(f"expected {', '.join(sorted(_EXPORTERS))}, or several")
    return found


def _pushes(value: Any) -> bool:
    return "otlp" in _exporters(value)


def _is_scraped(value: Any) -> int | None:
    return _PROMETHEUS_PORT if "prometheus" in _exporters(value) else None


#: Whose trace an exemplar names: a sampled one's, any, nobody's. OpenTelemetry's words too.
_EXEMPLARS = {
    "sampled": "sampled", "all": "all", "none": "none",
    "trace_based": "sampled", "always_on": "all", "always_off": "none",
    **{word: "sampled" if meant else "none" for word, meant in _WORDS.items()},
}  # fmt: skip


def _exemplars(value: Any) -> str:
    try:
        return _EXEMPLARS[str(value).strip().lower()]
    except KeyError:
        raise ValueError("expected sampled, all or none") from None


def _setting(
    default: Any, read: Callable[[Any], Any], doc: str, *env: str | tuple[str, Callable[[Any], Any]]
) -> Any:
    return field(default=default, metadata={"read": read, "doc": doc, "env": env})


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """What becomes of this process's metrics. Every field is an argument of ``init``."""

    metrics_push: bool = _setting(
        True,
        _boolean,
        "push all metrics to the collector",
        "LOOKOUT_METRICS_PUSH",
        ("OTEL_METRICS_EXPORTER", _pushes),
    )
    metrics_interval_s: float = _setting(
        15.0,
        _at_least(0.1, float),
        "seconds between two pushes",
        "LOOKOUT_METRICS_INTERVAL",
        ("OTEL_METRIC_EXPORT_INTERVAL", _at_least(100, float, 0.001)),
    )
    metrics_timeout_s: float | None = _setting(
        None,
        _at_least(0.1, float),
        "seconds that one attempt to send them may take; nothing: as long as one for spans, 10",
        "LOOKOUT_METRICS_TIMEOUT",
        ("OTEL_METRIC_EXPORT_TIMEOUT", _at_least(100, float, 0.001)),
    )
    metrics_port: int | None = _setting(
        None,
        _port,
        "serve /metrics on this port of its own; nothing: no server",
        "LOOKOUT_METRICS_PORT",
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        ("OTEL_METRICS_EXPORTER", _is_scraped),
    )
    metrics_host: str = _setting(
        "127.0.0.1",
        str,
        "address the metrics server listens on",
        "LOOKOUT_METRICS_HOST",
        "OTEL_EXPORTER_PROMETHEUS_HOST",
    )
    workers_dir: str | None = _setting(
        None,
        os.fspath,
        "directory that the workers of a server share, so that a scrape of one tells of all",
        "LOOKOUT_WORKERS_DIR",
        "PROMETHEUS_MULTIPROC_DIR",
    )
    exemplars: str = _setting(
        "sampled",
        _exemplars,
        "which traces counters and histograms point to: sampled, all or none",
        "LOOKOUT_EXEMPLARS",
        "OTEL_METRICS_EXEMPLAR_FILTER",
    )
    span_metrics: bool = _setting(
        False,
        _boolean,
        "count and time every span by name, kind and status, before sampling",
        "LOOKOUT_SPAN_METRICS",
    )
    gateway: tuple[str, ...] = _setting(
        (),
        _words,
        "SOFALookout gateways to report to in their own protocol: host, host:port or URL",
        "LOOKOUT_GATEWAY",
    )
    gateway_token: str | None = _setting(
        None, str, "token the gateway asks for", "LOOKOUT_GATEWAY_TOKEN"
    )
    pull_port: int | None = _setting(
        None,
        _port,
        "serve SOFALookout's pull protocol on this port (its own is 19399); nothing: no server",
        "LOOKOUT_PULL_PORT",
    )
    pull_host: str = _setting(
        "127.0.0.1", str, "address the pull server listens on", "LOOKOUT_PULL_HOST"
    )
    pull_token: str | None = _setting(
        None, str, "token a puller must send as X-Lookout-Token", "LOOKOUT_PULL_TOKEN"
    )
    importers: tuple[str, ...] = _setting(
        ("python", "process", "ledger"),
        _words,
        "what to measure by itself: python, process, system, logging, ledger, or a plug-in's "
        "name; none",
        "LOOKOUT_IMPORTERS",
    )
    importer_names: str = _setting(
        "opentelemetry",
        _one_of("opentelemetry", "sofalookout"),
        "names of the metrics of importers: opentelemetry or sofalookout",
        "LOOKOUT_IMPORTER_NAMES",
    )
    metrics_idle_s: float = _setting(
        3_600.0,
        _at_least(1, float),
        "seconds after which an idle series gives way where a limit comes near",
        "LOOKOUT_METRICS_IDLE",
    )
    max_series: int = _setting(
        20_000, _at_least(1, int), "series of all metrics together", "LOOKOUT_MAX_SERIES"
    )
    max_series_per_metric: int = _setting(
        2_000, _at_least(1, int), "series of one metric", "LOOKOUT_MAX_SERIES_PER_METRIC"
    )

    @classmethod
    def variables(cls) -> frozenset[str]:
        """The environment variables they are read from."""
        read = [variable for row in fields(cls) for variable in row.metadata["env"]]
        return frozenset(name if isinstance(name, str) else name[0] for name in read)

    @classmethod
    def names(cls) -> frozenset[str]:
        """The settings' names."""
        return frozenset(row.name for row in fields(cls))


#: Variables with the one value that has an effect here, and why others have none.
_FIXED = {
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": (
        "cumulative",
        "the collector, like Prometheus, takes cumulative values alone",
    ),
}


def load(
    arguments: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> MetricsConfig:
    """Argument > ``LOOKOUT_*`` > ``OTEL_*`` > default; what cannot be read is logged and passed."""
    environment = os.environ if environment is None else environment
    found: dict[str, Any] = {}
    for row in fields(MetricsConfig):
        for source, value, read in _candidates(row, arguments or {}, environment):
            try:
                found[row.name] = read(value)
                break
            except ValueError as problem:
                _log.warning("%s=%r ignored: %s", source, value, problem)
    for name, (taken, reason) in _FIXED.items():
        value = environment.get(name, "").strip().lower()
        if value not in ("", taken):
            _log.warning("%s=%r has no effect: %s", name, value, reason)
    return MetricsConfig(**found)


def _candidates(
    row: Any, arguments: Mapping[str, Any], environment: Mapping[str, str]
) -> list[tuple[str, Any, Callable[[Any], Any]]]:
    read = row.metadata["read"]
    found = []
    if arguments.get(row.name) is not None:
        found.append((f"argument {row.name}", arguments[row.name], read))
    for variable in row.metadata["env"]:
        name, reader = variable if isinstance(variable, tuple) else (variable, read)
        value = environment.get(name, "").strip()
        if value:
            found.append((name, value, reader))
    return found
