"""The one variable that says which span is current.

There is a single ContextVar, shared with OpenTelemetry: the one its default runtime context
already uses. It holds one of two things:

* an OpenTelemetry ``Context`` (a mapping), put there by ``opentelemetry.context.attach``;
* one of our spans, put there by ``with span:``. No mapping is built for it; when OpenTelemetry
  code asks for the current context, :class:`SpanAwareRuntimeContext` makes one on the spot.

So ``opentelemetry.trace.get_current_span()`` sees our spans, we see its spans, values attached
through OpenTelemetry stay visible inside our spans, and activating a span costs one ``set``.
"""

from __future__ import annotations

import os
from contextvars import Context as ContextSnapshot
from contextvars import ContextVar, Token
from typing import Any, Protocol, cast

import opentelemetry.context as otel_context
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext


class Activatable(Protocol):
    """What may be current besides an OpenTelemetry context."""

    def _otel_context(self) -> Context: ...


class SpanAwareRuntimeContext(_RuntimeContext):
    """OpenTelemetry's runtime context over a variable that may also hold a span itself."""

    def __init__(self, variable: ContextVar[Any] | None = None) -> None:
        self._current_context: ContextVar[Any] = variable or VARIABLE

    def attach(self, context: Context) -> Token[Context]:
        """Make ``context`` current."""
        return cast("Token[Context]", self._current_context.set(context))

    def get_current(self) -> Context:
        """The current context, with our current span in it."""
        value = self._current_context.get()
        if isinstance(value, Context):
            return value
        return cast("Activatable", value)._otel_context()

    def detach(self, token: Token[Context]) -> None:
        """Undo an attach. A token from another task is ignored: there is nothing to undo here."""
        try:
            self._current_context.reset(cast("Token[Any]", token))
        except (ValueError, RuntimeError):
            # The generator or task that attached was closed from another context (its own one
            # is gone, open-telemetry/opentelemetry-python#2606), or the token was used before.
            return


def _adopt_variable() -> ContextVar[Any]:
    runtime = otel_context._RUNTIME_CONTEXT
    variable = getattr(runtime, "_current_context", None)
    if isinstance(variable, ContextVar):
        return variable
    return ContextVar("current_context", default=Context())  # noqa: B039  (a Context cannot be changed)


#: The variable itself. Everything below and in :mod:`tracer.span` goes through these names.
VARIABLE: ContextVar[Any] = _adopt_variable()
get = VARIABLE.get
set = VARIABLE.set  # the module is read as ``current.set(...)``

#: What the variable holds where nothing was ever activated. Compared by identity.
EMPTY: Any = ContextSnapshot().run(VARIABLE.get)


def install() -> bool:
    """Let OpenTelemetry see our current span. True unless another runtime context was chosen."""
    runtime = otel_context._RUNTIME_CONTEXT
    if isinstance(runtime, SpanAwareRuntimeContext):
        return True
    if type(runtime) is not ContextVarsRuntimeContext or os.environ.get("OTEL_PYTHON_CONTEXT"):
        return False  # somebody asked for another one by name: leave it in place
    otel_context._RUNTIME_CONTEXT = SpanAwareRuntimeContext(VARIABLE)
    return True


install()
