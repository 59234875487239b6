"""Our propagators as OpenTelemetry's: what its ``inject`` and ``extract`` call.

:class:`LookoutPropagator` is the process's own set of formats, as ``init`` configured it; the
others are single formats, for ``OTEL_PROPAGATORS=b3,sofa``, also under OpenTelemetry's SDK.
"""

from __future__ import annotations

from typing import Any, ClassVar

from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import (
    DefaultGetter,
    DefaultSetter,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from . import context as our_context
from .otel_context import with_span
from .passive import RemoteSpan
from .propagation import carriers
from .propagation.composite import BY_NAME, Composite, composite, get_global
from .propagation.source import Source
from .span import Span
from .tracer import resolve_otel_context

_STANDARD = {TraceContextTextMapPropagator, W3CBaggagePropagator}


class LookoutPropagator(TextMapPropagator):
    """Reads and writes the formats that were configured with ``init``."""

    #: Names of single formats; empty for those of the process.
    names: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._own = composite(self.names, self.names) if self.names else None

    @property
    def fields(self) -> set[str]:
        return set(self._composite().fields)

    def extract(
        self,
        carrier: Any,
        context: Context | None = None,
        getter: Getter[Any] = default_getter,
    ) -> Context:
        """``context``, the current one by default, with what arrived in ``carrier`` as its span."""
        base = get_current() if context is None else context
        found = self._composite().extract(_read(carrier, getter))
        if found is None:
            return base
        return with_span(RemoteSpan(found), base)

    def inject(
        self,
        carrier: Any,
        context: Context | None = None,
        setter: Setter[Any] = default_setter,
    ) -> None:
        """Write the span and the baggage of ``context``, the current one by default."""
        source = our_context.injectable() if context is None else _source(context)
        if source is None:
            return
        put = None if type(setter) is DefaultSetter else setter.set
        self._composite().inject(carrier, source, put)

    def _composite(self) -> Composite:
        return self._own or get_global()


class TraceContextPropagator(LookoutPropagator):
    """W3C traceparent and tracestate."""

    names = ("tracecontext",)


class B3Propagator(LookoutPropagator):
    """B3 in one header."""

    names = ("b3",)


class B3MultiPropagator(LookoutPropagator):
    """B3 in a header for each part."""

    names = ("b3multi",)


class JaegerPropagator(LookoutPropagator):
    """``uber-trace-id``, with Jaeger's baggage."""

    names = ("jaeger",)


class SofaPropagator(LookoutPropagator):
    """SOFATracer's ``SOFA-TraceId`` and ``SOFA-RpcId``."""

    names = ("sofa",)


def adopt() -> bool:
    """Make :class:`LookoutPropagator` the global one, if the global one is still the standard.

    A propagator that somebody chose stays; False then.
    """
    chosen = propagate.get_global_textmap()
    if isinstance(chosen, LookoutPropagator):
        return True
    if type(chosen) is not CompositePropagator:
        return False
    if not all(_is_known(part) for part in chosen._propagators):
        return False
    propagate.set_global_textmap(LookoutPropagator())
    return True


def _is_known(part: TextMapPropagator) -> bool:
    return type(part) in _STANDARD or isinstance(part, LookoutPropagator)


def _read(carrier: Any, getter: Getter[Any]) -> Any:
    """The headers of ``carrier``, as far as its getter lets one see them."""
    if type(getter) is DefaultGetter:
        return carrier
    # Getters that wrap a header list search all of it for each name: ask only for what is read.
    names = [name for name in getter.keys(carrier) if carriers.concerns_tracing(name)]
    return {name: value for name in names or _FIELDS if (value := getter.get(carrier, name))}


#: For carriers that cannot be listed: everything a format may be written as.
_FIELDS = tuple(
    dict.fromkeys(field for propagator in BY_NAME.values() for field in propagator().fields)
)


def _source(context: Context) -> Source | None:
    parent, carried = resolve_otel_context(context)
    if isinstance(parent, Span) and carried is not None:
        return parent.context.with_baggage(carried.baggage)
    return parent
