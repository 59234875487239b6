"""Spans that record nothing: unsampled ones, stand-ins for a remote parent, and the span of an SDK
that is off."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from exporters.records import Resource

from .core import PassiveSlots, SpanSlots, provide
from .forks import renew_after_fork
from .identity import MASK_64
from .kinds import SpanKind
from .span import Left, Span
from .span_context import RANDOM, Carried, SpanContext

if TYPE_CHECKING:
    from .tracer import Tracer


class _IdLock:
    """Two threads that ask an unsampled trace for its id at once must get the same one. Taken
    only where such an id is wanted, which is once per outgoing call."""

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        self.lock = threading.Lock()


_ids = _IdLock()


class PassiveSpan(PassiveSlots, Span):
    """A span that only carries identity and baggage: it inherits, propagates and is thrown away.

    What an unsampled span costs is its allocation: what it cannot have is said by the class, and
    ids are made when somebody asks. ``_root`` is the passive span its trace began with here, never
    a nearer ancestor, so that a chain of tasks does not keep a chain of spans.

    Most carry nothing; they are of the two classes below, which say so in place of their slots.
    """

    __slots__ = ()

    _root: PassiveSpan | None
    _known_trace_id: int  # unset until somebody asks
    _known_span_id: int

    flags = 0
    kind = SpanKind.INTERNAL
    parent_id = 0
    start_ns = 0
    duration_ns = 0
    rpc_id = "0"

    @property
    def trace_id(self) -> int:  # type: ignore[override]
        try:
            return self._known_trace_id
        except AttributeError:
            return self._make_trace_id()

    @property
    def span_id(self) -> int:
        try:
            return self._known_span_id
        except AttributeError:
            return self._make_span_id()

    def _make_trace_id(self) -> int:
        root = self._root
        with _ids.lock:
            origin = root or self
            if not hasattr(origin, "_known_trace_id"):
                origin._known_trace_id = self._tracer.pipeline.unsampled_trace_id()
            self._known_trace_id = origin._known_trace_id
        return self._known_trace_id

    def _make_span_id(self) -> int:
        if self._root is None:
            self._known_span_id = self.trace_id & MASK_64 or 1
        else:
            with _ids.lock:
                if not hasattr(self, "_known_span_id"):
                    self._known_span_id = self._tracer.pipeline.ids.generate_span_id()
        return self._known_span_id

    @property
    def context(self) -> SpanContext:
        carried = self._carried or Carried()
        return SpanContext(
            self.trace_id,
            self.span_id,
            sampled=False,
            tracestate=carried.tracestate,
            baggage=carried.baggage,
            random=bool(self._tracer.pipeline.root_flags & RANDOM),
            rpc_id=self.rpc_id,
            sofa_trace_id=carried.sofa_trace_id,
        )

    def set_baggage_item(self, key: str, value: str) -> Span:
        """Give ``value`` along to children and to called services. Beyond the limits it is not."""
        if isinstance(self, UnsampledRoot | UnsampledChild):
            self.become(PassiveSpan)
        return super().set_baggage_item(key, value)

    def become(self, cls: type[PassiveSpan]) -> None:
        """Be of another class, one in which all slots count."""
        # The slots first, which the class hides till then: another thread may look at any moment.
        _ROOT.__set__(self, self._root)
        _CARRIED.__set__(self, self._carried)
        self.__class__ = cls

    def _left_covered(self) -> None:
        # Recorded spans are closed then; this one has to look different to Tracer.start_span.
        super()._left_covered()
        if type(self._prev) is Left and type(self) in _STARTED:
            self.become(LeftSpan)


_ROOT: Any = vars(PassiveSlots)["_root"]
_CARRIED: Any = vars(SpanSlots)["_carried"]


class UnsampledRoot(PassiveSpan):
    """The first span here of a trace that is not kept."""

    __slots__ = ()

    _root = None
    _carried = None


class UnsampledChild(PassiveSpan):
    """One below it."""

    __slots__ = ()

    _carried = None


_STARTED = (UnsampledRoot, UnsampledChild, PassiveSpan)


class LeftSpan(PassiveSpan):
    """A passive span whose block was left while something was current upon it."""

    __slots__ = ()


class RemoteSpan(PassiveSpan):
    """Stands for a span of another process, so that a context that arrived can be current."""

    __slots__ = ("_context",)

    _context: SpanContext

    name = ""

    def __init__(self, context: SpanContext) -> None:
        self._context = context
        self._prev = None
        self._root = None
        self._carried = context.carried
        self._known_trace_id = context.trace_id
        self._known_span_id = context.span_id

    @property
    def flags(self) -> int:  # type: ignore[override]
        return self._context.flags

    @property
    def parent_id(self) -> int:  # type: ignore[override]
        return self._context.parent_id

    @property
    def context(self) -> SpanContext:
        return self._context

    @property
    def rpc_id(self) -> str:  # type: ignore[override]
        return self._context.rpc_id

    @property
    def sofa_trace_id(self) -> str:
        return self._context.sofa_trace_id

    @property
    def resource(self) -> Resource:
        return _NOBODY

    @property
    def scope(self) -> str:
        return ""


_NOBODY = Resource("")


class NoopSpan(RemoteSpan):
    """The one span of an SDK that is off. It is never current and keeps nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(SpanContext(0, 0, sampled=False))

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def set_baggage_item(self, key: str, value: str) -> Span:
        return self


NOOP = NoopSpan()

provide(UnsampledRoot=UnsampledRoot, UnsampledChild=UnsampledChild, NOOP=NOOP)


def unsampled(
    tracer: Tracer,
    name: str,
    root: PassiveSpan | None,
    carried: Carried | None,
) -> PassiveSpan:
    """A span of a trace that is not kept: the first one here, or one below ``root``."""
    tracer.pipeline.unsampled.value += 1
    span = PassiveSpan()
    span._tracer = tracer
    span.name = name
    span._prev = None
    span._root = root
    span._carried = carried
    return span
