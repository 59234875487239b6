"""What OpenTelemetry's entry points load. Nothing here ever raises into the application."""

from __future__ import annotations

import importlib
import logging

from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from .shadowing import intruder

_log = logging.getLogger("lookout")


def load_tracer_provider() -> TracerProvider:
    """``OTEL_PYTHON_TRACER_PROVIDER=lookout``: starts the SDK from the environment and provides.

    Where the SDK cannot start the application gets spans that record nothing, and one log line.
    """
    hidden = intruder()
    if not hidden:
        try:
            from tracer import opentelemetry, otel_propagation

            from .client import ensure_started

            ensure_started()
            otel_propagation.adopt()
            return opentelemetry.TracerProvider()
        except Exception as error:
            hidden = repr(error)
    _log.warning("no spans are recorded: %s", hidden)
    return NoOpTracerProvider()


def lookout_propagator() -> TextMapPropagator:
    """The formats that ``init`` was told to use."""
    return _propagator("LookoutPropagator")


def b3_propagator() -> TextMapPropagator:
    """B3 in one header."""
    return _propagator("B3Propagator")


def b3multi_propagator() -> TextMapPropagator:
    """B3 in several headers."""
    return _propagator("B3MultiPropagator")


def jaeger_propagator() -> TextMapPropagator:
    """Jaeger's ``uber-trace-id``."""
    return _propagator("JaegerPropagator")


def sofa_propagator() -> TextMapPropagator:
    """SOFATracer's headers."""
    return _propagator("SofaPropagator")


def _propagator(name: str) -> TextMapPropagator:
    hidden = intruder()
    if not hidden:
        try:
            module = importlib.import_module("tracer.otel_propagation")
            made: TextMapPropagator = getattr(module, name)()
            return made
        except Exception as error:
            hidden = repr(error)
    _log.warning("%s does nothing: %s", name, hidden)
    return CompositePropagator([])
