"""Keeps the library from tracing itself.

Instrumented HTTP and database clients look at OpenTelemetry's suppression keys in the current
context; our threads set them, so that sending spans makes no spans.
"""

from __future__ import annotations

from opentelemetry import context

# Both spellings are in use: the API's own keys, and the plain strings of older instrumentations.
_KEYS = (
    context._SUPPRESS_INSTRUMENTATION_KEY,
    "suppress_instrumentation",
    "suppress_http_instrumentation",
)


def suppress_instrumentation() -> None:
    """Mark the current thread's context, for good. For threads that belong to the library."""
    current = context.get_current()
    for key in _KEYS:
        current = context.set_value(key, True, current)
    context.attach(current)


def instrumentation_suppressed() -> bool:
    """Whether the calling code runs on behalf of an exporter."""
    return any(context.get_value(key) for key in _KEYS)
