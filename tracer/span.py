"""What every span is: an identity, what travels with it, and being current.

:class:`Span` records nothing. :class:`tracer.recorded.RecordedSpan` does, and
:class:`tracer.passive.PassiveSpan` makes its identity only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from exporters.records import DEBUG, SAMPLED, EventRecord, LinkRecord, Resource, TagValue

from . import current
from .core import SpanSlots, compiled, provide
from .identity import format_span_id, format_trace_id
from .kinds import SpanKind, StatusCode
from .readable import Readable
from .span_context import RANDOM, Carried, SpanContext
from .values import text

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext as OtelSpanContext

    from .baggage import Baggage
    from .tracer import Tracer

#: Bits a child inherits from its parent.
INHERITED = SAMPLED | DEBUG | RANDOM

_get = current.get
_set = current.set
_reset = current.reset
_UNSET = StatusCode.UNSET


class Instead:
    """In ``_prev``: knows what was current before, where there is no Token that does."""

    __slots__ = ("previous",)

    previous: Any


class Left(Instead):
    """In ``_prev``: the block was left while another span was current upon it."""

    __slots__ = ()

    def __init__(self, previous: Any) -> None:
        self.previous = previous


#: In ``_prev``: a ``use_span`` made it current before any block did, and was left. A task may still
#: find it current. While that is not left it stands there itself.
USED: Any = object()


class Span(SpanSlots, Readable):
    """Something that took time, from its start to the flusher.

    Made by :meth:`tracer.tracer.Tracer.start_span`, never directly. As a context manager it is
    current inside its block and finishes with it; without one it belongs to whoever holds it. No
    method raises, whatever is passed. It has every attribute of
    :class:`exporters.records.SpanRecord`, and the methods of OpenTelemetry's ``Span``.
    """

    __slots__ = ()

    trace_id: int
    parent_id: int
    flags: int
    name: str
    kind: SpanKind
    duration_ns: int
    _tracer: Tracer
    _carried: Carried | None
    _prev: Any  # inside the block its Token, None before and after it; or USED, or an Instead

    if TYPE_CHECKING:

        @property
        def span_id(self) -> int: ...
        @property
        def start_ns(self) -> int: ...
        @property
        def rpc_id(self) -> str: ...

    # -- what happened: nothing of it is recorded here -------------------------------------------

    def set_tag(self, key: str, value: object) -> Span:
        """Record ``value`` under ``key``; the last value wins. None records nothing."""
        return self

    def set_tags(self, tags: Mapping[str, object]) -> Span:
        """Record every item of ``tags``."""
        return self

    def add_event(
        self,
        name: str,
        attributes: Mapping[str, object] | None = None,
        time_ns: int | None = None,
        *,
        timestamp: int | None = None,
    ) -> None:
        """Note that something happened, now or at ``time_ns`` (Unix, nanoseconds).

        ``timestamp`` is OpenTelemetry's name for the same.
        """

    def add_link(self, context: object, attributes: Mapping[str, object] | None = None) -> None:
        """Point at a span elsewhere that is no parent: a Span or a SpanContext."""

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, object] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an ``exception`` event: type, message and a bounded stack, formatted later."""

    def set_status(self, code: object, description: str | None = None) -> None:
        """Say how it went: UNSET, OK or ERROR, in our, OpenTelemetry's or numeric form.

        By OpenTelemetry's rules OK is final, UNSET never overwrites, and ``description`` belongs
        to ERROR.
        """

    def set_name(self, name: str) -> Span:
        """Give the span another name."""
        return self

    def set_kind(self, kind: object) -> Span:
        """Say its role: a :class:`SpanKind`, OpenTelemetry's, a number or a name."""
        return self

    def is_recording(self) -> bool:
        """Whether anything said now will be recorded."""
        return False

    # OpenTelemetry's names for the same things; a class that records has its own.
    set_attribute = set_tag
    set_attributes = set_tags
    update_name = set_name

    @property
    def tags(self) -> Mapping[str, TagValue] | None:
        return None

    @property
    def events(self) -> Sequence[EventRecord] | None:
        return None

    @property
    def links(self) -> Sequence[LinkRecord] | None:
        return None

    @property
    def status(self) -> StatusCode:
        return _UNSET

    @property
    def status_text(self) -> str:
        return ""

    @property
    def end_ns(self) -> int:
        """When it finished (Unix, nanoseconds); meaningless before."""
        return self.start_ns + self.duration_ns

    @property
    def dropped_tags(self) -> int:
        """Tags, and attributes of events and links, that were beyond their limit."""
        return 0

    @property
    def dropped_events(self) -> int:
        return 0

    @property
    def dropped_links(self) -> int:
        return 0

    @property
    def cut_values(self) -> int:
        """Tag values that were shortened."""
        return 0

    # -- what travels with it ----------------------------------------------------------------------

    def set_baggage_item(self, key: str, value: str) -> Span:
        """Give ``value`` along to children and to called services. Beyond the limits it is not."""
        from .baggage import EMPTY

        carried = self._carried or Carried()
        baggage = (carried.baggage or EMPTY).with_item(text(key, 1_024), text(value, 8_192))
        self._carried = carried._replace(baggage=baggage)
        return self

    def get_baggage_item(self, key: str) -> str | None:
        """The value travelling under ``key``, the application's before the infrastructure's."""
        baggage = self._carried.baggage if self._carried else None
        if baggage is None:
            return None
        key = text(key, 1_024)
        return baggage.biz.get(key, baggage.sys.get(key))

    # -- its life ------------------------------------------------------------------------------

    def __enter__(self) -> Span:
        # Nothing is asked about what was current before: the token knows.
        if self._prev is None:
            self._prev = _set(self)
            return self
        return self._enter_again()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Only where it is still current: a generator closed from another task then changes
        # nothing there.
        if _get() is self:
            try:
                _reset(self._prev)
                self._prev = None
            except Exception:  # it was entered in another context, or several times
                leave(self)
        else:
            self._left_covered()

    def _enter_again(self) -> Span:
        """It was entered before: here, or by another task or thread, or by ``use_span``."""
        if _get() is not self:
            self._prev = _set(self)
        return self

    def _fail(self, exception: BaseException) -> None:
        """Record an exception that leaves the block, unless it is only how Python ends things."""

    def finish(self, end_ns: int | None = None) -> None:
        """End it, now or at ``end_ns`` (Unix, nanoseconds). Only the first call counts."""

    def end(self, end_time: int | None = None) -> None:
        """:meth:`finish`, as OpenTelemetry calls it."""
        self.finish(end_time)

    def _left_covered(self) -> None:
        """The block was left while something else was current.

        Where that is left in its turn, this span is current again until somebody looks:
        see :func:`outlasting`.
        """
        entered = self._prev
        if isinstance(entered, Token):
            self._prev = Left(current.before(entered))

    @property
    def tracestate(self) -> str:
        return self._carried.tracestate if self._carried else ""

    @property
    def baggage(self) -> Baggage | None:
        """The items travelling with the span, None without any."""
        return self._carried.baggage if self._carried else None

    @property
    def resource(self) -> Resource:
        return self._tracer.pipeline.resource

    @property
    def scope(self) -> str:
        return self._tracer.scope

    @property
    def sofa_trace_id(self) -> str:
        """The trace id as SOFA spells it: as received, else 32 hex digits."""
        spelled = self._carried.sofa_trace_id if self._carried else ""
        return spelled or self._tracer.pipeline.spell(self.trace_id)

    # -- identity --------------------------------------------------------------------------------

    @property
    def context(self) -> SpanContext:
        """What a child or another process needs to know of this span."""
        carried = self._carried or Carried()
        return SpanContext(
            self.trace_id,
            self.span_id,
            sampled=bool(self.flags & SAMPLED),
            debug=bool(self.flags & DEBUG),
            parent_id=self.parent_id,
            tracestate=carried.tracestate,
            baggage=carried.baggage,
            random=bool(self.flags & RANDOM),
            rpc_id=self.rpc_id,
            sofa_trace_id=carried.sofa_trace_id,
        )

    def next_rpc_id(self) -> str:
        """A dotted id for the next call: each call of this method and each child gets its own."""
        return f"{self.rpc_id}.1"

    def get_span_context(self) -> OtelSpanContext:
        """The identity in OpenTelemetry's form."""
        return self.context.to_otel()

    def _otel_context(self) -> Context:
        from .otel_context import with_span

        lasting = outlasting(self)
        if not isinstance(lasting, Span):
            return lasting  # type: ignore[no-any-return]  # what is current is one or the other
        return with_span(lasting, current.VALUES.get())

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name!r} {format_trace_id(self.trace_id)}"
            f"/{format_span_id(self.span_id)}>"
        )


provide(variable=current.VARIABLE, empty=current.EMPTY)
compiled(Span, "__enter__", "__exit__", "set_tag")


def beneath(span: Any) -> Any:
    """What is current when the block of ``span`` is left where it is current."""
    entered = span._prev
    if isinstance(entered, Instead):
        return outlasting(entered.previous)
    if isinstance(entered, Token):
        return outlasting(current.before(entered))
    # Another thread or task shares the span, and what was current before is known there. Here:
    # what OpenTelemetry's API had set.
    values = current.VALUES.get()
    if values is current.EMPTY:
        return values
    from .otel_context import without_span

    return without_span(values)


def leave(span: Span) -> None:
    """Leave the block of ``span``, which is current, without its token."""
    _set(beneath(span))
    span._prev = None


def outlasting(span: Any) -> Any:
    """What is current instead of ``span``, which finished while something was stacked upon it.

    A span left in order stays the parent of whatever its tasks still start.
    """
    value: Any = span
    while isinstance(value, Span) and type(left := value._prev) is Left:
        value = left.previous
    if value is not span and _get() is span:
        _set(value)  # so that nobody has to look again
    return value


def context_of(value: object) -> SpanContext | None:
    """The SpanContext that ``value`` is, has, or stands for in OpenTelemetry; None for others."""
    if isinstance(value, SpanContext):
        return value
    if isinstance(value, Span):
        return value.context
    try:
        foreign = value.get_span_context() if hasattr(value, "get_span_context") else value
        if not getattr(foreign, "trace_id", 0):
            return None
        return SpanContext.from_otel(cast("OtelSpanContext", foreign))
    except Exception:
        return None


current.adopt()
