"""The span that is kept: one small object from start to the ring."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, cast

from exporters._process import always_after_fork_in_child
from exporters.interpreter import has_gil
from exporters.records import EventRecord, FinishedSpan, LinkRecord, TagValue, losses_of

from . import current
from .core import RecordedSlots, compiled, provide
from .failure import Failure, failure_of
from .identity import MASK_64
from .kinds import SpanKind, StatusCode, kind_of
from .span import Span, context_of, leave
from .values import PLAIN, all_fit, fits, recordable, text, trimmed
from .values import attributes as clean_attributes

MAX_RPC_ID = 255  # characters, some 100 levels, where SOFATracer begins a new trace

_get = current.get
_reset = current.reset
_UNSET = StatusCode.UNSET


class _Closed(dict[Any, Any]):
    """What a finished span has for its live tags: whatever is put into it is gone."""

    def __setitem__(self, key: Any, value: Any) -> None:
        return None


_CLOSED = _Closed()


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


class RecordedSpan(RecordedSlots, Span):
    """A span with room for all that is said about it. It goes into the ring itself."""

    __slots__ = ()

    trace_id: int
    parent_id: int
    flags: int
    kind: SpanKind
    duration_ns: int
    _sid: int  # 0: the low half of the trace id
    _start: int  # monotonic clock
    _offset: int  # what makes it Unix time
    _tags: dict[str, TagValue]  # _CLOSED once finished
    _kept: dict[str, TagValue] | None  # the tags once finished; unset before
    _extra: _Extra | None
    _rpc: str  # of the parent, or its own where _index is 0
    _index: int  # which child of its parent this is
    _kids: int  # how many children were numbered

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

    def set_kind(self, kind: object) -> Span:
        """Say its role: a :class:`SpanKind`, OpenTelemetry's, a number or a name."""
        if self._tags is not _CLOSED:
            self.kind = kind_of(kind)
        return self

    def is_recording(self) -> bool:
        """Whether anything said now will be recorded."""
        return self._tags is not _CLOSED

    set_attribute = set_tag
    set_attributes = set_tags
    update_name = set_name

    # -- its life ------------------------------------------------------------------------------

    def finish(self, end_ns: int | None = None) -> None:
        """End it, now or at ``end_ns`` (Unix, nanoseconds). Only the first call counts."""
        # On CPython no other thread can run between this test and the assignments: no call and no
        # backward jump lies between them, and only there does the interpreter switch threads.
        tags = self._tags
        if tags is _CLOSED:
            return
        self._kept = tags  # first: who sees the tags closed reads these
        self._tags = _CLOSED
        self._end(end_ns)

    def _end(self, end_ns: int | None) -> None:
        """What only the caller who closed the tags does."""
        pipeline = self._tracer.pipeline
        # A local variable is called without a search for a method of that name; here and below.
        now, emit = pipeline.now, pipeline.emit
        if type(end_ns) is int:
            self.duration_ns = max(end_ns - self._start - self._offset, 0)
        else:
            self.duration_ns = now() - self._start
        emit(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception is not None:
            self._fail(exception)
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
        tags = self._tags
        if tags is not _CLOSED:
            self._kept = tags
            self._tags = _CLOSED
            pipeline = self._tracer.pipeline
            now, emit = pipeline.now, pipeline.emit
            self.duration_ns = now() - self._start
            emit(self)

    def _fail(self, exception: BaseException) -> None:
        """Record an exception that leaves the block, unless it is only how Python ends things."""
        if not isinstance(exception, Exception):
            # Cancellation, interrupt, exit, a closed generator: ends, not errors.
            if not isinstance(exception, GeneratorExit):
                self.add_event("cancelled", {"exception.type": type(exception).__name__})
            return
        self.record_exception(exception, escaped=True)
        if self.status is StatusCode.UNSET:
            self.set_status(StatusCode.ERROR, failed_with(exception))

    # -- the flusher's side: the attributes of SpanRecord -----------------------------------------

    def finished(self) -> FinishedSpan:
        """All attributes of SpanRecord in one call, for a span that has finished."""
        return _read([self])[0]

    @staticmethod
    def all_finished(spans: Sequence[RecordedSpan]) -> list[FinishedSpan]:
        """What :meth:`finished` gives of each, in less time than one by one."""
        found: list[FinishedSpan] = []
        for start in range(0, len(spans), _TOGETHER):
            found += _read(spans[start : start + _TOGETHER])
        return found

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
        extra.events[: len(rendered)] = rendered  # others may have been added meanwhile
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
    def rpc_id(self) -> str:
        if not self._index:
            return self._rpc
        dotted = f"{self._rpc}.{self._index}"
        # Tasks that start each other for ever would make it grow for ever: it begins anew.
        return dotted if len(dotted) <= MAX_RPC_ID else "0"

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

    def next_rpc_id(self) -> str:
        """A dotted id for the next call: each call of this method and each child gets its own."""
        self._kids = index = self._kids + 1
        return f"{self.rpc_id}.{index}"

    def _sealed(self) -> Mapping[str, TagValue] | None:
        """The tags of a finished span, cut to the limits by the first reader."""
        tags = self._kept
        limits = self._tracer.pipeline.limits
        if tags and not fits(tags, limits):
            tags, dropped, cut = trimmed(tags, limits)
            extra = self._more()
            extra.dropped_tags += dropped
            extra.cut_values += cut
            self._kept = tags
        return tags

    def _more(self) -> _Extra:
        """Its extra, the same for all threads that ask."""
        extra = self._extra
        if extra is None:
            made = _Extra()  # outside of the lock, in which nothing is called
            with _once:
                extra = self._extra
                if extra is None:
                    extra = self._extra = made
        return extra

    def _count(self, counter: str) -> None:
        extra = self._more()
        setattr(extra, counter, getattr(extra, counter) + 1)

    def _now_ns(self) -> int:
        return self._tracer.pipeline.now() + self._offset


#: Taken for what happens once to a span: it gets its extra; it is finished, on interpreters whose
#: threads do not take turns. Re-entrant for handlers of signals.
_once = threading.RLock()


def _finish(self: RecordedSpan, end_ns: int | None = None) -> None:
    """:meth:`RecordedSpan.finish` without the interpreter lock."""
    with _once:
        tags = self._tags
        if tags is _CLOSED:
            return
        self._kept = tags
        self._tags = _CLOSED
    self._end(end_ns)


def _exit(
    self: RecordedSpan,
    kind: type[BaseException] | None,
    exception: BaseException | None,
    traceback: TracebackType | None,
) -> None:
    """:meth:`RecordedSpan.__exit__` without the interpreter lock."""
    if exception is not None:
        self._fail(exception)
    Span.__exit__(self, kind, exception, traceback)
    self.finish()


#: The slot itself, which the property below stands in front of.
_kids: Any = vars(RecordedSlots)["_kids"]


def _next_kid(self: RecordedSpan) -> int:
    """How many children were numbered, this one not among them: no two readers get one number."""
    with _once:
        number: int = _kids.__get__(self)
        _kids.__set__(self, number + 1)
        return number


def _no_kids(self: RecordedSpan, number: int) -> None:
    """A new span has none. What the reader of a number writes back has been counted."""
    if not number:
        _kids.__set__(self, 0)


def _renew_lock() -> None:
    global _once
    _once = threading.RLock()


always_after_fork_in_child(_renew_lock)

if not has_gil():
    RecordedSpan.finish = _finish  # type: ignore[method-assign]
    RecordedSpan.__exit__ = _exit  # type: ignore[method-assign]
    setattr(RecordedSpan, "_kids", property(_next_kid, _no_kids))  # noqa: B010


provide(RecordedSpan=RecordedSpan, CLOSED=_CLOSED)
compiled(RecordedSpan, "__exit__", "set_tag", "finish")


#: Spans whose tags are looked at together: all of them are shorter than one value may be, mostly.
_TOGETHER = 32


def _read(spans: Sequence[RecordedSpan]) -> list[FinishedSpan]:
    """With local names and hardly a call: it is done for each span."""
    tracer = spans[0]._tracer
    limits, resource, scope = tracer.pipeline.limits, tracer.pipeline.resource, tracer.scope
    fit = all_fit([span._kept or _CLOSED for span in spans], limits)
    found = []
    for span in spans:
        if span._tracer is not tracer:
            tracer = span._tracer
            resource, scope = tracer.pipeline.resource, tracer.scope
            fit = fit and tracer.pipeline.limits is limits
        tags = span._kept if fit else span._sealed()
        extra, carried = span._extra, span._carried
        trace_id, duration_ns = span.trace_id, span.duration_ns
        found.append(
            FinishedSpan(
                trace_id,
                span._sid or trace_id & MASK_64 or 1,
                span.parent_id,
                span.name,
                span.kind,
                span._start + span._offset,
                duration_ns if duration_ns > 0 else 0,  # its start may have been given as later
                tags,
                span.events if extra else None,
                extra.links or None if extra else None,
                extra.status if extra else 0,
                extra.status_text if extra else "",
                span.flags,
                carried.tracestate if carried else "",
                resource,
                scope,
                span.rpc_id if span._index else span._rpc,
                carried.baggage if carried else None,
                span,
                span.losses if extra else None,
            )
        )
    return found


def failed_with(exception: BaseException) -> str:
    """The description of a status: the type and the message, whatever the exception says."""
    return f"{type(exception).__name__}: {text(exception, 1_024)}"


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
