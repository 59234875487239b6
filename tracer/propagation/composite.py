"""Several formats at once: an order for reading, a set for writing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import context as current_context
from ..baggage import Baggage
from ..current import get as _get
from ..recorded import RecordedSpan
from ..span import Left
from ..span_context import SpanContext
from . import carriers
from .b3 import B3Multi, B3Single
from .jaeger import Jaeger
from .sofa import Sofa, SofaB3, SofaText
from .source import Propagator, Put, Source
from .w3c import TraceContext, W3CBaggage


class Composite:
    """Reads with each of ``readers`` until one finds ids; writes with all of ``writers``.

    A decision without ids counts only where no reader finds ids. Items of a ``baggage`` header
    are added to those of the format that was found, whose own items win.
    """

    def __init__(self, readers: Iterable[Propagator], writers: Iterable[Propagator]) -> None:
        self.readers = tuple(readers)
        self.writers = tuple(writers)
        of_items = [reader for reader in self.readers if type(reader) is W3CBaggage]
        self._read_items = tuple(reader.read for reader in of_items)
        self._read = tuple(reader.read for reader in self.readers if reader not in of_items)
        self._write = tuple(writer.write for writer in self.writers)
        #: For a span that carries nothing but its identity, as most spans do.
        self.write_identity = tuple(
            writer.write_identity for writer in self.writers if type(writer) is not W3CBaggage
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the headers that may be written."""
        return tuple(dict.fromkeys(name for writer in self.writers for name in writer.fields))

    def extract(self, carrier: Any) -> SpanContext | None:
        """The context that arrived in ``carrier``; None where there is none. Never raises."""
        headers = carriers.headers(carrier)
        found: SpanContext | None = None
        for read in self._read:
            context = read(headers)
            if context is None:
                continue
            if context.trace_id:
                found = context
                break
            found = found or context
        if "baggage" in headers:
            for read in self._read_items:
                items = read(headers)
                if items is not None:
                    merged = _merged(found.baggage if found else None, items.baggage)
                    found = (found or items).with_baggage(merged)
        return found

    def inject(self, carrier: Any, source: Source, put: Put | None = None) -> None:
        """Write ``source`` into ``carrier``. Never raises."""
        try:
            if type(carrier) is dict and put is None:
                plain = type(source) is RecordedSpan and source._carried is None
                for write in self.write_identity if plain else self._write:
                    carrier |= write(source)  # in place, and faster than its method
                return
            put = put or carriers.setter_for(carrier)
            for write in self._write:
                for name, value in write(source).items():
                    put(carrier, name, value)
        except Exception:  # a carrier that cannot be written to
            return


def _merged(first: Baggage | None, second: Baggage | None) -> Baggage | None:
    if first is None or second is None:
        return first or second
    return Baggage(
        {**second.biz, **first.biz},
        {**second.sys, **first.sys},
        {**second.properties, **first.properties},
    )


#: Propagators by the names of OTEL_PROPAGATORS and LOOKOUT_PROPAGATORS.
BY_NAME: dict[str, type[Propagator]] = {
    "tracecontext": TraceContext,
    "baggage": W3CBaggage,
    "b3": B3Single,
    "b3multi": B3Multi,
    "jaeger": Jaeger,
    "sofa": Sofa,
    "sofab3": SofaB3,
    "sofatext": SofaText,
}


def composite(read: Iterable[str], write: Iterable[str]) -> Composite:
    """A Composite of named propagators. KeyError names one that does not exist."""
    return Composite([BY_NAME[name]() for name in read], [BY_NAME[name]() for name in write])


#: The propagator of the process, set by ``init``.
_global = composite(["tracecontext", "b3", "baggage"], ["tracecontext", "baggage"])


def set_global(propagator: Composite) -> None:
    """Use ``propagator`` in :func:`inject` and :func:`extract` from now on."""
    global _global  # the one rebinding: a module's name is read fastest
    _global = propagator


def get_global() -> Composite:
    """The propagator of the process."""
    return _global


def extract(carrier: Any) -> SpanContext | None:
    """The context that arrived in ``carrier``, None where there is none.

    ``carrier`` is a mapping of header names to text or bytes (or lists of them), or an iterable of
    ``(name, value)`` pairs. Names are compared without regard to case. Never raises.
    """
    return _global.extract(carrier)


def inject(carrier: Any, context: Source | None = None, put: Put | None = None) -> None:
    """Write the current span, or ``context``, into ``carrier``. Never raises.

    ``carrier`` is a mutable mapping or a list of pairs; ``put(carrier, name, value)`` says how to
    write into anything else.
    """
    source: Source | None = context
    if context is None:
        source = _get()
        if type(source) is not RecordedSpan or type(source._prev) is Left:
            source = current_context.injectable()
        elif source._carried is None and type(carrier) is dict and put is None:
            # Nearly every outgoing call: what Composite.inject does, without its call.
            for write in _global.write_identity:
                carrier |= write(source)
            return
    if source is not None:
        _global.inject(carrier, source, put)
