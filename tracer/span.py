"""The span: one small object from start to the ring.

Longer than other modules on purpose: the object that is written to, finished, read and handed to
OpenTelemetry is one, so that nothing is copied or wrapped on its way, and its parts share slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from exporters.records import (
    DEBUG,
    SAMPLED,
    EventRecord,
    FinishedSpan,
    LinkRecord,
    Resource,
    TagValue,
    losses_of,
)

from . import current
from .failure import Failure, failure_of
from .identity import MASK_64, format_span_id, format_trace_id
from .kinds import SpanKind, StatusCode
from .readable import Readable
from .span_context import RANDOM, Carried, SpanContext
from .values import PLAIN, fits, recordable, text, trimmed
from .values import attributes as clean_attributes

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext as OtelSpanContext

    from .baggage import Baggage
    from .tracer import Tracer

#: Bits a child inherits from its parent.
INHERITED = SAMPLED | DEBUG | RANDOM

MAX_RPC_ID = 255  # characters, some 100 levels, where SOFATracer begins a new trace

_get = current.get
_set = current.set
_EMPTY = current.EMPTY
_Context = type(_EMPTY)
_UNSET = StatusCode.UNSET


class _Closed(dict[Any, Any]):
    """What a finished span has for its live tags: whatever is put into it is gone."""

    def __setitem__(self, key: Any, value: Any) -> None:
        return None


_CLOSED = _Closed()


class _Left:
    """In ``_prev``: the block was left while another span was current upon it."""

    __slots__ = ("previous",)

    def __init__(self, previous: Any) -> None:
        self.previous = previous


class _Extra:
    """What few spans have, kept off the others."""

    __slots__ = (
        "cut_values",
        "dropped_events",
        "dropped_links",
        "dropped_tags",
        "events",
        "links",
        "status",
        "status_text",
    )

    def __init__(self) -> None:
        self.events: list[EventRecord | Failure] = []
        self.links: list[LinkRecord] = []
        self.dropped_tags = 0
        self.dropped_events = 0
        self.dropped_links = 0
        self.cut_values = 0
        self.status = _UNSET
        self.status_text = ""


class Span(Readable):
    """Something that took time, from its start to the flusher.

    Made by :meth:`tracer.tracer.Tracer.start_span`, never directly. As a context manager it is
    current inside its block and finishes with it; without one it belongs to whoever holds it. No
    method raises, whatever is passed. It has every attribute of
    :class:`exporters.records.SpanRecord`, and the methods of OpenTelemetry's ``Span``.
    """

    # The order is that of use; each slot is 8 bytes of every span that waits in the ring.
    __slots__ = (
        "_base",
        "_carried",
        "_extra",
        "_index",
        "_kept",
        "_kids",
        "_offset",
        "_prev",
        "_rpc",
        "_sid",
        "_start",
        "_tags",
        "_tracer",
        "duration_ns",
        "flags",
        "kind",
        "name",
        "parent_id",
        "trace_id",
    )

    trace_id: int
    parent_id: int
    flags: int
    name: str
    kind: SpanKind
    duration_ns: int
    _sid: int  # 0: the low half of the trace id
    _tracer: Tracer
    _start: int  # monotonic clock
    _offset: int  # what makes it Unix time
    _tags: dict[str, TagValue]  # _CLOSED once finished
    _kept: dict[str, TagValue] | None  # the tags once finished; unset before
    _extra: _Extra | None
    _carried: Carried | None
    _rpc: str  # of the parent, or its own where _index is 0
    _index: int  # which child of its parent this is
    _kids: int  # how many children were numbered
    _prev: Any  # what was current before the block, None after it; unset where there was none
    _base: Any  # the OpenTelemetry context below, never one with a span in it; unset like _prev

    # -- the application's side: what happened -------------------------------------------------

    def set_tag(self, key: str, value: object) -> Span:
        """Record ``value`` under ``key``; the last value wins. None records nothing."""
        # Values that cannot change go straight in, whatever their key; lengths, counts and keys
        # are seen to when somebody reads the tags, which is the flusher.
        if type(value) in PLAIN:
            try:
                self._tags[key] = value  # type: ignore[assignment]
            except Exception:  # a key that cannot be hashed
                self._set_tag_slowly(key, value)
        else:
            self._set_tag_slowly(key, value)
        return self

    def set_tags(self, tags: Mapping[str, object]) -> Span:
        """Record every item of ``tags``."""
        try:
            for key, value in tags.items():
                self.set_tag(key, value)
        except Exception:
            self._count("dropped_tags")
        return self

    def _set_tag_slowly(self, key: object, value: object) -> None:
        if self._tags is _CLOSED:
            return
        limits = self._tracer.pipeline.limits
        clean = recordable(value, limits.value_length)
        if clean is not None:
            self._tags[text(key, limits.key_length)] = clean

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
        if self._tags is _CLOSED:
            return
        limits = self._tracer.pipeline.limits
        extra = self._more()
        if len(extra.events) >= limits.events:
            extra.dropped_events += 1
            return
        clean, dropped = clean_attributes(attributes, limits, limits.event_attributes)
        extra.dropped_tags += dropped
        given = timestamp if time_ns is None else time_ns
        when = given if type(given) is int else self._now_ns()
        extra.events.append(EventRecord(when, text(name, limits.name_length), clean or None))

    def add_link(self, context: object, attributes: Mapping[str, object] | None = None) -> None:
        """Point at a span elsewhere that is no parent: a Span or a SpanContext."""
        if self._tags is _CLOSED:
            return
        target = context_of(context)
        if target is None:
            return
        limits = self._tracer.pipeline.limits
        extra = self._more()
        if len(extra.links) >= limits.links:
            extra.dropped_links += 1
            return
        clean, dropped = clean_attributes(attributes, limits, limits.link_attributes)
        extra.dropped_tags += dropped
        extra.links.append(
            LinkRecord(target.trace_id, target.span_id, target.tracestate, clean or None)
        )

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, object] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an ``exception`` event: type, message and a bounded stack, formatted later."""
        if self._tags is _CLOSED:
            return
        limits = self._tracer.pipeline.limits
        extra = self._more()
        if len(extra.events) >= limits.events:
            extra.dropped_events += 1
            return
        when = timestamp if type(timestamp) is int else self._now_ns()
        clean, _ = clean_attributes(attributes, limits, limits.event_attributes)
        extra.events.append(
            failure_of(
                exception,
                when,
                limits.stack_frames,
                limits.value_length,
                cast("dict[str, object]", clean) or None,
                escaped,
            )
        )

    def set_status(self, code: object, description: str | None = None) -> None:
        """Say how it went: UNSET, OK or ERROR, in our, OpenTelemetry's or numeric form.

        By OpenTelemetry's rules OK is final, UNSET never overwrites, and ``description`` belongs
        to ERROR.
        """
        if self._tags is _CLOSED or self.status is StatusCode.OK:
            return
        number = getattr(code, "status_code", code)
        number = getattr(number, "value", number)
        if not isinstance(number, int) or number not in (1, 2):
            return
        extra = self._more()
        extra.status = StatusCode(number)
        reason = description if description is not None else getattr(code, "description", None)
        if number == 2 and reason:
            limit = self._tracer.pipeline.limits.value_length
            extra.status_text = text(reason, limit)
        else:
            extra.status_text = ""

    def set_name(self, name: str) -> Span:
        """Give the span another name."""
        if self._tags is not _CLOSED:
            self.name = text(name, self._tracer.pipeline.limits.name_length)
        return self

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

    def is_recording(self) -> bool:
        """Whether anything said now will be recorded."""
        return self._tags is not _CLOSED

    # -- its life ------------------------------------------------------------------------------

    def finish(self, end_ns: int | None = None) -> None:
        """End it, now or at ``end_ns`` (Unix, nanoseconds). Only the first call counts."""
        # On CPython no other thread can run between this test and the assignment: no call and no
        # backward jump lies between them, and only there does the interpreter switch threads.
        tags = self._tags
        if tags is _CLOSED:
            return
        self._tags = _CLOSED
        self._kept = tags
        pipeline = self._tracer.pipeline
        if end_ns is None:
            self.duration_ns = pipeline.now() - self._start
        elif type(end_ns) is int:
            self.duration_ns = max(end_ns - self._start - self._offset, 0)
        else:
            self.duration_ns = max(pipeline.now() - self._start, 0)
        pipeline.emit(self)

    def __enter__(self) -> Span:
        previous = _get()
        if previous is _EMPTY:
            self._prev = self._base = previous
            _set(self)
        elif previous is not self:
            self._prev = previous
            if type(previous) is not _Context:
                self._base = previous._base  # a span: whatever is current has one
            else:
                self._base = base_of(previous)
            _set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception is not None:
            self._fail(exception)
        # Restored by value and only where it is still current: a generator closed from another
        # task then changes nothing there, and there is no token to be used in a wrong context.
        if _get() is self:
            previous = self._prev
            if (
                previous is not _EMPTY
                and type(previous) is not _Context
                and (previous is None or type(previous) is _Left or type(previous._prev) is _Left)
            ):
                previous = beneath(self)
            _set(previous)
            self._prev = None
        elif (previous := getattr(self, "_prev", None)) is not None:
            self._prev = _Left(previous)
        tags = self._tags
        if tags is not _CLOSED:
            self._tags = _CLOSED
            self._kept = tags
            pipeline = self._tracer.pipeline
            self.duration_ns = pipeline.now() - self._start
            pipeline.emit(self)

    def _fail(self, exception: BaseException) -> None:
        """Record an exception that leaves the block, unless it is only how Python ends things."""
        if not isinstance(exception, Exception):
            # Cancellation, interrupt, exit, a closed generator: ends, not errors.
            if not isinstance(exception, GeneratorExit):
                self.add_event("cancelled", {"exception.type": type(exception).__name__})
            return
        self.record_exception(exception, escaped=True)
        if self.status is StatusCode.UNSET:
            reason = text(exception, 1_024)
            self.set_status(StatusCode.ERROR, f"{type(exception).__name__}: {reason}")

    # -- the flusher's side: the attributes of SpanRecord -----------------------------------------

    def finished(self) -> FinishedSpan:
        """All attributes of SpanRecord in one call, for a span that has finished."""
        tracer, carried = self._tracer, self._carried
        tags: Mapping[str, TagValue] | None = self._kept
        if tags and not fits(tags, tracer.pipeline.limits):
            tags = self._sealed()
        extra = self._extra
        return FinishedSpan(
            self.trace_id,
            self._sid or self.span_id,
            self.parent_id,
            self.name,
            self.kind,
            self._start + self._offset,
            self.duration_ns,
            tags,
            self.events if extra else None,
            extra.links or None if extra else None,
            extra.status if extra else 0,
            extra.status_text if extra else "",
            self.flags,
            carried.tracestate if carried else "",
            tracer.pipeline.resource,
            tracer.scope,
            self.rpc_id if self._index else self._rpc,
            carried.baggage if carried else None,
            self,
            self.losses if extra else None,
        )

    @property
    def span_id(self) -> int:
        return self._sid or self.trace_id & MASK_64 or 1

    @property
    def start_ns(self) -> int:
        return self._start + self._offset

    @property
    def tags(self) -> Mapping[str, TagValue] | None:
        tags = self._tags
        if tags is _CLOSED:
            return self._sealed()
        return {**tags}

    @property
    def events(self) -> Sequence[EventRecord] | None:
        extra = self._extra
        if extra is None or not extra.events:
            return None
        # Rendering is idempotent: two readers at once do the work twice and agree.
        rendered = [_rendered(event) for event in extra.events]
        extra.events[:] = rendered
        return rendered

    @property
    def links(self) -> Sequence[LinkRecord] | None:
        return self._extra.links or None if self._extra else None

    @property
    def status(self) -> StatusCode:
        return self._extra.status if self._extra else _UNSET

    @property
    def status_text(self) -> str:
        return self._extra.status_text if self._extra else ""

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
    def rpc_id(self) -> str:
        if not self._index:
            return self._rpc
        dotted = f"{self._rpc}.{self._index}"
        # Tasks that start each other for ever would make it grow for ever: it begins anew.
        return dotted if len(dotted) <= MAX_RPC_ID else "0"

    @property
    def sofa_trace_id(self) -> str:
        """The trace id as SOFA spells it: as received, else 32 hex digits."""
        spelled = self._carried.sofa_trace_id if self._carried else ""
        return spelled or self._tracer.pipeline.spell(self.trace_id)

    @property
    def end_ns(self) -> int:
        """When it finished (Unix, nanoseconds); meaningless before."""
        return self._start + self._offset + self.duration_ns

    @property
    def dropped_tags(self) -> int:
        """Tags, and attributes of events and links, that were beyond their limit."""
        return self._extra.dropped_tags if self._extra else 0

    @property
    def dropped_events(self) -> int:
        return self._extra.dropped_events if self._extra else 0

    @property
    def dropped_links(self) -> int:
        return self._extra.dropped_links if self._extra else 0

    @property
    def cut_values(self) -> int:
        """Tag values that were shortened."""
        return self._extra.cut_values if self._extra else 0

    @property
    def losses(self) -> Mapping[str, int] | None:
        """The four counts above that are not 0, by the names they have among tags."""
        extra = self._extra
        if extra is None:
            return None
        return losses_of(
            extra.dropped_tags, extra.dropped_events, extra.dropped_links, extra.cut_values
        )

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
        self._kids = index = self._kids + 1
        return f"{self.rpc_id}.{index}"

    def get_span_context(self) -> OtelSpanContext:
        """The identity in OpenTelemetry's form."""
        return self.context.to_otel()

    # OpenTelemetry's names for the same things.
    set_attribute = set_tag
    set_attributes = set_tags
    update_name = set_name

    def end(self, end_time: int | None = None) -> None:
        """:meth:`finish`, as OpenTelemetry calls it."""
        self.finish(end_time)

    def _otel_context(self) -> Context:
        from .otel_context import with_span

        return with_span(self, getattr(self, "_base", None))

    def _sealed(self) -> Mapping[str, TagValue] | None:
        """The tags of a finished span, cut to the limits by the first reader."""
        tags = self._kept
        limits = self._tracer.pipeline.limits
        if tags and not fits(tags, limits):
            tags, dropped, cut = trimmed(tags, limits)
            self._more().dropped_tags += dropped
            self._more().cut_values += cut
            self._kept = tags
        return tags

    # -- helpers -----------------------------------------------------------------------------------

    def _more(self) -> _Extra:
        extra = self._extra
        if extra is None:
            extra = self._extra = _Extra()
        return extra

    def _count(self, counter: str) -> None:
        extra = self._more()
        setattr(extra, counter, getattr(extra, counter) + 1)

    def _now_ns(self) -> int:
        return self._tracer.pipeline.now() + self._offset

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name!r} {format_trace_id(self.trace_id)}"
            f"/{format_span_id(self.span_id)}>"
        )


def beneath(span: Any) -> Any:
    """What is current when the block of ``span`` is left where it is current."""
    previous = span._prev
    if previous is None:
        # Another thread or task, or a use_span around this block, shares the span, and what was
        # current before is known there. Here: what OpenTelemetry's API had set.
        return span._base
    return outlasting(previous.previous if type(previous) is _Left else previous)


def outlasting(span: Any) -> Any:
    """What is current instead of ``span``, which finished while something was stacked upon it.

    A span left in order stays the parent of whatever its tasks still start.
    """
    value: Any = span
    while isinstance(value, Span) and type(left := getattr(value, "_prev", None)) is _Left:
        value = left.previous
    return value


def base_of(value: Any) -> Any:
    """The OpenTelemetry context that ``value``, taken from the current variable, stands on."""
    if isinstance(value, Span):
        return getattr(value, "_base", _EMPTY)
    if value is _EMPTY:
        return value
    if len(value) == 1 and current.SPAN_KEY in value:
        return _EMPTY  # what OpenTelemetry's ``use_span`` leaves, mostly
    from .otel_context import without_span

    return without_span(value)


def _rendered(event: EventRecord | Failure) -> EventRecord:
    if not isinstance(event, Failure):
        return event
    facts: dict[str, TagValue] = {
        "exception.type": event.type,
        "exception.message": event.message,
        "exception.stacktrace": event.stacktrace(),
        "exception.escaped": event.escaped,
    }
    facts.update(cast("dict[str, TagValue]", event.attributes or {}))
    return EventRecord(event.time_ns, "exception", facts)


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
