"""Keeps the library from tracing itself.

Instrumented HTTP and database clients look at OpenTelemetry's suppression keys in the current
context; our threads set them, so that sending spans makes no spans.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from opentelemetry import context

# Both spellings are in use: the API's own keys, and the plain strings of older instrumentations.
_KEYS = (
    context._SUPPRESS_INSTRUMENTATION_KEY,
    "suppress_instrumentation",
    "suppress_http_instrumentation",
)


def suppress_instrumentation() -> None:
    """Mark the current thread's context, for good. For threads that belong to the library."""
    context.attach(_marked())


@contextlib.contextmanager
def suppressed() -> Iterator[None]:
    """Mark the current context while the block runs. For work done on the user's thread."""
    token = context.attach(_marked())
    try:
        yield
    finally:
        context.detach(token)


def _marked() -> context.Context:
    current = context.get_current()
    for key in _KEYS:
        current = context.set_value(key, True, current)
    return current


def instrumentation_suppressed() -> bool:
    """Whether the calling code runs on behalf of an exporter."""
    return any(context.get_value(key) for key in _KEYS)
