"""Wiring: configuration -> sampler -> pipeline -> ring -> flusher -> destinations.

This is the only place where these meet. Nothing here raises for a wrong value: it is reported and
the default is used. No thread starts before the first span does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from exporters.destination import Deadline, Destination
from exporters.flusher import Flusher
from exporters.ledger import Ledger
from exporters.records import Resource
from exporters.ring import Ring

from . import api, config, misspelt
from .clock import Clock
from .config import Config
from .forks import renew_after_fork
from .identity import IdGenerator, RandomIds
from .limits import SpanLimits
from .pipeline import Pipeline
from .propagation.composite import BY_NAME, composite, set_global
from .sampling import AlwaysOff, AlwaysOn, ParentBased, Ratio, Sampler
from .sampling_rate import KInHundred, RateLimited
from .sampling_rules import RulesFile
from .sofa_ids import SofaIds
from .span import Span
from .tail import TailBuffer

if TYPE_CHECKING:
    from exporters.collector import CollectorDestination

_log = logging.getLogger("lookout")

#: How often the wall clock is compared with the anchor taken at the start.
_CLOCK_CHECK_S = 60.0


class Sdk:
    """The parts of a running SDK. Made by :func:`init`."""

    def __init__(
        self,
        settings: Config,
        pipeline: Pipeline,
        destinations: Sequence[Destination] = (),
        *,
        ids: IdGenerator | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = settings
        self.pipeline = pipeline
        self.ledger = Ledger(settings.service_name)
        self.ring: Ring[Span] = Ring(settings.ring_capacity, settings.ring_policy)
        self.collector = _collector(settings)
        #: What else has something to hand over when a flush is asked for, such as metrics; each
        #: is told how many seconds it has and answers whether they were enough.
        self.before_flush: list[Callable[[float], bool]] = []
        #: The same for the end.
        self.before_shutdown: list[Callable[[float], bool]] = []
        self.flusher = Flusher(
            self.ring,
            ledger=self.ledger,
            batch=settings.flush_batch,
            interval_s=settings.flush_interval_s,
            exit_timeout_s=settings.exit_timeout_s,
        )
        self._wire(ids, clock)
        if self.collector is not None:
            self.add_destination(self.collector)
        if settings.log_dir:
            self.add_destination(_logs(settings))
        for destination in destinations:
            self.add_destination(destination)

    def add_destination(self, destination: Destination) -> None:
        """Send finished spans to ``destination`` too."""
        self.flusher.add_destination(destination)

    def flush(self, timeout: float = 5.0) -> bool:
        """Hand over everything finished so far. False when ``timeout`` seconds were not enough."""
        deadline = Deadline(timeout)
        ready = _all_done(self.before_flush, deadline)
        return self.flusher.flush(deadline.left()) and ready

    @contextlib.contextmanager
    def before_exit(self, share: float) -> Iterator[float]:
        """The seconds that a flush may take which the one at exit will follow: a ``share`` of the
        exit timeout.

        What the block takes is taken off that, because whoever ends the process waits for both of
        them together.
        """
        began = time.monotonic()
        try:
            yield self.flusher.exit_timeout_s * share
        finally:
            left = self.flusher.exit_timeout_s - (time.monotonic() - began)
            self.flusher.exit_timeout_s = max(left, 0.0)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Flush and stop. Spans started later record nothing. False when the time was too short.

        Without ``timeout`` it may take what is left of the exit timeout.
        """
        self.pipeline.disable()
        deadline = Deadline(self.flusher.exit_timeout_s if timeout is None else timeout)
        ended = _all_done(self.before_shutdown, deadline)
        return self.flusher.shutdown(deadline.left()) and ended

    def _wire(self, ids: IdGenerator | None, clock: Clock | None) -> None:
        settings = self.config
        tail = settings.keep_errors or settings.keep_slower_than_s is not None
        counted = settings.count_unsampled
        if counted is None:
            counted = settings.log_dir is not None  # the statistics logs count all traffic
        self.pipeline.configure(
            self._emit(tail, counted),
            enabled=settings.enabled,
            resource=Resource(settings.service_name, resource_attributes(settings)),
            sampler=sampler_of(settings),
            ids=ids or (SofaIds() if settings.ids == "sofa" else RandomIds()),
            clock=clock,
            limits=_limits(settings),
            join=settings.join_spans,
            record_unsampled=counted or tail,
            unsampled=self.ledger.unrecorded,
        )
        self.flusher.schedule(_CLOCK_CHECK_S, self.pipeline.clock.anchor_again, eager=False)

    def _emit(self, tail: bool, counted: bool) -> Any:
        """Where finished spans go: straight into the ring, or there by way of a tail buffer."""
        offer: Any = self.ring.offer
        if not tail:
            return offer
        return TailBuffer(
            offer,
            offer if counted else lambda span: self.ledger.sample_out(),
            errors=self.config.keep_errors,
            slower_than_s=self.config.keep_slower_than_s,
        ).emit


def _all_done(works: Sequence[Callable[[float], bool]], deadline: Deadline) -> bool:
    """Do each in half of the time left; whether all were done."""
    done = True
    for work in works:
        try:
            done = work(deadline.left() / 2) and done
        except Exception:
            _log.debug("something to be handed over was not", exc_info=True)
            done = False
    return done


def init(
    service_name: str | None = None,
    *,
    config_file: str | os.PathLike[str] | None = None,
    destinations: Sequence[Destination] = (),
    ids: IdGenerator | str | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> Sdk:
    """Set up tracing for this process; ``settings`` are the fields of :class:`tracer.Config`.

    Called again it stops the earlier set-up and takes its place, and one log line says so; tracers,
    decorators and functions obtained before follow. TypeError for a setting that does not exist; a
    wrong value is reported in one log line and the next source of that setting is used.

    :param destinations: further :class:`exporters.destination.Destination` for finished spans.
    :param ids: "random", "sofa", or an :class:`tracer.identity.IdGenerator` of your own.
    """
    if service_name is not None:
        settings["service_name"] = service_name
    if isinstance(ids, str):
        settings["ids"], ids = ids, None
    return start(
        config.load(settings, file=config_file), destinations=destinations, ids=ids, clock=clock
    )


def start(
    settings: Config,
    *,
    destinations: Sequence[Destination] = (),
    ids: IdGenerator | None = None,
    clock: Clock | None = None,
) -> Sdk:
    """:func:`init` with a configuration that is already there."""
    with _process.lock:
        previous, _process.sdk = _process.sdk, None
        if previous is not None:
            before, now = previous.config.service_name, settings.service_name
            _log.warning("init again: that of %r ends, %r takes its place", before, now)
            previous.shutdown(settings.exit_timeout_s)
        sdk = _process.sdk = Sdk(settings, api.PIPELINE, destinations, ids=ids, clock=clock)
        set_global(_propagators(settings))
        misspelt.report()  # only now there is a log of our own that hears of it
        if settings.flush_on_sigterm:
            _flush_on_sigterm()
        return sdk


class _Process:
    """The SDK of this process, if any."""

    def __init__(self) -> None:
        self.sdk: Sdk | None = None
        self.in_workers = False  # whether multiprocessing knows of us
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        self.lock = threading.RLock()


_process = _Process()


def _before_fork() -> None:
    """Have multiprocessing's forked workers flush: they end without Python's exit handlers."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _process.in_workers:
        _process.in_workers = True
        util.register_after_fork(_process, _in_worker)


def _in_worker(_: _Process) -> None:
    """In the worker: the finalizers multiprocessing does run come last in its life."""
    sys.modules["multiprocessing.util"].Finalize(None, shutdown, exitpriority=0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)


def running() -> Sdk | None:
    """The SDK that ``init`` set up, None before and after."""
    return _process.sdk


def flush(timeout: float = 5.0) -> bool:
    """Hand over everything finished so far. False when ``timeout`` seconds were not enough."""
    sdk = _process.sdk
    return sdk.flush(timeout) if sdk is not None else True


def shutdown(timeout: float | None = None) -> bool:
    """Flush and stop tracing, within ``timeout`` seconds (the exit timeout by default)."""
    sdk, _process.sdk = _process.sdk, None
    return sdk.shutdown(timeout) if sdk is not None else True


def ledger() -> Mapping[str, Any]:
    """What became of every span so far, as plain values; empty before ``init``."""
    sdk = _process.sdk
    return sdk.ledger.snapshot() if sdk is not None else {}


def sampler_of(settings: Config) -> Sampler:
    """The sampler a configuration names; what it cannot be is reported and all is kept."""
    given = settings.sampler
    if not isinstance(given, str):
        return given  # type: ignore[no-any-return]  # an object with ``sample``
    follow, _, name = given.rpartition(":")
    try:
        sampler = _named_sampler(name, settings)
    except ValueError as problem:
        _log.warning("sampler %s ignored: %s; every trace is kept", given, problem)
        sampler = AlwaysOn()
    return ParentBased(sampler) if follow else sampler


def _named_sampler(name: str, settings: Config) -> Sampler:
    number = settings.sampler_arg
    if name == "never":
        return AlwaysOff()
    if name == "ratio":
        return Ratio(number)
    if name == "rate":
        return RateLimited(number)
    if name == "k_in_100":
        return KInHundred(number)
    if name == "rules":
        if not settings.sampling_rules:
            raise ValueError("sampling_rules names no file")
        return RulesFile(settings.sampling_rules)
    return AlwaysOn()


def resource_attributes(settings: Config) -> dict[str, Any]:
    """Who this process is, in OpenTelemetry's terms."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        ours = version("lookout-telemetry")
    except PackageNotFoundError:
        ours = "unknown"
    return {
        "telemetry.sdk.name": "lookout",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": ours,
        "process.pid": os.getpid(),
        **settings.resource,
        "service.name": settings.service_name,
    }


def _collector(settings: Config) -> CollectorDestination | None:
    if not settings.enabled or not settings.collector:
        return None
    # Its HTTP client is half of this package's import time; a process without one is spared it.
    from exporters.collector import CollectorDestination

    try:
        return CollectorDestination(
            settings.collector,
            token=settings.token,
            headers={name: str(value) for name, value in settings.headers.items()},
            spill=settings.spill_dir,
        )
    except Exception as problem:
        _log.warning("collector %s ignored: %s", settings.collector, problem)
        return None


def _logs(settings: Config) -> Destination:
    from exporters.isolated import Isolated
    from exporters.logs import RollingLogs

    # On a thread of its own: a disk that hangs must not stop the way to the collector. It costs
    # nothing that could be measured.
    return Isolated(RollingLogs(settings.log_dir or ""))


def _limits(settings: Config) -> SpanLimits:
    return SpanLimits(
        tags=settings.max_tags,
        events=settings.max_events,
        links=settings.max_links,
        event_attributes=settings.max_event_attributes,
        link_attributes=settings.max_link_attributes,
        value_length=settings.max_value_length,
        stack_frames=settings.max_stack_frames,
    )


def _propagators(settings: Config) -> Any:
    write = settings.propagators
    read = settings.propagators_read
    if not read and write:
        read = (*write, *(name for name in BY_NAME if name not in write))
    return composite(read, write)


def _flush_on_sigterm() -> None:
    """Flush when SIGTERM comes, then let what was there before have it."""
    if threading.current_thread() is not threading.main_thread():
        _log.warning("flush_on_sigterm ignored: init was not called by the main thread")
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is None:  # it could be neither called nor put back
        _log.warning("flush_on_sigterm ignored: SIGTERM has a handler not made in Python")
        return
    if getattr(before, "_lookout", False):
        return

    def on_sigterm(number: int, frame: Any) -> None:
        if _process.sdk is not None:
            _flush_at_sigterm(_process.sdk, before)
        if callable(before):
            before(number, frame)
        elif before != signal.SIG_IGN:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    on_sigterm._lookout = True  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, on_sigterm)


def _flush_at_sigterm(sdk: Sdk, before: Any) -> None:
    # Where the process goes on or ends in an orderly way, spans that are open now may finish
    # yet, and the flush at exit takes them.
    if callable(before):
        with sdk.before_exit(share=0.5) as timeout:
            _aside(sdk.flush, timeout)
    else:
        work = sdk.flush if before == signal.SIG_IGN else shutdown
        _aside(work, sdk.flusher.exit_timeout_s)


#: What a shutdown may take beyond its deadline, to put aside what it could not send.
_LAST_WORDS_S = 1.0


def _aside(work: Callable[[float], object], timeout: float) -> None:
    """Flush or shut down for a signal handler, which may have interrupted a holder of the locks
    needed.

    On a thread, so that such a lock costs the deadline and not the end of the process.
    """
    thread = threading.Thread(target=work, args=(timeout,), name="lookout-sigterm", daemon=True)
    with contextlib.suppress(RuntimeError):  # the interpreter is ending: its exit handlers flush
        thread.start()
        thread.join(timeout + _LAST_WORDS_S)
