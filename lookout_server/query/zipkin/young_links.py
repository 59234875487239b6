"""Links of the last two hours, kept up in memory with every batch that is stored.

Only while the database is embedded, for the one who writes alone knows all spans. A trace is *open*
while spans of it come: they are held, and linked again with those that join them. After some quiet
seconds it is *closed*: its calls are in the sums of the five minutes it began in, and of the trace
only its folded id is left. Where a span comes later still, what was stored of the trace is read
before the span is (on the writer's thread: nothing is being stored then), its calls are taken off
again, and it is open once more.

What is held of five minutes is true if the counts of spans say that all of an hour before them came
by here. So a start reads the last two hours, if these are not too many.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

import numpy as np
import pyarrow as pa

from ...server import Server
from ...spans.news import News
from ...spans.signal import SpanSignal
from ...spans.tables import BUCKET_US
from ...store.port import StoreError
from .link_sums import LinkSums
from .span_counts import BUCKET_MS, REACH, SpanCounts
from .young_tenant import AHEAD, Changed, Folds, Share, TenantLinks, buckets_of, lows_of

log = logging.getLogger("lookout.links")

#: A trace that got no span for so long is closed.
_QUIET_S = 20.0
#: Looked for so often, if nothing comes (s).
_CLOSING_S = 2.0
#: Spans of open traces, some 60 bytes each; beyond it the oldest are closed earlier.
_OPEN_MOST = 400_000
#: Spans of batches that wait to be linked: beyond it the tenant that has most is let go.
_WAITING_MOST = 300_000
#: Closed traces that are known by their folded ids, four bytes each.
_CLOSED_MOST = 12_000_000
#: Five minutes whose spans are held, back from now (two hours and a half: those are linked for good
#: whose end is 70 minutes ago, with what is an hour around).
_BACK = 30
#: Five minutes and spans that a start reads at most, and spans that it links at once.
_BEGIN_BACK, _BEGIN_MOST, _AT_ONCE = 2 * REACH, 1_000_000, 200_000
#: Traces that spans of one batch may come late for, and spans that are stored of these.
_LATE_MOST, _LATE_SPANS_MOST = 20_000, 50_000
#: Seconds in so many that the writer may read for late spans, of all tenants (each takes a query of
#: some 40 ms, one of 20,000 traces 200): beyond it the one that took most is let go.
_READING_MOST_S, _READING_S = 12.0, 60.0
#: Spans of one trace: one that never ends would be linked again with every batch.
_TRACE_MOST = 20_000
#: A tenant with more than this of anything is held again so much later (s).
_PAUSE_S = 300.0
#: Spans a second, over so many seconds, beyond which they wait to be linked until somebody asks or
#: fewer come: a microsecond of CPU each, and storing needs all there is then.
_RATE_MOST, _RATE_S = 50_000, 4.0
#: Beyond so many questions do not wait until the spans are linked that were stored in the latest
#: second: each batch takes some hundred ms then, of which most is waiting for a core.
_RATE_BUSY, _BEHIND_MOST_S = 5_000, 1.0
#: Tenants that are held, and begun with one batch (each takes two queries).
_TENANTS_MOST, _BEGUN_AT_ONCE = 200, 4

_COLUMNS = "low, bucket, ids, ts, flags, service, address, remote"
_SINCE = f"""
SELECT {_COLUMNS} FROM spans
WHERE tenant = {{tenant:String}} AND bucket BETWEEN {{first:UInt32}} AND {{last:UInt32}}
"""
_COUNT = """
SELECT sum(spans) AS spans FROM span_counts
WHERE tenant = {tenant:String} AND bucket BETWEEN {first:UInt32} AND {last:UInt32}
"""
_TRACES = f"""
SELECT {_COLUMNS} FROM spans
WHERE tenant = {{tenant:String}} AND (bucket, fold) GLOBAL IN (
    SELECT bucket, fold FROM trace_index
    WHERE tenant = {{tenant:String}} AND fold IN {{folds:Array(UInt32)}}
    AND bucket BETWEEN {{first:UInt32}} AND {{last:UInt32}})
LIMIT {{most:UInt32}}
"""

_Fetch = Callable[[str, Mapping[str, Any]], pa.Table]


@dataclass(frozen=True, slots=True)
class Held:
    """What is known in memory of the five minutes that were asked for."""

    sums: dict[int, LinkSums]
    #: Of those the range ends in: the traces that began until then.
    ending: LinkSums | None
    #: And whether they are still what somebody read of them.
    changed: Changed | None
    #: What it is true for.
    counts: SpanCounts
    #: Whether it is all that can be known: asked again a moment later there would be no more.
    complete: bool


class YoungLinks:
    """Of all tenants. Thread-safe."""

    def __init__(self, fetch: _Fetch, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        #: Of what is told and asked of here, for short; of linking, which takes its time.
        self._lock, self._linking = threading.Lock(), threading.Lock()
        self._tenants: OrderedDict[str, TenantLinks] = OrderedDict()
        self._closed_at = 0.0
        #: Until when tenants are not held that had too much.
        self._paused: dict[str, float] = {}
        self._rate = _Rate()
        self._reading = _Reading()
        self._underway: list[Share] = []
        self._waiting: deque[Share] = deque()

    @classmethod
    def of(cls, server: Server) -> YoungLinks | None:
        """The one of a collector that is told all that is stored; None for any other."""
        writers = getattr(server, "writers", None)
        if writers is None or server.config.clickhouse_url is not None:
            return None
        signal: SpanSignal = writers["spans"].signal
        return signal.news.rememberer(cls, lambda: cls(server.store.fetch))

    # -- the writer's thread -------------------------------------------------------------

    def underway(self, news: News) -> None:
        """A batch is about to be stored: read what its late spans change."""
        for tenant, spans in _by_tenants(news, self._wanted(news.buckets)):
            try:
                self._expect(tenant, spans)
            except _TooMany as error:
                self._pause(tenant, str(error))
            except StoreError as error:
                log.warning("links of %s cannot be read: %s", tenant, error)
                self._pause(tenant, "what is stored of it cannot be read")
            except Exception:  # nothing that is held is worth a batch that is not stored
                log.exception("links of %s", tenant)
                self._pause(tenant, "a bug")

    def _wanted(self, tenants: Iterable[str]) -> list[str]:
        """Those that are held, and some of the others as far as there is room for them."""
        with self._lock:
            wanted = [tenant for tenant in tenants if tenant in self._tenants]
            for tenant in wanted:
                self._tenants.move_to_end(tenant)
                self._tenants[tenant].heard = self._clock()
            others = (t for t in tenants if t not in self._tenants and not self._paused_still(t))
            return [*wanted, *islice(others, min(_BEGUN_AT_ONCE, self._room()))]

    def _room(self) -> int:
        """Tenants that may be begun: in the place of those alone that are not heard of any more.

        Else tenants that take turns would be begun with each batch.
        """
        until = self._clock() - _PAUSE_S
        silent = takewhile(lambda held: held.heard < until, self._tenants.values())
        free = _TENANTS_MOST - len(self._tenants)
        return max(free, 0) + sum(1 for _ in islice(silent, _BEGUN_AT_ONCE))

    def _expect(self, tenant: str, spans: pa.Table) -> None:
        share = Share(tenant, _near(spans, self._bucket()))
        with self._lock:
            held = self._tenants.get(tenant)
            if held is None and (self._paused_still(tenant) or self._starting() > _AT_ONCE):
                return  # let go a moment ago, or to be begun with a later batch
            self._underway.append(share)  # from here on its traces are not closed
            late = held.late(share.folds) if held else None
        if held is None:
            self._begin(tenant)
        elif late is not None and len(late):
            began = time.perf_counter()
            share.before = self._stored(tenant, late)
            with self._lock:
                held.reopen(late)
            most = self._reading.took(tenant, time.perf_counter() - began, self._clock())
            if most is not None:
                self._pause(most, "reading its late spans takes the writer too long")

    def stored(self, news: Iterable[News]) -> None:
        """What was underway can be read."""
        now = self._clock()
        with self._lock:
            self._rate.count(sum(len(batch.spans) for batch in news), now)
            for share in self._underway:
                share.stored_at = now
            self._waiting.extend(self._underway)
            self._underway.clear()
            waiting: Counter[str] = Counter()
            for share in self._waiting:
                if not share.start:  # these are bounded by themselves
                    waiting[share.tenant] += len(share.spans)
        behind = waiting.total() - _WAITING_MOST
        for tenant, spans in waiting.most_common() if behind > 0 else ():
            if behind > 0:
                self._pause(tenant, "spans come faster than they are linked")
                behind -= spans

    def forget(self) -> None:
        """Anything may have changed."""
        with self._lock:
            self._tenants.clear()
            self._waiting.clear()
            self._underway.clear()

    def _begin(self, tenant: str) -> None:
        now = self._bucket()
        ends = {"tenant": tenant, "first": max(now - _BEGIN_BACK, 0), "last": now + AHEAD}
        count = self._fetch(_COUNT, ends).column("spans")[0].as_py() or 0
        # Where it is too much, what is held is true an hour later.
        spans = self._fetch(_SINCE, ends) if 0 < count <= _BEGIN_MOST else None
        whole = now + 1 if spans is None and count else now
        with self._lock:
            # What waits from an earlier time that it was held is among what was read.
            for share in [share for share in self._waiting if share.tenant == tenant]:
                self._waiting.remove(share)
            self._tenants[tenant] = TenantLinks(whole, self._clock())
            if spans is not None:
                parts = _by_traces(spans)
                self._waiting.extend(Share(tenant, part, start=True) for part in parts)
            while len(self._tenants) > _TENANTS_MOST:
                self._tenants.popitem(last=False)

    def _starting(self) -> int:
        """Spans that starts have read and that are not linked yet."""
        return sum(len(share.spans) for share in self._waiting if share.start)

    def _stored(self, tenant: str, folds: Folds) -> pa.Table:
        """What is stored of some traces."""
        if len(folds) > _LATE_MOST:
            raise _TooMany(f"spans of {len(folds)} traces came late at once")
        most, now = _LATE_SPANS_MOST + 1, self._bucket()
        ends = {"first": max(now - _BACK, 0), "last": now + AHEAD}
        asked = {"tenant": tenant, "folds": folds.tolist(), "most": most, **ends}
        spans = self._fetch(_TRACES, asked)
        if len(spans) == most:
            raise _TooMany(f"of {len(folds)} traces more than {most - 1} spans are stored")
        return spans

    def _pause(self, tenant: str, why: str) -> None:
        log.info("young links of %s are not held for a while: %s", tenant, why)
        self._drop(tenant)
        with self._lock:
            if len(self._paused) >= _TENANTS_MOST:
                self._paused.clear()
            self._paused[tenant] = self._clock() + _PAUSE_S

    def _paused_still(self, tenant: str) -> bool:
        until = self._paused.get(tenant, 0.0)
        if until and until < self._clock():
            del self._paused[tenant]
        return until >= self._clock()

    def _drop(self, tenant: str) -> None:
        with self._lock:
            self._tenants.pop(tenant, None)
            for shares in (self._underway, self._waiting):
                for share in [share for share in shares if share.tenant == tenant]:
                    shares.remove(share)

    # -- whoever asks, and now and then ----------------------------------------------------

    def link(self) -> None:
        """Link what was stored since the last time, unless storing needs all there is."""
        if self._rate.at(self._clock()) <= _RATE_MOST:
            with self._linking:
                self._link()

    def due(self) -> bool:
        """Whether spans wait to be linked, or some traces may have become quiet."""
        return bool(self._waiting) or self._clock() - self._closed_at > _CLOSING_S

    def held(self, tenant: str, counts: SpanCounts, buckets: Container[int], until_ms: int) -> Held:
        """What is known of these five minutes, and of those the range ends in."""
        with self._linking:
            self._link()
            with self._lock:
                return self._known(tenant, counts, buckets, until_ms)

    def held_at_once(
        self, tenant: str, counts: SpanCounts, buckets: Container[int], until_ms: int
    ) -> Held | None:
        """The same without a wait: None where spans have to be linked before.

        Beside much ingest the spans that were stored a moment ago are left out, and not counted.
        """
        with self._lock:
            coming = [share for share in self._waiting if share.tenant == tenant]
            if coming and not self._may_come_later(coming):
                return None
            left_out: Counter[int] = Counter()
            for share in coming:
                left_out.update(share.counts)
            return self._known(tenant, counts.without(left_out), buckets, until_ms)

    def _may_come_later(self, shares: Sequence[Share]) -> bool:
        now = self._clock()
        return (
            _RATE_BUSY < self._rate.at(now) <= _RATE_MOST
            and now - shares[0].stored_at <= _BEHIND_MOST_S
            and not any(share.start for share in shares)
        )

    def _known(
        self, tenant: str, counts: SpanCounts, buckets: Container[int], until_ms: int
    ) -> Held:
        held = self._tenants.get(tenant)
        if held is None:
            return Held({}, None, None, counts, complete=True)
        known = (bucket for bucket in held.buckets if bucket in buckets)
        sums = {bucket: held.sums(bucket) for bucket in known if held.agrees(bucket, counts)}
        last = until_ms // BUCKET_MS
        ending, changed = None, None
        if held.agrees(last, counts):
            ending, changed = held.ending(last, until_ms), held.changed(last, until_ms)
        return Held(sums, ending, changed, counts, held.up_to_date(self._bucket(), counts))

    def _link(self) -> None:
        now = self._bucket()
        while True:
            with self._lock:
                if not self._waiting:
                    break
                share = self._waiting[0]
                held = self._tenants.get(share.tenant)
                if held is None:
                    self._waiting.popleft()
                    continue
            try:
                joined = held.joined(share, self._clock())
            except Exception:  # links are made without it; else none would ever be again
                log.exception("links of %s", share.tenant)
                self._pause(share.tenant, "a bug")
                continue
            with self._lock:
                held.take(joined)
                # Taken off only now: what waits is not closed.
                if self._waiting and self._waiting[0] is share:
                    self._waiting.popleft()
            if held.largest > _TRACE_MOST:
                self._pause(share.tenant, f"a trace has more than {_TRACE_MOST} spans")
        self._close(now)

    def _close(self, now: int) -> None:
        self._closed_at = self._clock()
        with self._lock:
            tenants = list(self._tenants.items())
            coming: dict[str, list[Folds]] = {}
            for share in (*self._underway, *self._waiting):
                coming.setdefault(share.tenant, []).append(share.folds)
            before = self._clock() - _QUIET_S
            spare = _OPEN_MOST - sum(held.open_spans for _, held in tenants)
            for tenant, held in tenants:
                folds = coming.get(tenant, [])
                spare += held.close(before, -min(spare, 0), folds)
                held.expire(now - _BACK, now)
            closed = sum(held.closed_traces for _, held in tenants)
            for _, held in sorted(tenants, key=lambda each: -each[1].closed_traces):
                if closed > _CLOSED_MOST:
                    closed -= held.shorten(closed - _CLOSED_MOST)

    def _bucket(self) -> int:
        return int(self._clock() * 1_000_000) // BUCKET_US


class _Rate:
    """Spans a second, of the latest seconds that are over."""

    def __init__(self) -> None:
        self._latest = self._counted = 0.0
        self._since = self._spans = 0.0

    def count(self, spans: int, now: float) -> None:
        """These were stored now."""
        self._counted = now
        self._spans += spans
        if now - self._since >= _RATE_S:
            self._latest = self._spans / (now - self._since)
            self._since, self._spans = now, 0.0

    def at(self, now: float) -> float:
        """The rate, which is none once nothing was stored for as long."""
        return self._latest if now - self._counted < _RATE_S else 0.0


class _Reading:
    """Seconds that the writer read for each tenant, of the last minute that began."""

    def __init__(self) -> None:
        self._since = 0.0
        self._seconds: dict[str, float] = {}

    def took(self, tenant: str, seconds: float, now: float) -> str | None:
        """Count it. The tenant that took most, where all took too long; it is counted no more."""
        if now - self._since >= _READING_S:
            self._since = now
            self._seconds.clear()
        self._seconds[tenant] = self._seconds.get(tenant, 0.0) + seconds
        if sum(self._seconds.values()) <= _READING_MOST_S:
            return None
        most = max(self._seconds, key=self._seconds.__getitem__)
        del self._seconds[most]
        return most


class _TooMany(Exception):
    """More than is read of what is stored."""


def _by_tenants(news: News, wanted: Collection[str]) -> Iterator[tuple[str, pa.Table]]:
    """The spans of some tenants, each by itself."""
    if len(news.buckets) == 1:
        yield from ((tenant, news.spans) for tenant in wanted)
    elif wanted:
        column = news.spans.column("tenant").combine_chunks()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = column.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        spans, codes = news.spans.take(pa.array(order)), codes[order]
        for code, tenant in enumerate(column.dictionary.to_pylist()):
            if tenant in wanted:
                first, end = np.searchsorted(codes, (code, code + 1)).tolist()
                yield tenant, spans.slice(first, end - first)


def _near(spans: pa.Table, now: int) -> pa.Table:
    """Those that may be of a trace that began lately; others are nobody's here."""
    buckets = buckets_of(spans)
    near = (buckets >= max(now - _BACK, 0)) & (buckets <= now + AHEAD)
    return spans if near.all() else spans.filter(pa.array(near))


def _by_traces(spans: pa.Table) -> Iterator[pa.Table]:
    """Parts of whole traces, none much larger than is linked at once."""
    parts = -(-len(spans) // _AT_ONCE)
    part = lows_of(spans) % np.uint64(parts) if parts > 1 else np.zeros(len(spans), np.uint64)
    for number in range(parts):
        yield spans.filter(pa.array(part == number))
