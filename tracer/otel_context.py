"""Our current span as part of an OpenTelemetry context, and the other way round.

Imported only when OpenTelemetry code asks, because ``opentelemetry.trace`` is the larger part of
the API's import time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.baggage import _BAGGAGE_KEY as BAGGAGE_KEY
from opentelemetry.context.context import Context
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace.propagation import _SPAN_KEY as SPAN_KEY

from . import current
from .span import Span

# ``opentelemetry.trace.get_current_span`` returns only what is an instance of its own Span.
OtelSpan.register(Span)

# What starts spans looks for these itself, without a call to this module.
current.SPAN_KEY, current.BAGGAGE_KEY = SPAN_KEY, BAGGAGE_KEY


def with_span(span: Span, base: Mapping[str, object] | None) -> Context:
    """``base`` with ``span`` as its current span and the span's baggage among its baggage."""
    values: dict[str, object] = dict(base or {})
    values[SPAN_KEY] = span
    baggage = span.baggage
    if baggage is not None and baggage.biz:
        theirs = values.get(BAGGAGE_KEY)
        values[BAGGAGE_KEY] = {**baggage.biz, **(theirs if isinstance(theirs, Mapping) else {})}
    return Context(values)


def without_span(context: Mapping[str, object]) -> Context:
    """``context`` without its span, so that a span keeping it does not keep its ancestors."""
    if SPAN_KEY not in context:
        return context if isinstance(context, Context) else Context(context)
    if len(context) == 1:
        return current.EMPTY  # type: ignore[no-any-return]
    return Context({key: value for key, value in context.items() if key != SPAN_KEY})


def span_in(context: Mapping[str, object]) -> Any:
    """The span an OpenTelemetry context holds, of whatever provider; None without one."""
    return context.get(SPAN_KEY)


def baggage_in(context: Mapping[str, object]) -> Mapping[str, str]:
    """The baggage set through OpenTelemetry's baggage API, as text."""
    found = context.get(BAGGAGE_KEY)
    if not isinstance(found, Mapping):
        return {}
    return {str(key): str(value) for key, value in found.items()}
