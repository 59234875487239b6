"""What is held of one tenant's young links, and how spans are held. See :mod:`.young_links`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...spans.tables import fold_trace_id
from . import bulk_linker
from .bulk_linker import LinkedTraces, distinct
from .link_sums import NO_LINKS, LinkSums, total
from .span_counts import REACH, SpanCounts

#: Five minutes ahead of now whose spans are held, for clocks that are.
AHEAD = REACH
#: Parts of sorted ids of five minutes, before they are made one.
_PARTS_MOST = 8

_Buckets = npt.NDArray[np.int64]
Folds = npt.NDArray[np.uint32]
_Lows = npt.NDArray[np.uint64]
_Bools = npt.NDArray[np.bool_]
_Id = TypeVar("_Id", np.uint32, np.uint64)


@dataclass(eq=False, slots=True)
class Share:
    """One tenant's spans of a batch, and what was stored of the traces that they come late for."""

    tenant: str
    spans: pa.Table
    before: pa.Table | None = None
    #: Read by a start, and not of a batch.
    start: bool = False
    #: When it could be read in the store.
    stored_at: float = 0.0
    folds: Folds = field(init=False)
    #: Spans by five minutes.
    counts: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.folds = distinct(fold_trace_id(lows_of(self.spans)))
        buckets, counts = np.unique(self.spans.column("bucket").to_numpy(), return_counts=True)
        self.counts = dict(zip(buckets.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class _Cohort:
    """Open traces whose last spans came at once."""

    at: float
    lows: _Lows
    spans: pa.Table
    links: LinkedTraces
    #: Spans of the trace that has most, or had, and when the last one of any is, or was (Unix ms).
    largest: int
    latest_ms: int

    @classmethod
    def of(cls, spans: pa.Table, at: float) -> _Cohort:
        links, spans = bulk_linker.link_distinct(spans)
        lows, counts = np.unique(lows_of(spans), return_counts=True)
        latest_ms = int(links.span_ms.max(initial=0))
        return cls(at, lows, spans, links, int(counts.max()), latest_ms)

    def select(self, traces: _Bools) -> _Cohort:
        """Some of the traces."""
        lows = self.lows[traces]
        spans = _tight(self.spans.filter(pa.array(among(lows_of(self.spans), lows))))
        links = self.links.select(traces)
        return replace(self, lows=lows, spans=spans, links=links)

    def begun_after(self, bucket: int, until_ms: int) -> LinkSums:
        """The links of those that began in five minutes, and after then."""
        if self.latest_ms <= until_ms:
            return NO_LINKS
        return self.links.sums((self.links.home == bucket) & ~self.links.between(0, until_ms))

    def last(self) -> _Buckets:
        """The latest five minutes of each trace."""
        last = np.zeros(len(self.lows), np.int64)
        np.maximum.at(last, np.searchsorted(self.lows, lows_of(self.spans)), buckets_of(self.spans))
        return last

    def beginnings_of_long(self) -> list[int]:
        """Five minutes that a trace begins in which goes on for longer than is looked at together.

        For others it begins where it has a span, and none in the hour before.
        """
        buckets = buckets_of(self.spans)
        if np.ptp(buckets) <= REACH:
            return []
        trace = np.searchsorted(self.lows, lows_of(self.spans))
        first = np.full(len(self.lows), np.iinfo(np.int64).max)
        np.minimum.at(first, trace, buckets)
        timed = self.spans.column("ts").to_numpy() != 0
        places = np.flatnonzero((self.last() - first > REACH)[trace] & timed)
        places = places[np.lexsort((buckets[places], trace[places]))]
        trace, buckets = trace[places], buckets[places]
        goes_on = (trace[1:] == trace[:-1]) & (buckets[1:] - buckets[:-1] <= REACH)
        begins = np.concatenate(([True], ~goes_on)) if len(places) else np.zeros(0, bool)
        found: list[int] = distinct(buckets[begins]).tolist()
        return found


@dataclass(frozen=True, slots=True)
class Changed:
    """How far the traces are known to be as they were that began in five minutes by some time."""

    #: Stands for the tenant's being held: held anew, nothing is known of before.
    held: object
    #: Of the latest spans, and of the latest that one of these traces has.
    now: int
    last: int


@dataclass(frozen=True, slots=True)
class Joined:
    """Spans (so many by five minutes) linked with those held, and what is held instead."""

    counts: dict[int, int]
    cohorts: list[_Cohort]
    sums: dict[int, LinkSums]
    #: Five minutes that a long trace begins in.
    apart: list[int]
    #: When the first one began of the traces that are others now (Unix ms).
    earliest: dict[int, int]


class TenantLinks:
    """What is held of one tenant. By five minutes, if nothing else is said."""

    def __init__(self, whole: int, heard: float) -> None:
        #: From these on, all spans come by here.
        self._whole = whole
        #: When spans of it came last.
        self.heard = heard
        #: What a trace of more than an hour begins in: linked for the question.
        self._apart: set[int] = set()
        #: Spans that came by here.
        self._spans: dict[int, int] = {}
        #: Calls of traces that began in them.
        self._sums: dict[int, LinkSums] = {}
        #: Of closed traces that began in them: folded ids in sorted parts, and when the last one
        #: began (Unix ms).
        self._closed: dict[int, list[Folds]] = {}
        self._latest: dict[int, int] = {}
        self._cohorts: list[_Cohort] = []
        self._held = object()
        self._number = 0
        #: Numbers of spans that traces got, and when the first of these traces began: none that
        #: later ones say as well, so both only grow.
        self._changes: dict[int, list[tuple[int, int]]] = {}

    @property
    def largest(self) -> int:
        """Spans of the largest of the open traces, or of one that was."""
        return max((cohort.largest for cohort in self._cohorts), default=0)

    @property
    def open_spans(self) -> int:
        return sum(len(cohort.spans) for cohort in self._cohorts)

    @property
    def closed_traces(self) -> int:
        return sum(len(part) for parts in self._closed.values() for part in parts)

    def agrees(self, bucket: int, counts: SpanCounts) -> bool:
        """Whether all spans came by here that may be of traces that began in five minutes.

        A trace that goes on for more than an hour may have begun twice, for those who look an hour
        around: these look themselves.
        """
        if bucket in self._apart:
            return False
        around = range(bucket - REACH, bucket + REACH + 1)
        return all(self._spans.get(b, 0) == counts.spans.get(b, 0) for b in around)

    def up_to_date(self, now: int, counts: SpanCounts) -> bool:
        """Whether all that was counted of these five minutes came by here, and no more."""
        return now < self._whole or self._spans.get(now, 0) == counts.spans.get(now, 0)

    @property
    def buckets(self) -> list[int]:
        """Those that have spans here."""
        return list(self._spans)

    def sums(self, bucket: int) -> LinkSums:
        """The links of all traces that began in five minutes."""
        return self._sums.get(bucket, NO_LINKS)

    def ending(self, bucket: int, until_ms: int) -> LinkSums | None:
        """The links of those that began until then; None if one that is closed began after it."""
        if self._latest.get(bucket, 0) > until_ms:
            return None
        after = [cohort.begun_after(bucket, until_ms).times(-1) for cohort in self._cohorts]
        return total([self.sums(bucket), *after]) if any(map(len, after)) else self.sums(bucket)

    def changed(self, bucket: int, until_ms: int) -> Changed:
        """Of the traces that began in five minutes, until then."""
        before = (n for n, began in reversed(self._changes.get(bucket, ())) if began <= until_ms)
        return Changed(self._held, self._number, next(before, 0))

    def late(self, folds: Folds) -> Folds:
        """Those of the folded ids that closed traces have."""
        parts = [part for parts in self._closed.values() for part in parts]
        found = np.zeros(len(folds), bool)
        for part in parts:
            found |= among(folds, part)
        return folds[found]

    def reopen(self, folds: Folds) -> None:
        """These are no more closed."""
        for parts in self._closed.values():
            parts[:] = [part[~among(part, folds)] for part in parts]

    def joined(self, share: Share, at: float) -> Joined:
        """Link spans together with those of their traces that came before."""
        rows = [_as_held(share.spans)]
        changes: list[tuple[int, LinkedTraces]] = []
        if share.before is not None:
            # Another trace of the same folded id may be open.
            known = np.concatenate([cohort.lows for cohort in self._cohorts] or [_NO_LOWS])
            before = share.before.filter(pa.array(~np.isin(lows_of(share.before), known)))
            rows.append(_as_held(before))
            changes.append((-1, bulk_linker.link_traces(rows[1])))
        lows = distinct(np.concatenate([lows_of(some) for some in rows]))
        cohorts: list[_Cohort] = []
        for cohort in self._cohorts:
            gone_on = among(cohort.lows, lows)
            if gone_on.any():
                taken = cohort.select(gone_on)
                rows.append(taken.spans)
                changes.append((-1, taken.links))
            if not gone_on.all():
                cohorts.append(cohort.select(~gone_on) if gone_on.any() else cohort)
        spans = pa.concat_tables(rows).unify_dictionaries().combine_chunks()
        apart: list[int] = []
        if len(spans):
            cohorts.append(_Cohort.of(spans, at))
            changes.append((1, cohorts[-1].links))
            apart = cohorts[-1].beginnings_of_long()
        earliest: dict[int, int] = {}
        for _, links in changes:
            for bucket, began in links.earliest().items():
                earliest[bucket] = min(began, earliest.get(bucket, began))
        return Joined(share.counts, cohorts, self._changed_sums(changes), apart, earliest)

    def _changed_sums(self, changes: Iterable[tuple[int, LinkedTraces]]) -> dict[int, LinkSums]:
        """The sums of five minutes with the calls of traces added so many times."""
        parts: dict[int, list[LinkSums]] = {}
        for times, links in changes:
            for bucket in distinct(links.home).tolist():
                some = links.sums(links.home == bucket).times(times)
                parts.setdefault(bucket, [self.sums(bucket)]).append(some)
        return {bucket: total(of_bucket) for bucket, of_bucket in parts.items()}

    def take(self, joined: Joined) -> None:
        """Have spans that were linked: of what is asked here all or nothing of them is seen."""
        for bucket, count in joined.counts.items():
            self._spans[bucket] = self._spans.get(bucket, 0) + count
        self._sums |= joined.sums
        self._cohorts = joined.cohorts
        self._apart.update(joined.apart)
        self._number += 1
        for bucket, began in joined.earliest.items():
            changes = self._changes.setdefault(bucket, [])
            while changes and changes[-1][1] >= began:
                changes.pop()
            changes.append((self._number, began))

    def close(self, before: float, spare: int, coming: list[Folds]) -> int:
        """Close what is quiet since then, so many spans at least; how many were closed.

        Traces stay open that spans are coming for.
        """
        folds = distinct(np.concatenate([_NO_FOLDS, *coming]))
        closed = 0
        kept: list[_Cohort] = []
        for cohort in self._cohorts:
            if cohort.at > before and closed >= spare:
                kept.append(cohort)
                continue
            goes_on = among(fold_trace_id(cohort.lows), folds)
            if goes_on.any():
                kept.append(cohort.select(goes_on))
            ended = cohort.select(~goes_on) if goes_on.any() else cohort
            closed += len(ended.spans)
            self._close(ended)
        self._cohorts = kept
        return closed

    def _close(self, cohort: _Cohort) -> None:
        links = cohort.links
        begun = links.begun_ms()
        for bucket in distinct(links.home).tolist():
            here = links.home == bucket
            self._latest[bucket] = max(self._latest.get(bucket, 0), int(begun[here].max()))
        # Known until all it has is forgotten: a late span of it is no trace of its own before.
        last = cohort.last()
        for bucket in distinct(last).tolist():
            folds = np.sort(fold_trace_id(cohort.lows[last == bucket]))
            self._closed.setdefault(bucket, []).append(folds)

    def expire(self, first: int, now: int) -> None:
        """Hold nothing before the first five minutes, and of those that are over few parts."""
        for by_bucket in self._by_bucket():
            for bucket in [bucket for bucket in by_bucket if not first <= bucket <= now + AHEAD]:
                del by_bucket[bucket]
        self._apart = {bucket for bucket in self._apart if bucket >= first}
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
            for by_bucket in self._by_bucket():
                by_bucket.pop(bucket, None)
        return forgotten

    def _by_bucket(self) -> Iterable[dict[int, Any]]:
        return self._spans, self._sums, self._closed, self._latest, self._changes


_NO_LOWS: _Lows = np.empty(0, np.uint64)
_NO_FOLDS: Folds = np.empty(0, np.uint32)
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
    return _used(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


def _tight(spans: pa.Table) -> pa.Table:
    """The same without names that are none of theirs: held on, these would be more and more."""
    for place, name in enumerate(spans.column_names):
        column = spans.column(name).combine_chunks()
        if pa.types.is_dictionary(column.type):
            spans = spans.set_column(place, name, _used(column))
    return spans


def _used(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """A dictionary of no more names than there are rows."""
    if len(column.dictionary) <= len(column):
        return column
    used, codes = np.unique(column.indices.to_numpy(), return_inverse=True)
    names = column.dictionary.take(pa.array(used))
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names)


def _pairs(ids: pa.FixedSizeBinaryArray) -> _Lows:
    """Parent id and id of each span."""
    words = np.frombuffer(ids.buffers()[1], "<u8") if len(ids) else _NO_LOWS
    return words[2 * ids.offset : 2 * (ids.offset + len(ids))].reshape(-1, 2)


def _service_of(remote: pa.DictionaryArray) -> pa.Array:
    """The names at the end of packed remote places."""
    parts = [place.split("|", 3) for place in remote.dictionary.to_pylist()]
    names = pa.array([part[3] if len(part) > 3 else "" for part in parts], pa.string())
    return names.take(remote.indices)


def lows_of(spans: pa.Table) -> _Lows:
    lows: _Lows = spans.column("low").to_numpy()
    return lows


def buckets_of(spans: pa.Table) -> _Buckets:
    buckets: _Buckets = spans.column("bucket").to_numpy().astype(np.int64)
    return buckets


def among(ids: npt.NDArray[_Id], part: npt.NDArray[_Id]) -> _Bools:
    """Which of the ids are in a sorted part."""
    if not len(part):
        return np.zeros(len(ids), bool)
    at = np.minimum(np.searchsorted(part, ids), len(part) - 1)
    found: _Bools = part[at] == ids
    return found
