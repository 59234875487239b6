"""Dependency links of a time range: stored for traces that have settled, computed for the rest.

Links are kept per five minutes ("bucket"), for the traces whose first span lies in it, always from
whole traces, and per hour once all of its buckets are final. A range is answered by the stored
links of the hours and buckets inside of it, by linking the buckets that are not stored or no longer
true, and by linking the traces at its edges, as far as that can be waited for. What a range needed
is kept in memory: asked again, only the counts are read that tell whether it is still true.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ...server import Server
from ...spans.tables import BUCKET_US, bucket_of
from ...store.port import StoreLimit
from ..explain import Explanation
from . import bulk_linker
from .bulk_linker import LINK_COLUMNS, Bools, LinkedTraces
from .count_memory import CountMemory
from .link_cache import LinkCache
from .link_store import OF_HOUR, LinkStore, now_ms
from .link_sums import LinkSums, Total, total
from .span_counts import BUCKET_MS, REACH, SpanCounts
from .young_links import Held, YoungLinks
from .young_tenant import Changed

#: Spans linked at once: bounds memory to some hundred MB.
_SPANS_MOST = 400_000
#: What a range needs linked that nobody asked for before may take this long (s).
_LINKING_MOST = 60.0
#: Spans of young buckets that a question has linked: a second's worth, or five beside much ingest.
#: At a thousand a second they have more; then the range ends before them.
_SPANS_WAITED = 1_000_000
#: Spans of buckets that a range has only a part of. They have settled, so most are linked once.
_SPANS_EDGES = 2_000_000
#: Traces that cross the beginning of a range are looked for so many buckets (an hour, 20 minutes,
#: five) before and after it: as far as there are no more spans to look through, by one column some
#: thirty million a second (36 ms for 0.8 million, 97 for 3.5, 264 for 9), and no more in the traces
#: found, which are linked. Where spans come still it is done for each question, and less of it.
_CROSSING_REACHES = (REACH, 4, 1)
_LOOKED_MOST = 100_000_000
_LOOKED_MOST_YOUNG = 20_000_000
_CROSSING_MOST = 2_000_000
#: Spans that are looked through at once: bounds the memory for their ids.
_LOOKED_AT_ONCE = 10_000_000
#: Between looks whether what was counted is held (s).
_PAUSES = (0.0, 0.03, 0.1, 0.0)
#: Ids of traces in a query.
_FOLDS_MOST = 50_000

_IN_TENANT = "tenant = {tenant:String}"
_PART = "AND fold BETWEEN {f0:UInt32} AND {f1:UInt32}"  # of a bucket these lie together
_LAST_FOLD = 2**32 - 1
_CUTS = f"""
SELECT arrayMap(c -> toUInt32(c), arrayFilter(c -> isFinite(c), quantiles(%s)(fold))) AS cuts
FROM spans WHERE {_IN_TENANT} AND bucket BETWEEN {{c0:UInt32}} AND {{c1:UInt32}}
"""
#: With PREWHERE all else is read of the chosen spans alone: for five minutes of 35,000 spans among
#: two hours that took 30 ms instead of 72. Other traces with the same folded id are few.
_HOME = f"""
SELECT {LINK_COLUMNS} FROM spans
PREWHERE {_IN_TENANT} {_PART} AND bucket BETWEEN {{before:UInt32}} AND {{after:UInt32}}
AND fold GLOBAL IN (
    SELECT fold FROM spans WHERE {_IN_TENANT} {_PART}
    AND bucket BETWEEN {{b0:UInt32}} AND {{b1:UInt32}})
"""
#: What has an id on both sides has a trace that crosses, but for two ids with the same fold.
_CROSSING_FOLDS = f"""
SELECT fold, count() AS spans FROM spans
WHERE {_IN_TENANT} {_PART} AND bucket BETWEEN {{before:UInt32}} AND {{after:UInt32}}
AND fold GLOBAL IN (
    SELECT fold FROM spans
    WHERE {_IN_TENANT} {_PART} AND bucket BETWEEN {{m0:UInt32}} AND {{m1:UInt32}}
    AND fold GLOBAL IN (
        SELECT fold FROM spans
        WHERE {_IN_TENANT} {_PART} AND bucket BETWEEN {{c0:UInt32}} AND {{c1:UInt32}}))
GROUP BY fold ORDER BY fold
"""
_CROSSING = f"""
SELECT {LINK_COLUMNS} FROM spans
PREWHERE {_IN_TENANT} AND bucket BETWEEN {{before:UInt32}} AND {{after:UInt32}}
AND fold IN {{folds:Array(UInt32)}}
"""


@dataclass(frozen=True)
class _Window:
    """A range in ms, both ends in it, and the buckets that lie wholly inside."""

    since: int
    until: int

    @cached_property
    def buckets(self) -> range:
        first = bucket_of((self.since + BUCKET_MS - 1) // BUCKET_MS * BUCKET_US)
        return range(first, max(bucket_of((self.until + 1) // BUCKET_MS * BUCKET_US), first))

    @cached_property
    def touched(self) -> range:
        """The buckets that have any of the range."""
        return range(bucket_of(self.since * 1000), bucket_of(self.until * 1000) + 1)

    def touched_with(self, spans: Iterable[int]) -> list[int]:
        """Those of them that have spans."""
        return [bucket for bucket in spans if bucket in self.touched]

    @cached_property
    def edges(self) -> list[int]:
        """The buckets that have some of the range, but not all of theirs."""
        return [bucket for bucket in _ends(self.touched) if bucket not in self.buckets]

    @cached_property
    def hours(self) -> range:
        """The hours that lie wholly inside."""
        buckets = self.buckets
        first = -(-buckets.start // OF_HOUR)
        return range(first, max(buckets.stop // OF_HOUR, first))


@dataclass(frozen=True, slots=True)
class Answer:
    """Links, and the range (Unix ms, both ends in it) that they are of."""

    links: LinkSums
    since_ms: int
    until_ms: int
    #: Traces with a span in the range that have none for so long before it, or for so long after
    #: its beginning, count only if they began in it. None: not more than for any question.
    crossing_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of a window's links."""

    counts: SpanCounts
    hours: dict[int, LinkSums]
    #: Buckets of other hours that are known.
    buckets: dict[int, LinkSums]
    #: The other buckets that have spans, in order.
    missing: list[int]


class Dependencies:
    """The links of one tenant."""

    def __init__(
        self,
        server: Server,
        tenant: str,
        explanation: Explanation,
        cache: LinkCache,
        seconds: float | None = None,
        young: YoungLinks | None = None,
        counted: CountMemory | None = None,
    ) -> None:
        """``seconds`` is how long linking may take, if not as long as for a question."""
        self._young = young
        #: Of five minutes that the young links have, for the counts of this question.
        self._held_sums: dict[int, LinkSums] | None = None
        #: Of the five minutes that the range ends in, where the young links have them.
        self._ending: dict[int, LinkSums] = {}
        #: Whether its traces are still what was read of them.
        self._changed: dict[int, Changed] = {}
        self._tenant = tenant
        self._explanation = explanation
        self._store = LinkStore(server, tenant, explanation, counted)
        self._cache = cache
        self._seconds = _LINKING_MOST if seconds is None else seconds
        self._deadline = time.monotonic() + self._seconds

    async def between(self, since_ms: int, until_ms: int) -> Answer:
        """Links of every trace with a span in the range (Unix ms, both ends in it).

        Where more spans came lately than can be linked while somebody waits, the range of the
        answer is shorter. Raises StoreLimit if nothing is left of it, or too much was never linked.
        """
        asked = _Window(max(since_ms, 0), until_ms)
        counts = await self._counts_held(asked)
        window = self._affordable(asked, counts)
        state = await self._state(window, counts)
        if state.missing or not self._ends_known(window, counts):
            known, edges, crossing = await asyncio.gather(
                self._complete(window, state),
                self._edges(window, counts),
                self._crossing(window.touched.start, counts),
            )
        else:  # nothing is waited for, and each turn of the event loop takes a while beside ingest
            known = await self._complete(window, state)
            edges = await self._edges(window, counts)
            crossing = await self._crossing(window.touched.start, counts)
        crossing_ms = crossing.reach * BUCKET_MS if crossing.reach < REACH else None
        with self._explanation.stage("sum links") as note:
            settled, young = known
            cut = (_within(window, traces) for traces in (*edges, *crossing.parts))
            ending = (sums for b, sums in self._ending.items() if b in window.touched)
            parts = [self._whole_sum(window, settled), *young, *ending, *cut]
            note.rows = sum(map(len, parts))
            return Answer(total(parts), window.since, window.until, crossing_ms)

    def _whole_sum(self, window: _Window, parts: list[LinkSums]) -> LinkSums:
        """The sum of settled parts, from the one last asked for of a range as long."""
        hours = len(window.hours)
        summed = Total.of(parts, self._cached("sum", hours, "last"))
        self._keep("sum", hours, "last", summed)
        return summed.sums

    async def settle(self, since_ms: int, until_ms: int) -> None:
        """Link and store what has settled in the range and is not stored or not true."""
        window = _Window(max(since_ms, 0), until_ms)
        state = await self._state(window, await self._counts_held(window))
        settled = [bucket for bucket in state.missing if state.counts.settled(bucket)]
        await self._store_hours(window, state, await self._link_settled(settled, state.counts))

    async def _counts_held(self, window: _Window) -> SpanCounts:
        """The counts that links are to be true for, with what is held of them kept.

        While a batch is being stored it may be counted and not be held yet.
        """
        for pause in _PAUSES:
            counts = await self._counts(window)
            if self._young is None or all(map(counts.settled, window.touched_with(counts.spans))):
                break
            held = await self._held(self._young, counts, window)
            counts = held.counts
            self._keep_young(held, window)
            if held.complete:
                break
            await asyncio.sleep(pause)
        return counts

    async def _held(self, young: YoungLinks, counts: SpanCounts, window: _Window) -> Held:
        with self._explanation.stage("links in memory") as note:
            asked = self._tenant, counts, window.buckets, window.until
            held = young.held_at_once(*asked)
            if held is None:
                held = await asyncio.to_thread(young.held, *asked)
            note.rows = sum(map(len, held.sums.values()))
            return held

    def _keep_young(self, held: Held, window: _Window) -> None:
        self._held_sums = held.sums
        for bucket, sums in held.sums.items():
            if not held.counts.settled(bucket):
                self._keep("bucket", bucket, held.counts.mark(bucket), sums)
        last = window.touched[-1]
        partly = last in window.edges and last != window.touched.start
        self._ending = {last: held.ending} if partly and held.ending is not None else {}
        self._changed = {last: held.changed} if last in window.edges and held.changed else {}

    async def _counts(self, window: _Window) -> SpanCounts:
        """To be read before links: what is counted was written before, so these have it all."""
        touched = window.touched
        at_ms = now_ms()
        spans = await self._store.counts(touched.start - REACH, touched.stop - 1 + REACH)
        return SpanCounts(at_ms, spans)

    def _affordable(self, asked: _Window, counts: SpanCounts) -> _Window:
        """As much of a range as can be linked while somebody waits."""
        since, until = asked.since, asked.until
        young = [b for b in asked.touched_with(counts.spans) if not counts.settled(b)]
        partial = [b for b in asked.edges if b not in young]
        for bucket in (
            *self._beyond(young, _SPANS_WAITED, asked, counts),
            *self._beyond(partial, _SPANS_EDGES, asked, counts),
        ):
            if bucket == asked.touched.start:
                since = (bucket + 1) * BUCKET_MS
            else:
                until = min(until, bucket * BUCKET_MS - 1)
        if since > until:
            raise StoreLimit(
                "too many spans to link them while you wait; links of whole five minutes are "
                "there some ten minutes later: ask for a range that begins earlier"
            )
        return _Window(since, until)

    def _beyond(
        self, buckets: Iterable[int], most: int, window: _Window, counts: SpanCounts
    ) -> Iterator[int]:
        """Those of the buckets that are too much when the ones before them are linked."""
        left = most
        for bucket in buckets:
            cost = self._cost(bucket, window, counts)
            if cost > left:
                yield bucket
            else:
                left -= cost

    def _cost(self, bucket: int, window: _Window, counts: SpanCounts) -> int:
        """Spans to link for a young or partial bucket that is not linked already."""
        whole = bucket in window.buckets
        if (whole and counts.settled(bucket)) or bucket in self._ending:
            return 0
        known = self._cached("bucket", bucket, counts.mark(bucket)) if whole else None
        linked = known if whole else self._traces(bucket, counts)
        return 0 if linked is not None else counts.spans.get(bucket, 0)

    async def _state(self, window: _Window, counts: SpanCounts) -> _State:
        hours = await self._known_hours(window, counts)
        rest = [b for b in counts.spans if b in window.buckets and b // OF_HOUR not in hours]
        buckets = await self._known_buckets(rest, counts)
        return _State(counts, hours, buckets, [b for b in rest if b not in buckets])

    async def _known_hours(self, window: _Window, counts: SpanCounts) -> dict[int, LinkSums]:
        marks = {hour: counts.mark_of_hour(hour) for hour in counts.final_hours(window.hours)}
        known = {hour: self._cached("hour", hour, mark) for hour, mark in marks.items()}
        unknown = [hour for hour, sums in known.items() if sums is None]
        for hour, (spans, sums) in (await self._store.hours(unknown)).items():
            if spans == marks[hour]:
                known[hour] = self._keep("hour", hour, spans, sums)
        return {hour: sums for hour, sums in known.items() if sums is not None}

    async def _known_buckets(
        self, buckets: Iterable[int], counts: SpanCounts
    ) -> dict[int, LinkSums]:
        marks = {bucket: counts.mark(bucket) for bucket in buckets}
        known = {bucket: self._cached("bucket", bucket, mark) for bucket, mark in marks.items()}
        unknown = [b for b, sums in known.items() if sums is None and counts.settled(b)]
        for bucket, (reach, spans, sums) in (await self._store.buckets(unknown)).items():
            if reach >= counts.reach(bucket) and spans == counts.around(bucket, reach):
                known[bucket] = self._keep("bucket", bucket, marks[bucket], sums)
        return {bucket: sums for bucket, sums in known.items() if sums is not None}

    async def _complete(
        self, window: _Window, state: _State
    ) -> tuple[list[LinkSums], list[LinkSums]]:
        """The links of all whole buckets, settled and not; what settled unlinked is stored."""
        settled = [bucket for bucket in state.missing if state.counts.settled(bucket)]
        linked = await self._link_settled(settled, state.counts)
        fresh = await asyncio.gather(
            *(
                self._sums_of(bucket, state.counts)
                for bucket in state.missing
                if bucket not in linked
            )
        )
        await self._store_hours(window, state, linked)
        known: dict[bool, list[LinkSums]] = {True: [*state.hours.values()], False: fresh}
        for bucket, sums in (*state.buckets.items(), *linked.items()):
            known[state.counts.settled(bucket)].append(sums)
        return known[True], known[False]

    async def _edges(self, window: _Window, counts: SpanCounts) -> list[LinkedTraces]:
        """The traces that began in the five minutes that the range has only a part of."""
        reading = [self._homed(bucket, counts) for bucket in self._edges_to_cut(window)]
        known = self._ends_known(window, counts)
        found = [await one for one in reading] if known else await asyncio.gather(*reading)
        return [traces for linked in found for traces in linked]

    def _edges_to_cut(self, window: _Window) -> list[int]:
        return [bucket for bucket in window.edges if bucket not in self._ending]

    def _ends_known(self, window: _Window, counts: SpanCounts) -> bool:
        """Whether the traces at both ends of a range are in memory."""
        first = window.touched.start
        kept = [self._traces(bucket, counts) for bucket in self._edges_to_cut(window)]
        return None not in (*kept, self._cached("crossing", first, counts.mark(first)))

    async def _sums_of(self, bucket: int, counts: SpanCounts) -> LinkSums:
        """The links of a bucket that has not settled."""
        sums = total(traces.sums(_all(traces)) for traces in await self._homed(bucket, counts))
        self._keep("bucket", bucket, counts.mark(bucket), sums)
        return sums

    async def _homed(self, bucket: int, counts: SpanCounts) -> list[LinkedTraces]:
        """The traces that began in a bucket."""
        kept = self._traces(bucket, counts)
        if kept is None:
            spans = counts.spans.get(bucket, 0)
            bounds = {"before": bucket - REACH, "after": bucket + REACH, "b0": bucket, "b1": bucket}
            tables = self._whole(_HOME, bounds, spans)
            linked = [await self._link(table) async for table in tables] if spans else []
            chosen = [traces.select(traces.home == bucket) for traces in linked]
            changed = self._changed.get(bucket)
            kept = _Parts(chosen, number=changed.now if changed else 0)
            if changed:
                self._keep("traces held", bucket, changed.held, kept)
            else:
                self._keep("traces", bucket, counts.mark(bucket), kept)
        return kept.parts

    def _traces(self, bucket: int, counts: SpanCounts) -> _Parts | None:
        """The same if known: beside ingest the counts change all the time, few of its traces do."""
        changed = self._changed.get(bucket)
        if changed is not None:
            held: _Parts | None = self._cached("traces held", bucket, changed.held)
            if held is not None and held.number >= changed.last:
                return held
        kept: _Parts | None = self._cached("traces", bucket, counts.mark(bucket))
        return kept

    async def _crossing(self, bucket: int, counts: SpanCounts) -> _Parts:
        """The traces that began before a bucket and go on in or after it."""
        mark = counts.mark(bucket)
        kept: _Parts | None = self._cached("crossing", bucket, mark)
        if kept is not None:
            return kept
        most = _LOOKED_MOST if counts.settled(bucket + 1) else _LOOKED_MOST_YOUNG
        for reach in _CROSSING_REACHES:
            last = reach == _CROSSING_REACHES[-1]
            looked = counts.between(bucket - reach, bucket - 1 + reach)
            if looked > most and not last:
                continue
            spans = await self._crossing_folds(bucket, reach, counts)
            if sum(spans.values()) <= _CROSSING_MOST or last:
                break
        parts = [traces async for traces in self._link_crossing(bucket, reach, spans)]
        kept = _Parts(parts, reach)
        self._keep("crossing", bucket, mark, kept)
        return kept

    async def _crossing_folds(self, bucket: int, reach: int, counts: SpanCounts) -> dict[int, int]:
        """Folded ids that have spans on both sides of a bucket's beginning, and how many."""
        sides = (max(bucket - reach, 0), bucket - 1), (bucket, bucket - 1 + reach)
        fewer, more = sorted(sides, key=lambda side: counts.between(*side))
        spans = counts.between(*fewer)
        if not spans:
            return {}
        bounds = {"before": sides[0][0], "after": sides[1][1], "m0": more[0], "m1": more[1]}
        ends = {"c0": fewer[0], "c1": fewer[1]}
        found: dict[int, int] = {}
        for f0, f1 in await self._ranges(ends, -(-spans // _LOOKED_AT_ONCE)):
            self._check_time()
            parameters = {**bounds, **ends, "f0": f0, "f1": f1}
            table = await self._store.fetch("find crossing traces", _CROSSING_FOLDS, parameters)
            folds, counted = (table.column(name).to_pylist() for name in ("fold", "spans"))
            found |= zip(folds, counted, strict=True)
        return found

    async def _link_crossing(
        self, bucket: int, reach: int, spans: Mapping[int, int]
    ) -> AsyncIterator[LinkedTraces]:
        """Link traces by their folded ids, and keep those that cross a bucket's beginning."""
        bounds = {"before": max(bucket - reach, 0), "after": bucket - 1 + reach}
        for folds in _groups(spans):
            linked = await self._link(await self._read(_CROSSING, {**bounds, "folds": folds}))
            goes_on = linked.between(bucket * BUCKET_MS, (bucket + reach) * BUCKET_MS)
            yield linked.select((linked.home < bucket) & goes_on)

    async def _link_settled(
        self, buckets: Iterable[int], counts: SpanCounts
    ) -> dict[int, LinkSums]:
        """Link buckets, neighbours together, and store their links."""
        wanted = list(buckets)
        if wanted and self._young is not None and self._held_sums is None:
            asked = self._tenant, counts, wanted, 0
            self._held_sums = (await asyncio.to_thread(self._young.held, *asked)).sums
        sums = self._held_sums or {}
        linked = {bucket: sums[bucket] for bucket in wanted if bucket in sums}
        await self._put_buckets(linked, counts)
        for run in _runs((bucket for bucket in wanted if bucket not in linked), counts.spans):
            of_run = await self._link_run(run, counts)
            linked |= of_run
            await self._put_buckets(of_run, counts)
        for bucket, links in linked.items():
            self._keep("bucket", bucket, counts.mark(bucket), links)
        return linked

    async def _put_buckets(self, sums: Mapping[int, LinkSums], counts: SpanCounts) -> None:
        await self._store.put_buckets(
            {bucket: (*counts.mark(bucket), links) for bucket, links in sums.items()}
        )

    async def _link_run(self, run: list[int], counts: SpanCounts) -> dict[int, LinkSums]:
        first, last = run[0], run[-1]
        bounds = {"before": first - REACH, "after": last + REACH, "b0": first, "b1": last}
        parts: dict[int, list[LinkSums]] = {bucket: [] for bucket in run}
        spans = counts.between(first, last)
        async for table in self._whole(_HOME, bounds, spans):
            with self._explanation.stage("link", rows=table.num_rows):
                linked = await asyncio.to_thread(bulk_linker.link_homes, table, run, REACH)
            for bucket, sums in linked:
                parts[bucket].append(sums)
        return {bucket: total(sums) for bucket, sums in parts.items()}

    async def _whole(
        self, sql: str, bounds: Mapping[str, int], spans: int
    ) -> AsyncIterator[pa.Table]:
        """Read whole traces, in as many parts as so many spans need."""
        within = {name: max(bucket, 0) for name, bucket in bounds.items()}
        ends = {"c0": within["b0"], "c1": within["b1"]}
        ranges = await self._ranges(ends, -(-spans // _SPANS_MOST))
        for first, last in ranges:
            part = sql if len(ranges) > 1 else sql.replace(_PART, "")
            yield await self._read(part, {**within, "f0": first, "f1": last})

    async def _read(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        """Read some whole traces."""
        self._check_time()
        return await self._store.fetch("read traces", sql, parameters)

    async def _link(self, table: pa.Table) -> LinkedTraces:
        with self._explanation.stage("link", rows=table.num_rows):
            return await asyncio.to_thread(bulk_linker.link_traces, table)

    async def _ranges(self, ends: Mapping[str, int], parts: int) -> list[tuple[int, int]]:
        """Ranges of folded ids, both ends in them, that have about equally many spans."""
        cuts: list[int] = []
        if parts > 1:
            levels = ", ".join(f"{number / parts:.6f}" for number in range(1, parts))
            table = await self._store.fetch("divide traces", _CUTS % levels, ends)
            cuts = sorted({*table.column("cuts")[0].as_py()} - {0})
        return list(zip([0, *cuts], [*(cut - 1 for cut in cuts), _LAST_FOLD], strict=True))

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise StoreLimit(
                f"linking what nobody asked for before took more than {self._seconds:g} s; "
                "what is linked by now is kept: ask again, or for less time"
            )

    async def _store_hours(
        self, window: _Window, state: _State, linked: Mapping[int, LinkSums]
    ) -> None:
        """Sum the hours whose buckets are all final, and store them."""
        known = {**state.buckets, **linked}
        hours: dict[int, tuple[int, LinkSums]] = {}
        for hour in state.counts.final_hours(window.hours):
            buckets = range(hour * OF_HOUR, (hour + 1) * OF_HOUR)
            if hour in state.hours:
                continue
            links = total(known[bucket] for bucket in buckets if bucket in known)
            if len(links):
                hours[hour] = state.counts.mark_of_hour(hour), links
        await self._store.put_hours(hours)
        for hour, (spans, links) in hours.items():
            self._keep("hour", hour, spans, links)

    def _cached(self, what: str, place: int, mark: Any) -> Any:
        return self._cache.get((self._tenant, what, place), mark)

    def _keep(self, what: str, place: int, mark: Any, value: Any) -> Any:
        self._cache.put((self._tenant, what, place), mark, value)
        return value


@dataclass(frozen=True, slots=True)
class _Parts:
    """Linked traces that were read in parts."""

    parts: list[LinkedTraces]
    #: How many buckets around they were looked for.
    reach: int = REACH
    #: Of the latest spans before they were read, where these are numbered.
    number: int = 0

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


def _all(traces: LinkedTraces) -> Bools:
    return np.ones(len(traces.home), bool)


def _within(window: _Window, traces: LinkedTraces) -> LinkSums:
    """The links of those with a span in the window."""
    return traces.sums(traces.between(window.since, window.until))


def _groups(spans: Mapping[int, int]) -> Iterator[list[int]]:
    """Folded ids, as many together as may be linked at once and named in a query."""
    group: list[int] = []
    left = _SPANS_MOST
    for fold, count in spans.items():
        if group and (count > left or len(group) == _FOLDS_MOST):
            yield group
            group, left = [], _SPANS_MOST
        group.append(fold)
        left -= count
    if group:
        yield group


def _ends(buckets: range) -> list[int]:
    return sorted({buckets[0], buckets[-1]}) if buckets else []


def _runs(missing: Iterable[int], spans_of: Mapping[int, int]) -> Iterator[list[int]]:
    """Neighbouring buckets, as many together as may be linked at once."""
    run: list[int] = []
    spans = 0
    for bucket in missing:
        if run and (bucket != run[-1] + 1 or spans + spans_of[bucket] > _SPANS_MOST):
            yield run
            run, spans = [], 0
        run.append(bucket)
        spans += spans_of[bucket]
    if run:
        yield run
