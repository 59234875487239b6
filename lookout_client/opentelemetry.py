"""OpenTelemetry's metrics API, answered by our meters. Needs opentelemetry-api only.

What instrumentations record through ``opentelemetry.metrics`` lands in the process's registry:
it is scraped, pushed and limited like everything else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from opentelemetry import metrics as api

from . import instruments, observable
from .default import REGISTRY
from .family import Definition
from .meters import Counter, Gauge, Histogram, NativeHistogram, UpDownCounter
from .metric import Kind
from .registry import Registry
from .shadowing import intruder
from .views import View, view_of

I = TypeVar("I")  # noqa: E741 - an instrument

_log = logging.getLogger("lookout.meters")

#: https://opentelemetry.io/docs/specs/otel/metrics/sdk/#explicit-bucket-histogram-aggregation
DEFAULT_BOUNDARIES = (
    0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000,
)  # fmt: skip

#: https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/
_AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
_AGGREGATIONS = {"explicit_bucket_histogram": False, "base2_exponential_bucket_histogram": True}


class MeterProvider(api.MeterProvider):
    """Provides meters whose instruments record into ``registry``, the process's by default."""

    def __init__(self, registry: Registry | None = None, views: Sequence[View] = ()) -> None:
        self.registry = registry if registry is not None else REGISTRY
        self.views = tuple(views)
        self.native = _native_by_default()
        self._meters: dict[tuple[str, str], Meter] = {}

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> Meter:
        """The meter of an instrumentation."""
        key = (str(name), str(version or ""))
        known = self._meters.get(key)
        if known is None:
            known = self._meters.setdefault(key, Meter(self, *key, schema_url))
        return known

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Push the current metrics."""
        from .client import flush

        return flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """Push a last time. The registry stays as it is."""
        self.force_flush(timeout_millis)


class Meter(api.Meter):
    """Creates instruments. Asked for the same one twice it answers the first."""

    def __init__(
        self, provider: MeterProvider, name: str, version: str, schema_url: str | None
    ) -> None:
        super().__init__(name, version, schema_url)
        self._provider = provider
        self._instruments: dict[tuple[str, type], Any] = {}

    def create_counter(self, name: str, unit: str = "", description: str = "") -> api.Counter:
        return self._synchronous(instruments.Counter, Counter, name, unit, description)

    def create_up_down_counter(
        self, name: str, unit: str = "", description: str = ""
    ) -> api.UpDownCounter:
        return self._synchronous(instruments.UpDownCounter, UpDownCounter, name, unit, description)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> api._Gauge:
        return self._synchronous(instruments.Gauge, Gauge, name, unit, description)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> api.Histogram:
        view = view_of(self._provider.views, name)
        native = self._provider.native if view is None or view.native is None else view.native
        if native:
            return self._synchronous(
                instruments.Histogram, NativeHistogram, name, unit, description
            )
        boundaries = view.boundaries if view and view.boundaries is not None else None
        if boundaries is None:
            boundaries = explicit_bucket_boundaries_advisory
        return self._synchronous(
            instruments.Histogram,
            Histogram,
            name,
            unit,
            description,
            buckets=DEFAULT_BOUNDARIES if boundaries is None else boundaries,
        )

    def create_observable_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> api.ObservableCounter:
        return self._asynchronous(
            observable.ObservableCounter, Kind.COUNTER, name, callbacks, unit, description
        )

    def create_observable_up_down_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> api.ObservableUpDownCounter:
        return self._asynchronous(
            observable.ObservableUpDownCounter,
            Kind.UP_DOWN_COUNTER,
            name,
            callbacks,
            unit,
            description,
        )

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> api.ObservableGauge:
        return self._asynchronous(
            observable.ObservableGauge, Kind.GAUGE, name, callbacks, unit, description
        )

    def _synchronous(
        self,
        instrument: Callable[..., I],
        meter_type: type[Any],
        name: str,
        unit: str,
        description: str,
        **options: Any,
    ) -> I:
        known = self._instruments.get((name, meter_type))
        if known is not None:
            return cast("I", known)
        view = view_of(self._provider.views, name) or View(name)
        if view.drop:
            return cast(
                "I", self._instruments.setdefault((name, meter_type), _noop(meter_type, name))
            )
        base = self._provider.registry.meter(
            meter_type,
            view.name or name,
            unit=unit or "",
            description=view.description or description or "",
            strict=False,
            **options,
        )
        base.family.quiet = True
        if view.limit is not None:
            base.family.limit = view.limit
        made = instrument(name, base, view.attribute_keys)
        return cast("I", self._instruments.setdefault((name, meter_type), made))

    def _asynchronous(
        self,
        instrument: Callable[..., I],
        kind: Kind,
        name: str,
        callbacks: Any,
        unit: str,
        description: str,
    ) -> I:
        view = view_of(self._provider.views, name) or View(name)
        registry = self._provider.registry
        definition = Definition(
            view.name or name,
            kind,
            unit or "",
            "counter" if kind is Kind.COUNTER else "gauge",
            view.description or description or "",
        )
        limit = registry.max_series_per_metric if view.limit is None else view.limit
        observer = observable.Observer(
            definition, callbacks, registry.clock_ns, limit, view.attribute_keys
        )
        if not view.drop:
            registry.add_source(observer)
        return instrument(observer)


def _native_by_default() -> bool:
    word = os.environ.get(_AGGREGATION, "").strip().lower()
    if word and word not in _AGGREGATIONS:
        _log.warning(
            "%s=%r ignored: expected one of %s",
            _AGGREGATION,
            word,
            ", ".join(_AGGREGATIONS),
        )
    return _AGGREGATIONS.get(word, False)


def _noop(meter_type: type[Any], name: str) -> Any:
    made: dict[type[Any], Callable[[str], Any]] = {
        Counter: api.NoOpCounter,
        UpDownCounter: api.NoOpUpDownCounter,
        Gauge: api._NoOpGauge,
    }
    return made.get(meter_type, api.NoOpHistogram)(name)


def load_meter_provider() -> api.MeterProvider:
    """The entry point ``OTEL_PYTHON_METER_PROVIDER=lookout``: starts the SDK and provides.

    It never raises: an application whose own ``tracer.py`` or ``exporters`` hides ours gets
    meters that are not pushed, and one log line that names the intruder.
    """
    try:
        from .client import ensure_started

        ensure_started()
    except Exception as error:
        _log.warning("metrics are kept but not sent: %s", intruder() or repr(error))
    return MeterProvider()
