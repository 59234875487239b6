"""The directory of a process's logs: digests, statistics, errors, profile, self.

    DIR/http-server-digest.log    one line per sampled span, a file per kind of work
    DIR/http-server-stat.log      one line per key and minute, of all spans
    DIR/middleware_error.log      spans that failed, with their stack
    DIR/rpc-profile.log           events named "profile", when asked for
    DIR/tracer-self.log           the library's own drops and failures
    DIR/shadow/                   the same files for load-test traffic (baggage ``mark=T``)

Files are made when their first line is written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from . import stat
from .destination import Deadline, LocalDestination
from .digest import DelimitedDigest, LineEncoder
from .errors_log import ErrorLines, ProfileLines
from .json_digest import JsonDigest
from .ledger import DESTINATION_FAILED, UNWRITABLE, Ledger
from .records import CARRIES_NONE, SAMPLED, FinishedSpan, SpanRecord, read
from .retention import Retention
from .rolling_log import RollingLog
from .self_log import SelfLog
from .stat import Stats
from .tag_rules import TagRules
from .work import BIZ, Work, has_failed, work_of

_log = logging.getLogger("lookout")

Format = Literal["json", "delimited"]

_SLICE = 256  # spans
#: What is written to one file at once. A page is as long as a turn of the flusher allows: each
#: write gives up the interpreter, and beside a thread that computes it is up to a switch interval
#: (5 ms) until this one has it back, the file locked.
_PAGE_BYTES = 1_000_000


class _Page:
    """Lines for one file, and how many spans they tell of."""

    __slots__ = ("lines", "size", "spans")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self.spans = 0

    def add(self, lines: bytes, spans: int) -> None:
        """Put ``lines`` behind the others."""
        self.lines.append(lines)
        self.size += len(lines)
        self.spans += spans


class RollingLogs(LocalDestination):
    """Writes spans to rolling log files in ``directory``.

    ``works`` tells a span's kind of work, and so its file; a custom one may fall back to
    :func:`exporters.work.work_of`. ``encoder`` replaces the digest's format. ``digest`` False
    keeps only statistics; ``profile`` gives events named "profile" a log of their own. Rolling,
    retention and fsync are :class:`RollingLog`'s.
    """

    name = "logs"
    #: Statistics count the spans that the sampler turned down too, if they are recorded.
    counts_unsampled = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        format: Format = "json",
        encoder: LineEncoder | None = None,
        rules: TagRules | None = None,
        works: Callable[[SpanRecord], Work] = work_of,
        digest: bool = True,
        stats: bool = True,
        stat_keys: int = 5_000,
        profile: bool = False,
        self_log: bool = True,
        rhythm: str = "daily",
        max_bytes: int = 0,
        retention: Retention | None = None,
        fsync_s: float | None = None,
        shared: bool | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        if format not in {"json", "delimited"}:
            raise ValueError(f"format must be json or delimited, not {format!r}")
        self._directory = Path(directory)
        self._works = works
        self._digest = digest
        self._with_stats = stats
        self._stat_keys = stat_keys
        self._stat_line = stat.json_line if format == "json" else stat.delimited_line
        self._encoder = encoder or (JsonDigest if format == "json" else DelimitedDigest)(rules)
        self._errors = ErrorLines(format, rules)
        self._profile = ProfileLines(format) if profile else None
        self._options: dict[str, Any] = {
            "rhythm": rhythm,
            "max_bytes": max_bytes,
            "retention": retention,
            "fsync_s": fsync_s,
            "clock": clock,
        }
        if shared is not None:
            self._options["shared"] = shared
        # A page must not make a file much larger than it may be.
        self._page_bytes = min(_PAGE_BYTES, max_bytes // 16) if max_bytes else _PAGE_BYTES
        self._clock = clock
        self._files: dict[tuple[str, bool], RollingLog] = {}
        self._stats: dict[str, tuple[Work, Stats]] = {}
        self._lock = threading.Lock()  # the flusher's thread against a flush from elsewhere
        own = RollingLog(self._directory / "tracer-self.log", quiet=True, **self._options)
        self._self_log = SelfLog(own) if self_log else None

    def open(self, ledger: Ledger) -> None:
        super().open(ledger)
        if self._self_log is not None:
            self._self_log.open(ledger)

    @property
    def periodic_tasks(self) -> Sequence[tuple[float, Callable[[], object]]]:
        """What the flusher must do from time to time, in seconds."""
        return ((60.0, self.write_stats), (60.0, self.tidy))

    def accept(self, records: Sequence[SpanRecord]) -> None:
        with self._lock:
            pages: dict[tuple[str, bool], _Page] = {}
            # In slices that stay in the processor's cache from the first look to the last.
            for start in range(0, len(records), _SLICE):
                self._accept_slice(records[start : start + _SLICE], pages)
            for (name, shadow), page in pages.items():
                self._write(name, shadow, page)

    def write_stats(self) -> None:
        """Write the statistics of the period that ends now."""
        with self._lock:
            now_ns = int(self._clock() * 1e9)
            for work, stats in self._stats.values():
                entries = stats.take()
                for shadow in (False, True):
                    mine = [entry for entry in entries if entry[0].load_test is shadow]
                    if mine:
                        text = stat.lines(work, mine, self._stat_line, now_ns)
                        self._open(f"{work.name}-stat.log", shadow).write(text)
        if self._self_log is not None:
            self._self_log.write_ledger()

    def tidy(self) -> None:
        """Roll files nobody writes to any more."""
        with self._lock:
            for file in self._files.values():
                file.roll_if_due()

    def flush(self, deadline: Deadline) -> bool:
        with self._lock:
            for file in self._files.values():
                file.sync()
        return True

    def shutdown(self, deadline: Deadline) -> bool:
        if self._self_log is not None:
            self._self_log.close()
        with self._lock:
            for file in self._files.values():
                file.close()
        return True

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._stats.clear()
        for file in self._files.values():
            file.after_fork()
        if self._self_log is not None:
            self._self_log.after_fork()

    def _sort(self, spans: Sequence[FinishedSpan]) -> list[tuple[Work, bool, list[FinishedSpan]]]:
        works = self._works
        others: Sequence[FinishedSpan] = spans
        groups: dict[tuple[int, bool], tuple[Work, bool, list[FinishedSpan]]] = {}
        if works is work_of:  # which says of inner work, most of all, only that it is that
            plain = [span for span in spans if not span.kind and span.baggage is None]
            groups[id(BIZ), False] = (BIZ, False, plain)
            if len(plain) == len(spans):
                return list(groups.values())
            others = [span for span in spans if span.kind or span.baggage is not None]
        for span in others:
            work, shadow = works(span), span.baggage is not None and is_load_test(span)
            # Keyed by identity: hashing a work's fields anew for each span costs more.
            groups.setdefault((id(work), shadow), (work, shadow, []))[2].append(span)
        return [group for group in groups.values() if group[2]]

    def _accept_slice(
        self, records: Sequence[SpanRecord], pages: dict[tuple[str, bool], _Page]
    ) -> None:
        try:
            groups = self._sort(read(records))
        except Exception:  # a ``works`` that cannot tell
            _log.debug("spans could not be sorted into logs", exc_info=True)
            self._settle(
                sum(bool(record.flags & SAMPLED) for record in records), DESTINATION_FAILED
            )
            return
        for work, shadow, group in groups:
            self._accept_group(work, shadow, group, pages)

    def _accept_group(
        self,
        work: Work,
        shadow: bool,
        group: list[FinishedSpan],
        pages: dict[tuple[str, bool], _Page],
    ) -> None:
        # What fails here fails for this group and this file alone: others stay as counted.
        if self._with_stats:
            with _contained("statistics"):
                self._count(work, shadow, group)
        sampled = [span for span in group if span.flags & SAMPLED]
        if not sampled:
            return
        if self._digest:
            self._add_digest(work, shadow, sampled, pages)
        else:
            self._settle(len(sampled), "")
        if any([span.status for span in sampled]):  # noqa: C419 -- a list is faster here
            with _contained("errors"):
                self._write_errors(shadow, sampled)
        if self._profile is not None:
            with _contained("profile"):
                self._write_profile(self._profile, shadow, sampled)

    def _add_digest(
        self,
        work: Work,
        shadow: bool,
        spans: list[FinishedSpan],
        pages: dict[tuple[str, bool], _Page],
    ) -> None:
        """Put the lines of ``spans`` onto their file's page, and write it when it is full."""
        try:
            lines = self._encoder.encode(work, spans)
        except Exception:
            _log.debug("the digest of a group of spans failed", exc_info=True)
            self._settle(len(spans), DESTINATION_FAILED)
            return
        key = (f"{work.name}-digest.log", shadow)
        page = pages.get(key)
        if page is None:
            page = pages[key] = _Page()
        elif page.size + len(lines) > self._page_bytes:
            self._write(*key, page)
            page = pages[key] = _Page()
        page.add(lines, len(spans))

    def _settle(self, count: int, reason: str) -> None:
        """Count so many spans as written, or as dropped for ``reason``."""
        self.account.offer(count)
        if reason:
            self.account.drop(reason, count)
        else:
            self.account.send(count)
            self.account.acknowledge(count)

    def _write(self, name: str, shadow: bool, page: _Page) -> None:
        done = self._open(name, shadow).write(b"".join(page.lines))
        self._settle(page.spans, "" if done else UNWRITABLE)

    def _count(self, work: Work, shadow: bool, group: list[FinishedSpan]) -> None:
        known = self._stats.get(work.name)
        if known is None:
            known = self._stats[work.name] = (work, Stats(work, self._stat_keys))
        known[1].add(group, shadow)

    def _write_errors(self, shadow: bool, records: list[FinishedSpan]) -> None:
        failed = [record for record in records if has_failed(record)]
        if failed:
            self._open("middleware_error.log", shadow).write(self._errors.encode(failed))

    def _write_profile(
        self, profile: ProfileLines, shadow: bool, records: list[FinishedSpan]
    ) -> None:
        lines = profile.encode([record for record in records if record.events])
        if lines:
            self._open("rpc-profile.log", shadow).write(lines)

    def _open(self, name: str, shadow: bool) -> RollingLog:
        file = self._files.get((name, shadow))
        if file is None:
            folder = self._directory / "shadow" if shadow else self._directory
            file = RollingLog(folder / name, **self._options)
            self._files[name, shadow] = file
        return file


@contextlib.contextmanager
def _contained(what: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        _log.debug("the %s of a group of spans failed", what, exc_info=True)


def is_load_test(span: FinishedSpan) -> bool:
    """Whether the span belongs to load-test traffic: baggage ``mark=T``.

    Of a span that cannot carry baggage: the tag ``load.test`` that is "T".
    """
    baggage = span.baggage
    if baggage is None:
        return False
    if baggage is CARRIES_NONE:
        return (span.tags or {}).get("load.test") == "T"
    return bool(baggage.biz.get("mark") == "T" or baggage.sys.get("mark") == "T")
