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
from .digest import DelimitedDigest, JsonDigest, LineEncoder
from .errors_log import ErrorLines, ProfileLines
from .ledger import DESTINATION_FAILED, UNWRITABLE, Ledger
from .records import SAMPLED, SpanRecord, read
from .retention import Retention
from .rolling_log import RollingLog
from .self_log import SelfLog
from .stat import Stats
from .tag_rules import TagRules
from .work import BIZ, Work, has_failed, work_of

_log = logging.getLogger("lookout")

Format = Literal["json", "delimited"]

_SLICE = 256  # spans


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
            # In slices that stay in the processor's cache from the first look to the last.
            for start in range(0, len(records), _SLICE):
                self._accept_slice(records[start : start + _SLICE])

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

    def _sort(self, records: Sequence[SpanRecord]) -> list[tuple[Work, bool, list[SpanRecord]]]:
        # Work is keyed by identity: hashing its fields anew for each span would cost more than
        # all else here.
        usual: dict[int, tuple[Work, list[SpanRecord]]] = {}
        shadow: dict[int, tuple[Work, list[SpanRecord]]] = {}
        works = self._works
        standard = works is work_of  # which says of inner work, most of all, only that it is that
        for record in records:
            work = BIZ if standard and not record.kind else works(record)
            baggage = getattr(record, "baggage", _NO_BAGGAGE)
            groups = shadow if baggage is not None and is_load_test(record) else usual
            number = id(work)
            if number in groups:
                groups[number][1].append(record)
            else:
                groups[number] = (work, [record])
        return [
            (work, groups is shadow, group)
            for groups in (usual, shadow)
            for work, group in groups.values()
        ]

    def _accept_slice(self, records: Sequence[SpanRecord]) -> None:
        try:
            groups = self._sort(read(records))
        except Exception:  # a ``works`` that cannot tell
            _log.debug("lookout: spans could not be sorted into logs", exc_info=True)
            self._settle([r for r in records if r.flags & SAMPLED], DESTINATION_FAILED)
            return
        for work, load_test, group in groups:
            self._accept_group(work, load_test, group)

    def _accept_group(self, work: Work, shadow: bool, group: list[SpanRecord]) -> None:
        # What fails here fails for this group and this file alone: others stay as counted.
        if self._with_stats:
            with _contained("statistics"):
                self._count(work, shadow, group)
        sampled = [record for record in group if record.flags & SAMPLED]
        if not sampled:
            return
        reason = DESTINATION_FAILED
        with _contained("digest"):
            done = not self._digest or self._write(f"{work.name}-digest.log", shadow, work, sampled)
            reason = "" if done else UNWRITABLE
        self._settle(sampled, reason)
        if any([record.status for record in sampled]):  # noqa: C419 -- a list is faster here
            with _contained("errors"):
                self._write_errors(shadow, sampled)
        if self._profile is not None:
            with _contained("profile"):
                self._write_profile(self._profile, shadow, sampled)

    def _settle(self, records: Sequence[SpanRecord], reason: str) -> None:
        """Count ``records`` as written, or as dropped for ``reason``."""
        count = len(records)
        self.account.offer(count)
        if reason:
            self.account.drop(reason, count)
        else:
            self.account.send(count)
            self.account.acknowledge(count)

    def _write(self, name: str, shadow: bool, work: Work, records: list[SpanRecord]) -> bool:
        return self._open(name, shadow).write(self._encoder.encode(work, records))

    def _count(self, work: Work, shadow: bool, group: list[SpanRecord]) -> None:
        known = self._stats.get(work.name)
        if known is None:
            known = self._stats[work.name] = (work, Stats(work, self._stat_keys))
        known[1].add(group, shadow)

    def _write_errors(self, shadow: bool, records: list[SpanRecord]) -> None:
        failed = [record for record in records if has_failed(record)]
        if failed:
            self._open("middleware_error.log", shadow).write(self._errors.encode(failed))

    def _write_profile(
        self, profile: ProfileLines, shadow: bool, records: list[SpanRecord]
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
        _log.debug("lookout: the %s of a group of spans failed", what, exc_info=True)


def is_load_test(record: SpanRecord) -> bool:
    """Whether the span belongs to load-test traffic: baggage ``mark=T``.

    Of a span that cannot carry baggage: the tag ``load.test`` that is "T".
    """
    baggage = getattr(record, "baggage", _NO_BAGGAGE)
    if baggage is None:
        return False
    if baggage is _NO_BAGGAGE:
        return (record.tags or {}).get("load.test") == "T"
    return bool(baggage.biz.get("mark") == "T" or baggage.sys.get("mark") == "T")


_NO_BAGGAGE: Any = object()
