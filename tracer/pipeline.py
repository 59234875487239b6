"""Where spans come from and go to: the parts that all tracers of one provider share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from exporters._process import may_start_threads, notice_fork
from exporters.ledger import Count, new_count
from exporters.records import SAMPLED, Resource

from .clock import Clock
from .core import PipelineSlots, provide
from .identity import IdGenerator, RandomIds, format_trace_id
from .limits import SpanLimits
from .root_choice import RootChoice
from .sampling import NONE_KEPT, AlwaysOn, ParentBased, Sampler
from .span_context import RANDOM

if TYPE_CHECKING:
    from .recorded import RecordedSpan

_log = logging.getLogger("lookout")

Emit = Callable[["RecordedSpan"], Any]


def discard(span: RecordedSpan) -> None:
    """The destination of a tracer that was not set up."""


class Pipeline(PipelineSlots):
    """Ids, clock, limits, sampler and destination of spans.

    Changed only by :mod:`tracer.setup` and by tests, in place, so that tracers and bound functions
    handed out earlier follow. ``emit`` takes a finished span and must neither raise nor block.
    """

    __slots__ = (
        "choice",
        "ids",
        "join",
        "limits",
        "observers",
        "record_unsampled",
        "resource",
        "sampler",
        "spell",
    )

    bits: Callable[[int], int]
    clock: Clock
    emit: Emit
    enabled: bool
    keep_all: bool
    now: Callable[[], int]
    root_flags: int
    unsampled: Count
    started: Callable[[RecordedSpan], None] | None
    choice: RootChoice | None

    def __init__(
        self,
        emit: Emit | None = None,
        *,
        resource: Resource | None = None,
        sampler: Sampler | None = None,
        ids: IdGenerator | None = None,
        clock: Clock | None = None,
        limits: SpanLimits | None = None,
    ) -> None:
        self.observers: tuple[Observer, ...] = ()
        self.configure(
            emit or discard,
            enabled=emit is not None,
            resource=resource or Resource("unknown_service"),
            sampler=sampler,
            ids=ids,
            clock=clock,
            limits=limits,
        )

    def configure(
        self,
        emit: Emit,
        *,
        enabled: bool = True,
        resource: Resource | None = None,
        sampler: Sampler | None = None,
        ids: IdGenerator | None = None,
        clock: Clock | None = None,
        limits: SpanLimits | None = None,
        join: bool = False,
        record_unsampled: bool = False,
        unsampled: Count | None = None,
    ) -> None:
        """Set every part anew; what is not named takes its default.

        ``join`` lets a server span take over the span id of the caller (Zipkin's shared spans).
        ``record_unsampled`` records unsampled spans too and emits them without the SAMPLED flag,
        for destinations that count. ``unsampled`` counts the spans that are not recorded.
        """
        self.emit = emit
        self._observe()
        self.enabled = enabled
        self.resource = resource or Resource("unknown_service")
        self.set_ids(ids or RandomIds())
        self.set_clock(clock or Clock())
        self.limits = limits or SpanLimits()
        self.join = join
        self.record_unsampled = record_unsampled
        self.unsampled = unsampled or new_count()
        self.set_sampler(sampler or ParentBased(AlwaysOn()))

    def disable(self) -> None:
        """Start no more spans. What is finished already can still be read as it was."""
        self.emit = discard
        self.started = None
        self.enabled = self.keep_all = False
        self._choose_ahead(None)
        self.unsampled = new_count()

    def add_observer(self, observer: Observer) -> None:
        """Tell ``observer`` of every recorded span. It stays when the pipeline is set up anew."""
        self.observers = (*self.observers, observer)
        self._observe()

    def _observe(self) -> None:
        """Put the observers around ``emit``; without any, nothing stands in the way."""
        emit = getattr(self.emit, "unobserved", self.emit)
        self.started = None
        if self.observers and emit is not discard:
            observed = Observed(emit, self.observers)
            self.started, emit = observed.started, observed
        self.emit = emit

    def saved(self) -> dict[str, Any]:
        """All parts as they are, for :meth:`restore`."""
        return {part: getattr(self, part) for part in _PARTS}

    def restore(self, parts: dict[str, Any]) -> None:
        """Put back what :meth:`saved` gave."""
        for part, value in parts.items():
            setattr(self, part, value)

    def set_sampler(self, sampler: Sampler) -> None:
        """Decide with ``sampler`` from now on."""
        self.sampler = sampler
        floor = getattr(sampler, "rejected_below", None)
        self.keep_all = self.enabled and floor == 0
        self._choose_ahead(floor if self.enabled and not self.record_unsampled else None)

    def unsampled_trace_id(self) -> int:
        """An id for a trace that was turned down before it had one."""
        trace_id, choice = self.ids.generate_trace_id(), self.choice
        if choice is None or type(self.ids) is not RandomIds:
            return trace_id
        return choice.rejected(trace_id)

    def _choose_ahead(self, floor: int | None) -> None:
        """Choose roots before they have an id, where the sampler keeps the ids from ``floor`` on
        and ids may be made to suit the choice."""
        self.choice = None
        self.unsampled.advance(0)
        may_suit = floor == NONE_KEPT or type(self.ids) is RandomIds
        if floor and may_suit and type(self.unsampled) is Count:
            self.choice = RootChoice(floor, self.unsampled)

    def set_ids(self, ids: IdGenerator) -> None:
        """Take ids from ``ids``, an :class:`IdGenerator`; one with ``bits(width)`` is called so."""
        self.ids = ids
        bits = getattr(ids, "bits", None) or _bits_of(ids)
        self.bits = bits if may_start_threads() else _noticing_forks(self, bits)
        self.spell = getattr(ids, "spell", format_trace_id)
        self.root_flags = SAMPLED | (RANDOM if getattr(ids, "random", False) else 0)

    def set_clock(self, clock: Clock) -> None:
        """Read time from ``clock``."""
        self.clock = clock
        self.now = clock.monotonic_ns


_PARTS = (*PipelineSlots.__slots__, *Pipeline.__slots__)

provide(Pipeline=Pipeline)


class Observer(Protocol):
    """Hears of spans on the thread that starts and finishes them."""

    def on_start(self, span: RecordedSpan) -> None: ...
    def on_end(self, span: RecordedSpan) -> None: ...


class Observed:
    """An ``emit`` with observers. What one of them raises is logged and goes no further."""

    def __init__(self, unobserved: Emit, observers: tuple[Observer, ...]) -> None:
        self.unobserved, self._observers = unobserved, observers

    def started(self, span: RecordedSpan) -> None:
        """A span was started."""
        for observer in self._observers:
            try:
                observer.on_start(span)
            except Exception:
                _log.debug("an observer of spans failed", exc_info=True)

    def __call__(self, span: RecordedSpan) -> None:
        for observer in self._observers:
            try:
                observer.on_end(span)
            except Exception:
                _log.debug("an observer of spans failed", exc_info=True)
        self.unobserved(span)


def _noticing_forks(pipeline: Pipeline, bits: Callable[[int], int]) -> Callable[[int], int]:
    """``bits`` in uWSGI's master, whose workers are not told where the application took our hook.

    With its first id a worker finds out that it was forked; from there on it costs nothing.
    """
    master = os.getpid()

    def noticing(width: int) -> int:
        if os.getpid() != master:
            notice_fork()
            if pipeline.bits is noticing:
                pipeline.bits = bits
        return bits(width)

    return noticing


def _bits_of(ids: IdGenerator) -> Callable[[int], int]:
    """A generator of the application's, called with care: it may raise or give no id."""
    spare = RandomIds().bits

    def bits(width: int) -> int:
        try:
            made = ids.generate_trace_id() if width > 64 else ids.generate_span_id()
            if 0 < made < 1 << width:
                return made
        except Exception:
            _log.debug("the id generator failed", exc_info=True)
        return spare(width)

    return bits
