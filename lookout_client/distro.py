"""``opentelemetry-instrument`` with Lookout. Needs opentelemetry-instrumentation.

    OTEL_PYTHON_DISTRO=lookout OTEL_PYTHON_CONFIGURATOR=lookout opentelemetry-instrument flask run

The distro says who provides; the configurator starts it before the application is loaded.
"""

from __future__ import annotations

import os
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.environment_variables import (
    OTEL_PYTHON_METER_PROVIDER,
    OTEL_PYTHON_TRACER_PROVIDER,
)
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # untyped

from .entry_points import load_tracer_provider
from .opentelemetry import load_meter_provider


class LookoutDistro(BaseDistro):  # type: ignore[misc]
    """Names Lookout as the provider of spans and metrics where nothing else is named."""

    def _configure(self, **kwargs: Any) -> None:
        os.environ.setdefault(OTEL_PYTHON_TRACER_PROVIDER, "lookout")
        os.environ.setdefault(OTEL_PYTHON_METER_PROVIDER, "lookout")
        # uvicorn ends itself by the signal once it has shut down, so that nothing registered to
        # run at exit runs, and nobody is there to put our middleware around the application.
        os.environ.setdefault("LOOKOUT_FLUSH_ON_SIGTERM", "true")


class LookoutConfigurator:
    """Starts the providers. Does nothing about one that is there already."""

    def configure(self, **kwargs: Any) -> None:
        """Called by ``opentelemetry-instrument``; ``kwargs`` tell the version of its package."""
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(load_tracer_provider())
        if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
            metrics.set_meter_provider(load_meter_provider())
