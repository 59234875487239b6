"""Spans that record nothing: unsampled ones, stand-ins for a remote parent, and the span of an SDK
that is off."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from . import current
from .kinds import SpanKind, StatusCode
from .span import Span, base_of, outlasting
from .span_context import RANDOM, Carried, SpanContext

_get = current.get
_set = current.set

#: Two threads that ask an unsampled trace for its id at once must get the same one. Taken only
#: where an unsampled id is wanted, which is once per outgoing call.
_id_lock = threading.Lock()


class PassiveSpan(Span):
    """A span that only carries identity and baggage: it inherits, propagates and is thrown away.

    Most slots stay unset; ``__getattr__``, which Python calls only for those, supplies them. So an
    unsampled span costs little more than its allocation, and ids are made when somebody asks.
    ``_root`` is the passive span its trace began with here, never a nearer ancestor, so that a
    chain of tasks does not keep a chain of spans.
    """

    __slots__ = ("_root",)

    _root: PassiveSpan | None

    def __getattr__(self, name: str) -> Any:
        if name in ("trace_id", "_sid"):
            self._make_ids()
            return getattr(self, name)
        try:
            return _UNSET[name]
        except KeyError:
            raise AttributeError(name) from None

    def _make_ids(self) -> None:
        root = self._root
        if root is not None:
            trace_id = root.trace_id  # makes the root's first, under its own turn of the lock
        with _id_lock:
            ids = self._tracer.pipeline.ids
            if not _is_set(self, "trace_id"):
                self.trace_id = ids.generate_trace_id() if root is None else trace_id
            if not _is_set(self, "_sid"):
                self._sid = 0 if root is None else ids.generate_span_id()

    def set_tag(self, key: str, value: object) -> Span:
        return self

    def set_tags(self, tags: Mapping[str, object]) -> Span:
        return self

    set_attribute = set_tag
    set_attributes = set_tags

    def add_event(self, *args: Any, **named: Any) -> None:
        return None

    def add_link(self, *args: Any, **named: Any) -> None:
        return None

    def record_exception(self, *args: Any, **named: Any) -> None:
        return None

    def set_status(self, code: object, description: str | None = None) -> None:
        return None

    def set_name(self, name: str) -> Span:
        return self

    update_name = set_name

    def is_recording(self) -> bool:
        return False

    def finish(self, end_ns: int | None = None) -> None:
        return None

    def __enter__(self) -> Span:
        previous = _get()
        if previous is not self:
            self._prev = previous
            if previous is not current.EMPTY:
                self._base = base_of(previous)
            _set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if _get() is self:
            previous = self._prev
            if previous.__class__ is Span and previous._room < 0:
                previous = outlasting(previous)
            _set(previous)
            self._prev = None

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

    def next_rpc_id(self) -> str:
        return f"{self.rpc_id}.1"


class RemoteSpan(PassiveSpan):
    """Stands for a span of another process, so that a context that arrived can be current."""

    __slots__ = ("_context",)

    _context: SpanContext

    def __init__(self, context: SpanContext) -> None:
        self._context = context
        self._root = None
        self._carried = context.carried
        self.trace_id = context.trace_id
        self._sid = context.span_id
        self.flags = context.flags

    @property
    def span_id(self) -> int:
        return self._sid

    @property
    def context(self) -> SpanContext:
        return self._context

    @property
    def rpc_id(self) -> str:
        return self._context.rpc_id


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

_UNSET: dict[str, Any] = {
    "_base": current.EMPTY,
    "_carried": None,
    "_extra": None,
    "_index": 0,
    "_kids": 0,
    "_offset": 0,
    "_prev": None,
    # Never "finished": it stays the parent of whatever starts below it.
    "_room": 0,
    "_rpc": "0",
    "_start": 0,
    "_tags": None,
    "_tracer": None,
    "duration_ns": 0,
    "flags": 0,
    "kind": SpanKind.INTERNAL,
    "name": "",
    "parent_id": 0,
    "status": StatusCode.UNSET,
}


def _is_set(span: PassiveSpan, slot: str) -> bool:
    try:
        object.__getattribute__(span, slot)
    except AttributeError:
        return False
    return True
