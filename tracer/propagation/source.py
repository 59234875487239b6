"""What a propagator writes from and what every propagator is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..baggage import Baggage
from ..span_context import SpanContext
from .carriers import Headers

Put = Callable[[Any, str, str], None]  # (carrier, header name, value)


class Source(Protocol):
    """A Span or a SpanContext."""

    @property
    def trace_id(self) -> int: ...
    @property
    def span_id(self) -> int: ...
    @property
    def parent_id(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def tracestate(self) -> str: ...
    @property
    def baggage(self) -> Baggage | None: ...
    @property
    def rpc_id(self) -> str: ...
    @property
    def sofa_trace_id(self) -> str: ...


class Propagator(Protocol):
    """Reads and writes one format."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the headers it may write."""
        ...

    def read(self, headers: Headers) -> SpanContext | None:
        """The context found; None where there is none or it is malformed. Never raises."""
        ...

    def write(self, source: Source) -> Mapping[str, str]:
        """The headers that say what ``source`` is."""
        ...

    def write_identity(self, source: Source) -> Mapping[str, str]:
        """The same of a span that carries neither tracestate nor baggage, as most spans."""
        ...
