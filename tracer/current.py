"""The one variable that says which span is current.

There is a single ContextVar, shared with OpenTelemetry: the one its default runtime context
already uses. It holds one of two things:

* an OpenTelemetry ``Context`` (a mapping), put there by ``opentelemetry.context.attach``;
* one of our spans, put there by ``with span:``. No mapping is built for it; when OpenTelemetry
  code asks for the current context, :class:`SpanAwareRuntimeContext` makes one on the spot.

So ``opentelemetry.trace.get_current_span()`` sees our spans, we see its spans, values attached
through OpenTelemetry stay visible inside our spans, and activating a span costs one ``set``.

A second variable keeps what OpenTelemetry's contexts hold besides a span, baggage for one. It is
set only where something is attached, so that a span needs not know what was current before it.
"""

from __future__ import annotations

from contextvars import Context as ContextSnapshot
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, Protocol, cast

import opentelemetry.context as otel_context
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext


class Activatable(Protocol):
    """What may be current besides an OpenTelemetry context."""

    def _otel_context(self) -> Context: ...


class Attached(NamedTuple):
    """What undoes an attach that changed more than the current span."""

    current: Token[Any]
    values: Token[Any]


class SpanAwareRuntimeContext(_RuntimeContext):
    """OpenTelemetry's runtime context over a variable that may also hold a span itself."""

    def __init__(self, variable: ContextVar[Any] | None = None) -> None:
        self._current_context: ContextVar[Any] = variable or VARIABLE

    def attach(self, context: Context) -> Token[Context]:
        """Make ``context`` current."""
        token = self._current_context.set(context)
        values = values_of(context)
        if values is VALUES.get():
            return cast("Token[Context]", token)
        return cast("Token[Context]", Attached(token, VALUES.set(values)))

    def get_current(self) -> Context:
        """The current context, with our current span in it."""
        value = self._current_context.get()
        if isinstance(value, Context):
            return value
        return cast("Activatable", value)._otel_context()

    def detach(self, token: Token[Context] | Attached) -> None:
        """Undo an attach. A token from another task is ignored: there is nothing to undo here."""
        try:
            if isinstance(token, Attached):
                self._current_context.reset(token.current)
                VALUES.reset(token.values)
            else:
                self._current_context.reset(token)
                if VALUES.get() is not EMPTY and isinstance(get(), Context):
                    adopt()
        except (ValueError, RuntimeError):
            # The generator or task that attached was closed from another context (its own one
            # is gone, open-telemetry/opentelemetry-python#2606), or the token was used before.
            return


def _is_shared() -> bool:
    """Whether OpenTelemetry uses the runtime context we know how to extend.

    Another one is left in place, and then the variable is ours alone: a runtime context that does
    not expect a span there must never find one.
    """
    runtime = otel_context._RUNTIME_CONTEXT
    return type(runtime) in (ContextVarsRuntimeContext, SpanAwareRuntimeContext) and isinstance(
        getattr(runtime, "_current_context", None), ContextVar
    )


def _variable() -> ContextVar[Any]:
    if _is_shared():
        return cast("Any", otel_context._RUNTIME_CONTEXT)._current_context  # type: ignore[no-any-return]
    return ContextVar("lookout_current", default=Context())  # noqa: B039  (it cannot be changed)


#: The variable itself. Everything below and in :mod:`tracer.span` goes through these names.
VARIABLE: ContextVar[Any] = _variable()
get = VARIABLE.get
set = VARIABLE.set  # the module is read as ``current.set(...)``
reset = VARIABLE.reset

#: What the variable holds where nothing was ever activated. Compared by identity.
EMPTY: Any = ContextSnapshot().run(VARIABLE.get)


#: The context whose values hold here, attached through OpenTelemetry. A span in it does not count.
VALUES: ContextVar[Any] = ContextVar("lookout_values", default=EMPTY)


def values_of(context: Context) -> Any:
    """What :data:`VALUES` is to be where ``context`` is attached."""
    # Nothing is imported here: it may be called while another thread imports what is needed.
    if not context or (len(context) == 1 and SPAN_KEY in context):
        return EMPTY  # what OpenTelemetry's ``use_span`` attaches, mostly
    return context


def adopt() -> None:
    """Take over what was attached before there was anybody here to hear of it."""
    context = get()
    values = values_of(context) if isinstance(context, Context) else EMPTY
    # Each variable that is set makes setting the others dearer.
    if values is not VALUES.get():
        VALUES.set(values)


def before(token: Token[Any]) -> Any:
    """What was current before the :func:`set` that gave ``token``."""
    old = token.old_value
    return EMPTY if old is Token.MISSING else old


#: Where an OpenTelemetry context keeps its span and its baggage. Set by :mod:`tracer.otel_context`
#: when that is imported; None before.
SPAN_KEY: str | None = None
BAGGAGE_KEY: str | None = None


#: Whether OpenTelemetry sees our current span and we see its.
SHARED = _is_shared()

if SHARED:
    otel_context._RUNTIME_CONTEXT = SpanAwareRuntimeContext(VARIABLE)
