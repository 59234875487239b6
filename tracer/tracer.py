"""Starting spans."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from exporters.records import DEBUG, REMOTE_PARENT, SAMPLED, SHARED

from . import current
from .baggage import EMPTY as EMPTY_BAGGAGE
from .core import TracerSlots, compiled, provide
from .kinds import SpanKind, kind_of
from .passive import NOOP, PassiveSpan, RemoteSpan, UnsampledChild, UnsampledRoot, unsampled
from .pipeline import Pipeline
from .recorded import _CLOSED, RecordedSpan
from .sampling import KEEP, Decision
from .span import INHERITED, Span, context_of, outlasting
from .span_context import Carried, SpanContext
from .values import text

_log = logging.getLogger(__name__)

_get = current.get
_EMPTY = current.EMPTY
_Context = type(_EMPTY)
_INTERNAL = SpanKind.INTERNAL
_ALL = ~0


class _Current:
    def __repr__(self) -> str:
        return "<current span>"


#: The default of ``parent``: whatever is current where the span starts.
CURRENT: Any = _Current()


class Tracer(TracerSlots):
    """Starts spans in the name of one instrumentation scope."""

    __slots__ = ()

    pipeline: Pipeline
    scope: str
    scope_version: str

    def __init__(self, pipeline: Pipeline, scope: str = "", scope_version: str = "") -> None:
        self.pipeline = pipeline
        self.scope = scope
        self.scope_version = scope_version

    def start_span(
        self,
        name: str,
        kind: SpanKind = _INTERNAL,
        parent: Span | SpanContext | None = CURRENT,
        tags: Mapping[str, object] | None = None,
        links: Iterable[object] | None = None,
        start_ns: int | None = None,
    ) -> Span:
        """Start a span, by default as a child of the current one.

        :param parent: a Span, a SpanContext, or None for a new root.
        :param links: SpanContexts or Spans, or pairs of one and its attributes.
        :param start_ns: Unix time in nanoseconds; now by default.

        The result is a context manager; used without ``with`` it must be finished by hand and is
        never current. Never raises.
        """
        # This is the hottest function of the library. It sets the slots itself because a call of
        # __init__ would cost as much as all of them, and its parameters are not keyword-only
        # because the interpreter calls functions with such ones in a slower way.
        pipeline = self.pipeline
        above: Any
        passive: PassiveSpan
        if parent is not CURRENT:
            above = _EMPTY if parent is None else parent
        else:
            above = _get()
        if above is _EMPTY:
            if not pipeline.keep_all:
                count = pipeline.unsampled
                if ahead := count.ahead:
                    # Turned down before it came; see RootChoice. Nobody else runs in between.
                    count.ahead = ahead - 1
                    passive = UnsampledRoot()
                    passive._tracer = self
                    passive.name = name
                    passive._prev = None
                    return passive
                return self._start_chosen_root(name, kind, tags, links, start_ns)
            bits = pipeline.bits
            span = RecordedSpan()
            span.trace_id = bits(128) or 1
            span._sid = 0
            span.parent_id = 0
            span.flags = pipeline.root_flags
            span._carried = None
            span._index = 0
            span._rpc = "0"
        elif (cls := type(above)) is RecordedSpan and above._tags is not _CLOSED:
            bits = pipeline.bits
            span = RecordedSpan()
            span.trace_id = above.trace_id
            span._sid = bits(64)
            span.parent_id = above._sid or above.span_id
            span.flags = above.flags & INHERITED
            span._carried = above._carried
            # No two children get one number: where threads take turns no other runs in between
            # (see RecordedSpan.finish), elsewhere reading it takes it.
            above._kids = span._index = above._kids + 1
            span._rpc = above.rpc_id if above._index else above._rpc
        elif cls is UnsampledRoot:
            passive = UnsampledChild()
            passive._tracer = self
            passive.name = name
            passive._prev = None
            passive._root = above
            pipeline.unsampled.value += 1
            return passive
        elif cls is UnsampledChild:
            passive = UnsampledChild()
            passive._tracer = self
            passive.name = name
            passive._prev = None
            passive._root = above._root
            pipeline.unsampled.value += 1
            return passive
        elif cls is PassiveSpan:
            return unsampled(self, name, above._root or above, above._carried)
        else:
            return self._start_otherwise(name, kind, above, tags, links, start_ns)
        span._tracer = self
        span.name = name
        span._prev = None
        span.kind = kind
        span.duration_ns = 0
        span._kids = 0
        span._extra = None
        span._tags = {}
        span._offset = pipeline.clock.offset_ns
        now = pipeline.now
        span._start = now()
        if (
            tags is not None  # their truth is not asked: that of an array raises
            or links is not None
            or start_ns is not None
            or type(name) is not str
            or (kind is not _INTERNAL and type(kind) is not SpanKind)
            or pipeline.started
        ):
            _complete(span, tags, links, start_ns)
        return span

    def _start_chosen_root(
        self,
        name: str,
        kind: SpanKind,
        tags: Mapping[str, object] | None,
        links: Iterable[object] | None,
        start_ns: int | None,
    ) -> Span:
        """A root that is not kept without asking."""
        pipeline = self.pipeline
        choice = pipeline.choice
        kept = choice.keeps() if choice is not None else None
        if choice is None or kept is None:
            return self._start_otherwise(name, kind, None, tags, links, start_ns)
        if not kept:
            passive = UnsampledRoot()
            passive._tracer = self
            passive.name = name
            passive._prev = None
            return passive
        span = self._root(choice.kept(pipeline.bits(128)), KEEP, None, name, kind)
        _complete(span, tags, links, start_ns)
        return span

    def _start_otherwise(
        self,
        name: str,
        kind: SpanKind,
        above: Any,
        tags: Mapping[str, object] | None,
        links: Iterable[object] | None,
        start_ns: int | None,
    ) -> Span:
        """Every start but that below a recorded span and that of a root that is always kept."""
        pipeline = self.pipeline
        if not pipeline.enabled:
            return NOOP
        try:
            if type(above) is _Context and current.BAGGAGE_KEY not in above:
                # Below OpenTelemetry's ``use_span``, as most instrumentations use it.
                held = above.get(current.SPAN_KEY)
                if isinstance(held, RecordedSpan) and held._tags is not _CLOSED:
                    return self._start_below(name, kind, held, None, tags, links, start_ns)
            parent, carried = _resolve(above)
            if isinstance(parent, Span):
                return self._start_below(name, kind, parent, carried, tags, links, start_ns)
            return self._start_local_root(name, kind, parent, tags, links, start_ns)
        except Exception:  # a sampler, id generator or foreign context that misbehaves
            _log.debug("a span could not be started", exc_info=True)
            return NOOP

    def _start_below(
        self,
        name: str,
        kind: SpanKind,
        parent: Span,
        carried: Carried | None,
        tags: Mapping[str, object] | None,
        links: Iterable[object] | None,
        start_ns: int | None,
    ) -> Span:
        """A child of a span of this process that is no plain current one."""
        if isinstance(parent, PassiveSpan):
            return unsampled(self, name, parent._root or parent, carried or parent._carried)
        if not isinstance(parent, RecordedSpan):
            return NOOP
        span = RecordedSpan()
        span.trace_id = parent.trace_id
        span._sid = self.pipeline.bits(64) or 1
        span.parent_id = parent.span_id
        span.flags = parent.flags & INHERITED
        span._carried = carried or parent._carried
        parent._kids = span._index = parent._kids + 1
        span._rpc = parent.rpc_id
        _begin(span, self, name, kind)
        _complete(span, tags, links, start_ns)
        return span

    def _start_local_root(
        self,
        name: str,
        kind: SpanKind,
        remote: SpanContext | None,
        tags: Mapping[str, object] | None,
        links: Iterable[object] | None,
        start_ns: int | None,
    ) -> Span:
        """The first span of a trace in this process: where it is decided whether it is kept."""
        pipeline = self.pipeline
        known = remote is not None and remote.trace_id != 0
        trace_id = remote.trace_id if remote and known else pipeline.bits(128) or 1
        decision = self._decide(trace_id, name, kind, tags, remote)
        carried = remote.carried if remote else None
        if decision.tracestate is not None:
            carried = (carried or Carried())._replace(tracestate=decision.tracestate)
        if not decision.sampled and not pipeline.record_unsampled:
            passive = unsampled(self, name, None, carried)
            passive._known_trace_id = trace_id
            if known:
                passive._known_span_id = pipeline.bits(64) or 1
            return passive
        span = self._root(trace_id, decision, carried, name, kind)
        if remote:
            span.flags = _flags_of(pipeline, decision, remote, known)
            if known:
                self._place_below(span, remote, kind)
        _complete(span, tags, links, start_ns)
        return span

    def _root(
        self,
        trace_id: int,
        decision: Decision,
        carried: Carried | None,
        name: str,
        kind: SpanKind,
    ) -> RecordedSpan:
        span = RecordedSpan()
        span.trace_id = trace_id
        span._sid = 0
        span.parent_id = 0
        span.flags = self.pipeline.root_flags & (_ALL if decision.sampled else ~SAMPLED)
        span._carried = carried
        span._index = 0
        span._rpc = "0"
        _begin(span, self, name, kind)
        if decision.tags:
            span.set_tags(decision.tags)
        return span

    def _decide(
        self,
        trace_id: int,
        name: str,
        kind: SpanKind,
        tags: Mapping[str, object] | None,
        remote: SpanContext | None,
    ) -> Decision:
        if remote is not None and remote.debug:
            return KEEP  # the debug flag overrides every sampler
        return self.pipeline.sampler.sample(trace_id, name, kind, tags, remote)

    def _place_below(self, span: RecordedSpan, remote: SpanContext, kind: SpanKind) -> None:
        """Make ``span`` a child of ``remote``, or the same span where the two sides share one."""
        if self.pipeline.join and kind == SpanKind.SERVER and remote.is_remote:
            span._sid = remote.span_id
            span.parent_id = remote.parent_id
            span.flags |= SHARED
            span._rpc = remote.rpc_id or "0"
            return
        span._sid = self.pipeline.bits(64) or 1
        span.parent_id = remote.span_id
        if remote.rpc_id:
            # The caller cannot count for us; SOFA's servers begin at 1 below its call as well.
            span._rpc, span._index = remote.rpc_id, 1


def _begin(span: RecordedSpan, tracer: Tracer, name: str, kind: SpanKind) -> None:
    """The slots that do not depend on what is above; Tracer.start_span has the same lines."""
    pipeline = tracer.pipeline
    span._tracer = tracer
    span.name = name
    span._prev = None
    span.kind = kind
    span.duration_ns = 0
    span._kids = 0
    span._extra = None
    span._tags = {}
    span._offset = pipeline.clock.offset_ns
    span._start = pipeline.now()


def _complete(
    span: RecordedSpan,
    tags: Mapping[str, object] | None,
    links: Iterable[object] | None,
    start_ns: int | None,
) -> None:
    """The rarer arguments of start_span, whatever they are."""
    if type(span.name) is not str:
        span.name = text(span.name, span._tracer.pipeline.limits.name_length)
    if type(span.kind) is not SpanKind:
        span.kind = kind_of(span.kind)
    if type(start_ns) is int:
        span._start = start_ns - span._offset
    if tags is not None:
        span.set_tags(tags)
    try:
        for link in links if links is not None else ():
            if isinstance(link, tuple) and len(link) == 2 and not hasattr(link, "trace_id"):
                span.add_link(link[0], link[1])
            else:
                span.add_link(getattr(link, "context", link), getattr(link, "attributes", None))
    except Exception:
        span._count("dropped_links")
    if started := span._tracer.pipeline.started:
        started(span)


provide(CURRENT=CURRENT, Tracer=Tracer, complete=_complete)
provide(SpanKind=SpanKind, INTERNAL=_INTERNAL, INHERITED=INHERITED)
compiled(Tracer, "start_span")


def _flags_of(
    pipeline: Pipeline, decision: Decision, remote: SpanContext | None, known: bool
) -> int:
    if remote is None or not known:
        flags = pipeline.root_flags
    else:
        flags = remote.flags | (REMOTE_PARENT if remote.is_remote else 0)
    if remote is not None and remote.debug:
        flags |= DEBUG
    return flags | SAMPLED if decision.sampled else flags & ~(SAMPLED | DEBUG)


def _resolve(above: Any) -> tuple[Span | SpanContext | None, Carried | None]:
    """What stands above a new span: a live span of ours, a context from elsewhere, or nothing.

    The second result replaces what a child would inherit, where OpenTelemetry's baggage adds to it.
    """
    if isinstance(above, RemoteSpan):
        return above.context, None
    if isinstance(above, Span):
        lasting = outlasting(above)
        return (lasting, None) if isinstance(lasting, Span) else _resolve(lasting)
    if above is None or above is _EMPTY or isinstance(above, SpanContext):
        return above or None, None
    if isinstance(above, Mapping):
        return resolve_otel_context(above)
    return context_of(above), None


def resolve_otel_context(
    context: Mapping[str, Any],
) -> tuple[Span | SpanContext | None, Carried | None]:
    """The span of an OpenTelemetry context, with the baggage set through OpenTelemetry's API."""
    from . import otel_context

    parent, _ = _resolve(otel_context.span_in(context))
    items = otel_context.baggage_in(context)
    if not items:
        return parent, None
    carried = parent._carried if isinstance(parent, Span) else parent.carried if parent else None
    carried = carried or Carried()
    baggage = (carried.baggage or EMPTY_BAGGAGE)._replace(biz=dict(items))
    if isinstance(parent, Span):
        return parent, carried._replace(baggage=baggage)
    if parent is None:
        return SpanContext(0, 0, sampled=None, baggage=baggage), None
    return parent.with_baggage(baggage), None
