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
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...server import Server
from ...spans.news import News
from ...spans.signal import SpanSignal
from ...spans.tables import BUCKET_US, fold_trace_id
from ...store.port import StoreError
from . import bulk_linker
from .bulk_linker import LinkedTraces
from .link_sums import LinkSums, total
from .span_counts import BUCKET_MS, REACH, SpanCounts

log = logging.getLogger("lookout.links")

#: A trace that got no span for so long is closed.
_QUIET_S = 20.0
#: Spans of open traces, some 60 bytes each; beyond it the oldest are closed earlier.
_OPEN_MOST = 400_000
#: Spans that wait to be linked: with more of them nobody links, and all is begun anew.
_WAITING_MOST = 300_000
#: Closed traces that are known by their folded ids, four bytes each.
_CLOSED_MOST = 12_000_000
#: Five minutes whose spans are held, back from now (two hours and a half: those are linked for good
#: whose end is 70 minutes ago, with what is an hour around), and ahead of it for clocks that are.
_BACK, _AHEAD = 30, REACH
#: Five minutes and spans that a start reads at most, and spans that it links at once.
_BEGIN_BACK, _BEGIN_MOST, _AT_ONCE = 2 * REACH, 1_000_000, 200_000
#: Traces that spans of one batch may come late for, and spans that are stored of these.
_LATE_MOST, _LATE_SPANS_MOST = 20_000, 50_000
#: Spans of one trace: one that never ends would be linked again with every batch.
_TRACE_MOST = 20_000
#: A tenant with more than this of anything is held again so much later (s).
_PAUSE_S = 300.0
#: Spans a second, over so many seconds, beyond which they wait to be linked until somebody asks or
#: fewer come: a microsecond of CPU each, and storing needs all there is then.
_RATE_MOST, _RATE_S = 50_000, 4.0
#: Tenants that are held, and begun with one batch (each takes two queries).
_TENANTS_MOST, _BEGUN_AT_ONCE = 200, 4
#: Parts of sorted ids of five minutes, before they are made one.
_PARTS_MOST = 8

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
    WHERE tenant = {{tenant:String}} AND fold IN {{folds:Array(UInt32)}})
LIMIT {{most:UInt32}}
"""

_FOR_EVER = 2**62

_Folds = npt.NDArray[np.uint32]
_Lows = npt.NDArray[np.uint64]
_Bools = npt.NDArray[np.bool_]
_Fetch = Callable[[str, Mapping[str, Any]], pa.Table]


@dataclass(frozen=True, slots=True)
class Held:
    """What is known in memory of the five minutes that were asked for."""

    sums: dict[int, LinkSums]
    #: Of those the range ends in: the traces that began until then.
    ending: LinkSums | None
    #: Whether it is all that can be known: asked again a moment later there would be no more.
    complete: bool


class YoungLinks:
    """Of all tenants. Thread-safe."""

    def __init__(self, fetch: _Fetch, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        #: Of what is told and asked of here, for short; of linking, which takes its time.
        self._lock, self._linking = threading.Lock(), threading.Lock()
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        #: Until when tenants are not held that had too much.
        self._paused: dict[str, float] = {}
        self._rate = _Rate()
        self._underway: list[_Share] = []
        self._waiting: deque[_Share] = deque()

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
        begun = 0
        now = self._bucket()
        for tenant in news.buckets:
            spans = _near(_of_tenant(news, tenant), now)
            with self._lock:
                held = self._tenants.get(tenant)
                if held is None and (begun == _BEGUN_AT_ONCE or self._paused_still(tenant)):
                    continue
                share = _Share(tenant, spans)
                self._underway.append(share)  # from here on its traces are not closed
                late = held.late(share.folds) if held else None
            try:
                if held is None:
                    begun += 1
                    self._begin(tenant)
                elif late is not None and len(late):
                    share.before = self._stored(tenant, late)
                    with self._lock:
                        held.reopen(late)
            except StoreError as error:
                log.warning("links of %s are begun anew: %s", tenant, error)
                self._drop(tenant)
            except _TooMany as error:
                self._pause(tenant, str(error))

    def stored(self, news: Iterable[News]) -> None:
        """What was underway can be read."""
        with self._lock:
            self._rate.count(sum(len(batch.spans) for batch in news), self._clock())
            self._waiting.extend(self._underway)
            self._underway.clear()
            behind = sum(len(share.spans) for share in self._waiting) > _WAITING_MOST
            tenants = {share.tenant for share in self._waiting}
        for tenant in tenants if behind else ():
            self._pause(tenant, "spans come faster than they are linked")

    def forget(self) -> None:
        """Anything may have changed."""
        with self._lock:
            self._tenants.clear()
            self._waiting.clear()
            self._underway.clear()

    def _begin(self, tenant: str) -> None:
        now = self._bucket()
        ends = {"tenant": tenant, "first": max(now - _BEGIN_BACK, 0), "last": now + _AHEAD}
        count = self._fetch(_COUNT, ends).column("spans")[0].as_py() or 0
        # Where it is too much, what is held is true an hour later.
        spans = self._fetch(_SINCE, ends) if 0 < count <= _BEGIN_MOST else None
        with self._lock:
            self._tenants[tenant] = _Tenant(now + 1 if spans is None and count else now)
            if spans is not None:
                self._waiting.extend(_Share(tenant, part) for part in _by_traces(spans))
            while len(self._tenants) > _TENANTS_MOST:
                self._tenants.popitem(last=False)

    def _stored(self, tenant: str, folds: _Folds) -> pa.Table:
        """What is stored of some traces."""
        if len(folds) > _LATE_MOST:
            raise _TooMany(f"spans of {len(folds)} traces came late at once")
        most = _LATE_SPANS_MOST + 1
        asked = {"tenant": tenant, "folds": folds.tolist(), "most": most}
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
        if self._rate.latest <= _RATE_MOST:
            with self._linking:
                self._link()

    def held(self, tenant: str, counts: SpanCounts, buckets: Iterable[int], until_ms: int) -> Held:
        """What is known of these five minutes, and of those the range ends in."""
        with self._linking:
            self._link()
            with self._lock:
                held = self._tenants.get(tenant)
            if held is None:
                return Held({}, None, complete=True)
            sums = {b: held.sums(b) for b in buckets if held.agrees(b, counts)}
            last = until_ms // BUCKET_MS
            ending = held.ending(last, until_ms) if held.agrees(last, counts) else None
            return Held(sums, ending, held.up_to_date(self._bucket(), counts))

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
                self._tenants.move_to_end(share.tenant)
            held.add(share, self._clock())
            with self._lock:
                # Taken off only now: what waits is not closed.
                if self._waiting and self._waiting[0] is share:
                    self._waiting.popleft()
            if held.largest > _TRACE_MOST:
                self._pause(share.tenant, f"a trace has more than {_TRACE_MOST} spans")
        self._close(now)

    def _close(self, now: int) -> None:
        with self._lock:
            tenants = list(self._tenants.items())
            coming: dict[str, list[_Folds]] = {}
            for share in (*self._underway, *self._waiting):
                coming.setdefault(share.tenant, []).append(share.folds)
            before = self._clock() - _QUIET_S
            spare = _OPEN_MOST - sum(held.open_spans for _, held in tenants)
            for tenant, held in tenants:
                folds = coming.get(tenant, [])
                spare += held.close(before, -min(spare, 0), folds, now)
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
        self.latest = 0.0
        self._since = self._spans = 0.0

    def count(self, spans: int, now: float) -> None:
        """These were stored now."""
        self._spans += spans
        if now - self._since >= _RATE_S:
            self.latest = self._spans / (now - self._since)
            self._since, self._spans = now, 0.0


class _TooMany(Exception):
    """More than is read of what is stored."""


@dataclass(eq=False, slots=True)
class _Share:
    """One tenant's spans of a batch, and what was stored of the traces that they come late for."""

    tenant: str
    spans: pa.Table
    before: pa.Table | None = None
    folds: _Folds = field(init=False)

    def __post_init__(self) -> None:
        self.folds = np.unique(fold_trace_id(_lows(self.spans)))


@dataclass(frozen=True, slots=True)
class _Cohort:
    """Open traces whose last spans came at once."""

    at: float
    lows: _Lows
    spans: pa.Table
    links: LinkedTraces
    #: Spans of the trace that has most, or had.
    largest: int

    @classmethod
    def of(cls, spans: pa.Table, at: float) -> _Cohort:
        links, spans = bulk_linker.link_distinct(spans)
        lows, counts = np.unique(_lows(spans), return_counts=True)
        return cls(at, lows, spans, links, int(counts.max()))

    def select(self, traces: _Bools) -> _Cohort:
        """Some of the traces."""
        lows = self.lows[traces]
        spans = self.spans.filter(pa.array(np.isin(_lows(self.spans), lows)))
        return _Cohort(self.at, lows, spans, self.links.select(traces), self.largest)


class _Tenant:
    """What is held of one tenant. By five minutes, if nothing else is said."""

    def __init__(self, whole: int) -> None:
        #: From these on, all spans come by here.
        self._whole = whole
        #: Spans that came by here.
        self._spans: dict[int, int] = {}
        #: Of closed traces that began in them: calls, folded ids in sorted parts, and when the last
        #: one began (Unix ms).
        self._sums: dict[int, LinkSums] = {}
        self._closed: dict[int, list[_Folds]] = {}
        self._latest: dict[int, int] = {}
        self._cohorts: list[_Cohort] = []
        #: Spans of the largest trace there was.
        self.largest = 0

    @property
    def open_spans(self) -> int:
        return sum(len(cohort.spans) for cohort in self._cohorts)

    @property
    def closed_traces(self) -> int:
        return sum(len(part) for parts in self._closed.values() for part in parts)

    def agrees(self, bucket: int, counts: SpanCounts) -> bool:
        """Whether all spans came by here that may be of traces that began in five minutes."""
        around = range(bucket - REACH, bucket + REACH + 1)
        return all(self._spans.get(b, 0) == counts.spans.get(b, 0) for b in around)

    def up_to_date(self, now: int, counts: SpanCounts) -> bool:
        """Whether all that was counted of these five minutes came by here, and no more."""
        return now < self._whole or self._spans.get(now, 0) == counts.spans.get(now, 0)

    def sums(self, bucket: int) -> LinkSums:
        """The links of all traces that began in five minutes."""
        return total(self._parts(bucket))

    def ending(self, bucket: int, until_ms: int) -> LinkSums | None:
        """The links of those that began until then; None if one that is closed began after it."""
        if self._latest.get(bucket, 0) > until_ms:
            return None
        return total(self._parts(bucket, until_ms))

    def _parts(self, bucket: int, until_ms: int = _FOR_EVER) -> Iterator[LinkSums]:
        if bucket in self._sums:
            yield self._sums[bucket]
        for cohort in self._cohorts:
            chosen = cohort.links.home == bucket
            if until_ms < _FOR_EVER:
                chosen &= cohort.links.between(0, until_ms)
            if chosen.any():
                yield cohort.links.sums(chosen)

    def late(self, folds: _Folds) -> _Folds:
        """Those of the folded ids that closed traces have."""
        parts = [part for parts in self._closed.values() for part in parts]
        found = np.zeros(len(folds), bool)
        for part in parts:
            found |= _among(folds, part)
        return folds[found]

    def reopen(self, folds: _Folds) -> None:
        """These are no more closed."""
        for parts in self._closed.values():
            parts[:] = [part[~_among(part, folds)] for part in parts]

    def add(self, share: _Share, at: float) -> None:
        """Link spans together with those of their traces that came before."""
        self._count(share.spans)
        rows = [_as_held(share.spans)]
        if share.before is not None:
            # Another trace of the same folded id may be open.
            known = np.concatenate([cohort.lows for cohort in self._cohorts] or [_NO_LOWS])
            before = share.before.filter(pa.array(~np.isin(_lows(share.before), known)))
            rows.append(_as_held(before))
            self._add_sums(bulk_linker.link_traces(rows[1]), -1)
        lows = np.unique(np.concatenate([_lows(some) for some in rows]))
        kept: list[_Cohort] = []
        for cohort in self._cohorts:
            joined = np.isin(cohort.lows, lows)
            if joined.any():
                rows.append(cohort.select(joined).spans)
            if not joined.all():
                kept.append(cohort.select(~joined) if joined.any() else cohort)
        spans = pa.concat_tables(rows).unify_dictionaries().combine_chunks()
        self._cohorts = kept
        if len(spans):
            self._cohorts.append(_Cohort.of(spans, at))
            self.largest = max(self.largest, self._cohorts[-1].largest)

    def _count(self, spans: pa.Table) -> None:
        buckets, counts = np.unique(spans.column("bucket").to_numpy(), return_counts=True)
        for bucket, count in zip(buckets.tolist(), counts.tolist(), strict=True):
            self._spans[bucket] = self._spans.get(bucket, 0) + count

    def _add_sums(self, links: LinkedTraces, times: int) -> None:
        for bucket in np.unique(links.home).tolist():
            some = links.sums(links.home == bucket)
            some = replace(some, calls=times * some.calls, errors=times * some.errors)
            known = self._sums.get(bucket)
            self._sums[bucket] = total([known, some]) if known else some

    def close(self, before: float, spare: int, coming: list[_Folds], now: int) -> int:
        """Close what is quiet since then, so many spans at least; how many were closed.

        Traces stay open that spans are coming for.
        """
        folds = np.unique(np.concatenate([_NO_FOLDS, *coming]))
        closed = 0
        kept: list[_Cohort] = []
        for cohort in self._cohorts:
            if cohort.at > before and closed >= spare:
                kept.append(cohort)
                continue
            goes_on = _among(fold_trace_id(cohort.lows), folds)
            if goes_on.any():
                kept.append(cohort.select(goes_on))
            ended = cohort.select(~goes_on) if goes_on.any() else cohort
            closed += len(ended.spans)
            self._close(ended, now)
        self._cohorts = kept
        return closed

    def _close(self, cohort: _Cohort, now: int) -> None:
        links = cohort.links
        self._add_sums(links, 1)
        begun = links.begun_ms()
        for bucket in np.unique(links.home).tolist():
            here = links.home == bucket
            # Whatever the time of a trace, it is held for as long as one that began now.
            place = bucket if now - _BACK <= bucket <= now else now
            self._closed.setdefault(place, []).append(np.sort(fold_trace_id(cohort.lows[here])))
            self._latest[bucket] = max(self._latest.get(bucket, 0), int(begun[here].max()))

    def expire(self, first: int, now: int) -> None:
        """Hold nothing before the first five minutes, and of those that are over few parts."""
        for by_bucket in (self._spans, self._sums, self._closed, self._latest):
            for bucket in [bucket for bucket in by_bucket if not first <= bucket <= now + _AHEAD]:
                del by_bucket[bucket]
        for bucket, parts in self._closed.items():
            if len(parts) > (_PARTS_MOST if bucket == now else 1):
                parts[:] = [np.sort(np.concatenate(parts))]

    def shorten(self, traces: int) -> int:
        """Forget the oldest five minutes, until so many traces are; how many were."""
        forgotten = 0
        for bucket in sorted(self._closed):
            if forgotten >= traces:
                break
            forgotten += sum(map(len, self._closed[bucket]))
            for by_bucket in (self._spans, self._sums, self._closed, self._latest):
                by_bucket.pop(bucket, None)
        return forgotten


_NO_LOWS: _Lows = np.empty(0, np.uint64)
_NO_FOLDS: _Folds = np.empty(0, np.uint32)
_NAME = pa.dictionary(pa.int32(), pa.string())


def _as_held(spans: pa.Table) -> pa.Table:
    """Columns for :func:`.bulk_linker.link_traces`, of a batch or of what is stored."""
    pairs = _pairs(spans.column("ids").cast(pa.binary(16)).combine_chunks())
    remote = _names(spans.column("remote"))
    return pa.table(
        {
            "low": spans.column("low").cast(pa.uint64()),
            "bucket": spans.column("bucket").cast(pa.uint32()),
            "parent": pairs[:, 0],
            "id": pairs[:, 1],
            "ts": spans.column("ts").cast(pa.int64()),
            "flags": spans.column("flags").cast(pa.uint8()),
            "service": _names(spans.column("service")),
            "address": _names(spans.column("address")),
            "remote_service": _names(_service_of(remote)),
        }
    )


def _names(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts as numbers of a dictionary."""
    if not pa.types.is_dictionary(texts.type):
        texts = pc.cast(texts, pa.string()).dictionary_encode()
    column = texts.cast(_NAME)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _pairs(ids: pa.FixedSizeBinaryArray) -> _Lows:
    """Parent id and id of each span."""
    words = np.frombuffer(ids.buffers()[1], "<u8") if len(ids) else _NO_LOWS
    return words[2 * ids.offset : 2 * (ids.offset + len(ids))].reshape(-1, 2)


def _service_of(remote: pa.DictionaryArray) -> pa.Array:
    """The names at the end of packed remote places."""
    parts = [place.split("|", 3) for place in remote.dictionary.to_pylist()]
    names = pa.array([part[3] if len(part) > 3 else "" for part in parts], pa.string())
    return names.take(remote.indices)


def _of_tenant(news: News, tenant: str) -> pa.Table:
    spans = news.spans
    if len(news.buckets) == 1:
        return spans
    return spans.filter(pc.equal(pc.cast(spans.column("tenant"), pa.string()), tenant))


def _near(spans: pa.Table, now: int) -> pa.Table:
    """Those that may be of a trace that began lately; others are nobody's here."""
    buckets = spans.column("bucket").to_numpy()
    near = (buckets >= max(now - _BACK, 0)) & (buckets <= now + _AHEAD)
    return spans if near.all() else spans.filter(pa.array(near))


def _by_traces(spans: pa.Table) -> Iterator[pa.Table]:
    """Parts of whole traces, none much larger than is linked at once."""
    parts = -(-len(spans) // _AT_ONCE)
    part = _lows(spans) % np.uint64(parts) if parts > 1 else np.zeros(len(spans), np.uint64)
    for number in range(parts):
        yield spans.filter(pa.array(part == number))


def _lows(spans: pa.Table) -> _Lows:
    lows: _Lows = spans.column("low").to_numpy()
    return lows


def _among(folds: _Folds, part: _Folds) -> _Bools:
    """Which of the folded ids are in a sorted part."""
    if not len(part):
        return np.zeros(len(folds), bool)
    at = np.minimum(np.searchsorted(part, folds), len(part) - 1)
    found: _Bools = part[at] == folds
    return found
