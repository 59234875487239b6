"""Dependency links of a time range: stored for traces that have settled, computed for the rest.

Links are kept per five minutes ("bucket"), for the traces whose first span lies in it, always from
whole traces, and per hour once all of its buckets are final. A range is answered by the stored
links of the hours and buckets inside of it, by linking the buckets that are not stored or no longer
true, and by linking the few traces that cross its edges.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from ...server import Server
from ...spans.tables import BUCKET_US, bucket_of, partition_days
from ..explain import Explanation
from . import bulk_linker
from .bulk_linker import LINK_COLUMNS, total
from .linker import Linker

#: A trace is looked for this many buckets beyond its first (an hour).
REACH = 12
#: Links of a bucket are stored once it is this old: by then its traces have mostly ended, and
#: spans of it that come later change its count, which has it linked again.
_SETTLED_MS = 600_000
#: While a bucket is young only its own spans and the next bucket's make its links untrue: others
#: of the hour come all the time. An hour later it is linked once more, for good.
_YOUNG_REACH = 1
_BUCKET_MS = BUCKET_US // 1000
_OF_HOUR = 12  # buckets
#: Spans linked at once: bounds memory to some hundred MB.
_SPANS_MOST = 400_000

_OF_TENANT = "tenant = {tenant:String}"
_HOME_IN_RANGE = f"""
low GLOBAL IN (SELECT low FROM spans WHERE {_OF_TENANT} AND ts > 0
    AND bucket BETWEEN {{b0:UInt32}} AND {{b1:UInt32}}
    AND intDiv(ts, 1000) BETWEEN {{since:Int64}} AND {{until:Int64}})
AND low GLOBAL NOT IN (SELECT low FROM spans WHERE {_OF_TENANT} AND ts > 0
    AND bucket >= {{before:UInt32}} AND bucket < {{b0:UInt32}})
"""
_HOME_BEFORE = f"""
low GLOBAL IN (SELECT low FROM spans WHERE {_OF_TENANT}
    AND bucket BETWEEN {{s0:UInt32}} AND {{s1:UInt32}}
    AND intDiv(ts, 1000) BETWEEN {{since:Int64}} AND {{until:Int64}}
    AND low GLOBAL IN (SELECT low FROM spans WHERE {_OF_TENANT} AND ts > 0
        AND bucket >= {{before:UInt32}} AND bucket < {{b0:UInt32}}))
"""
_ANY_IN_RANGE = f"""
(bucket, fold) GLOBAL IN (SELECT bucket, fold FROM trace_index
    WHERE {_OF_TENANT} AND fold GLOBAL IN (
        SELECT fold FROM spans WHERE {_OF_TENANT}
        AND bucket BETWEEN {{b0:UInt32}} AND {{b1:UInt32}}
        AND intDiv(ts, 1000) BETWEEN {{since:Int64}} AND {{until:Int64}}))
"""
_COUNTS = f"""
SELECT bucket, sum(spans) AS spans FROM span_counts
WHERE {_OF_TENANT} AND bucket BETWEEN {{b0:UInt32}} AND {{b1:UInt32}} GROUP BY bucket
"""
_STORED = f"""
SELECT bucket, argMax(reach, version) AS reach, argMax(spans, version) AS spans FROM span_links
WHERE {_OF_TENANT} AND bucket BETWEEN {{b0:UInt32}} AND {{b1:UInt32}} GROUP BY bucket
"""
_STORED_HOURS = f"""
SELECT hour, argMax(spans, version) AS spans FROM span_link_hours
WHERE {_OF_TENANT} AND hour BETWEEN {{h0:UInt32}} AND {{h1:UInt32}} GROUP BY hour
"""
_EACH_LINK = "ARRAY JOIN parents AS parent, children AS child, calls AS call, errors AS error"
_SUMS = f"""
SELECT parent, child, sum(call) AS total, sum(error) AS failed FROM (
    SELECT parents, children, calls, errors FROM span_link_hours FINAL
    WHERE {_OF_TENANT} AND hour IN {{hours:Array(UInt32)}}
    UNION ALL SELECT parents, children, calls, errors FROM span_links FINAL
    WHERE {_OF_TENANT} AND bucket IN {{buckets:Array(UInt32)}})
{_EACH_LINK} GROUP BY parent, child
"""
_SUMS_BY_HOUR = f"""
SELECT hour, groupArray(parent) AS parents, groupArray(child) AS children,
    groupArray(total) AS calls, groupArray(failed) AS errors
FROM (
    SELECT intDiv(bucket, {{of_hour:UInt32}}) AS hour, parent, child,
        sum(call) AS total, sum(error) AS failed
    FROM (SELECT bucket, parents, children, calls, errors FROM span_links FINAL
        WHERE {_OF_TENANT} AND intDiv(bucket, {{of_hour:UInt32}}) IN {{hours:Array(UInt32)}}
        AND bucket BETWEEN {{b0:UInt32}} AND {{b1:UInt32}})
    {_EACH_LINK} GROUP BY hour, parent, child)
GROUP BY hour
"""


@dataclass(frozen=True, slots=True)
class _Window:
    """A range in ms, both ends in it, and the buckets that lie wholly inside."""

    since: int
    until: int

    @property
    def first(self) -> int:
        return bucket_of((self.since + _BUCKET_MS - 1) // _BUCKET_MS * BUCKET_US)

    @property
    def last(self) -> int:
        return bucket_of((self.until + 1) // _BUCKET_MS * BUCKET_US) - 1

    @property
    def buckets(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def hours(self) -> range:
        """The hours that lie wholly inside."""
        return range(-(-self.first // _OF_HOUR), (self.last + 1) // _OF_HOUR)


@dataclass(frozen=True, slots=True)
class _State:
    """What is stored and true of a window's links: hours, and buckets of other hours."""

    counts: Mapping[int, int]
    hours: list[int]
    buckets: list[int]
    #: The other buckets that have spans, with how many.
    missing: dict[int, int]


class Dependencies:
    """The links of one tenant."""

    def __init__(self, server: Server, tenant: str, explanation: Explanation) -> None:
        self._server = server
        self._tenant = tenant
        self._explanation = explanation

    async def between(self, since_ms: int, until_ms: int) -> Linker:
        """Links of every trace with a span in the range (Unix ms, both ends in it)."""
        window = _Window(max(since_ms, 0), until_ms)
        if not window.buckets:
            return total((await self._link(_ANY_IN_RANGE, window, self._all(window))).values())
        state = await self._state(window)
        linked, sums, *edges = await asyncio.gather(
            self._link_missing(state.missing, state.counts),
            self._sums(state),
            self._link_before(window),
            self._link_last(window),
        )
        await self._store_hours(window, state)
        return total((sums, *linked, *(linker for edge in edges for linker in edge.values())))

    async def settle(self, since_ms: int, until_ms: int) -> None:
        """Link and store what has settled in the range and is not stored or not true."""
        window = _Window(max(since_ms, 0), until_ms)
        state = await self._state(window)
        settled = {bucket: n for bucket, n in state.missing.items() if _settled(bucket)}
        await self._link_missing(settled, state.counts)
        await self._store_hours(window, state)

    async def _state(self, window: _Window) -> _State:
        buckets = window.buckets
        parameters = {
            "tenant": self._tenant,
            "b0": buckets.start,
            "b1": buckets.stop - 1,
            "h0": window.hours.start,
            "h1": max(window.hours.stop - 1, 0),
        }
        # Counts first: what is counted was written before, so links read later have it all.
        counts = await self._counts(buckets.start, buckets.stop - 1 + REACH)
        known, known_hours = await asyncio.gather(
            self._fetch("look up stored links", _STORED, parameters),
            self._fetch("look up stored hours", _STORED_HOURS, parameters),
        )
        hours = {
            hour
            for hour, spans in zip(*known_hours.to_pydict().values(), strict=True)
            if hour in window.hours and spans == _count_of_hour(counts, hour)
        }
        true = {
            bucket
            for bucket, reach, spans in zip(*known.to_pydict().values(), strict=True)
            if _count(counts, bucket, reach) == spans and reach >= _reach(bucket)
        }
        rest = [bucket for bucket in buckets if bucket // _OF_HOUR not in hours]
        return _State(
            counts,
            sorted(hours),
            [bucket for bucket in rest if bucket in true],
            {bucket: counts[bucket] for bucket in rest if bucket in counts and bucket not in true},
        )

    async def _counts(self, first: int, last: int) -> dict[int, int]:
        parameters = {"tenant": self._tenant, "b0": first, "b1": last}
        table = await self._fetch("count spans", _COUNTS, parameters)
        columns = table.to_pydict()
        return dict(sorted(zip(columns["bucket"], columns["spans"], strict=True)))

    async def _sums(self, state: _State) -> Linker:
        linker = Linker()
        if state.hours or state.buckets:
            parameters = {"hours": state.hours, "buckets": state.buckets, "tenant": self._tenant}
            table = await self._fetch("sum stored links", _SUMS, parameters)
            for link in zip(*table.to_pydict().values(), strict=True):
                linker.add(*link)
        return linker

    async def _link_missing(
        self, missing: Mapping[int, int], counts: Mapping[int, int]
    ) -> list[Linker]:
        """Link buckets, neighbours together, and store those that have settled."""
        linked: list[Linker] = []
        for buckets in _runs(missing):
            window = _Window(buckets[0] * _BUCKET_MS, (buckets[-1] + 1) * _BUCKET_MS - 1)
            linkers = await self._link(_HOME_IN_RANGE, window, self._homes(window, window.buckets))
            await self._store(buckets, linkers, counts)
            linked.append(total(linkers.values()))
        return linked

    async def _link_before(self, window: _Window) -> dict[int, Linker]:
        """Traces that began before the whole buckets and have a span in the range."""
        parameters = self._homes(window, window.buckets)
        parameters |= {"s0": bucket_of(window.since * 1000), "s1": window.first + REACH}
        parameters |= {"from": parameters["before"], "after": window.first - 1 + REACH}
        return await self._link(_HOME_BEFORE, window, parameters)

    async def _link_last(self, window: _Window) -> dict[int, Linker]:
        """Traces that began in the bucket that the range ends in the middle of."""
        last = bucket_of(window.until * 1000)
        if last == window.last:
            return {}
        return await self._link(_HOME_IN_RANGE, window, self._homes(window, range(last, last + 1)))

    def _all(self, window: _Window) -> dict[str, Any]:
        first, last = bucket_of(window.since * 1000), bucket_of(window.until * 1000)
        return self._homes(window, range(first, last + 1)) | {"from": max(first - REACH, 0)}

    def _homes(self, window: _Window, buckets: range) -> dict[str, Any]:
        return {
            "b0": buckets.start,
            "b1": buckets.stop - 1,
            "before": max(buckets.start - REACH, 0),
            # A span without timestamp may be kept a little before its trace begins.
            "from": max(buckets.start - 1, 0),
            "after": buckets.stop - 1 + REACH,
            "since": window.since,
            "until": window.until,
        }

    async def _link(
        self, traces: str, window: _Window, parameters: Mapping[str, Any]
    ) -> dict[int, Linker]:
        sql = (
            f"SELECT {LINK_COLUMNS} FROM spans WHERE {_OF_TENANT} "
            f"AND bucket BETWEEN {{from:UInt32}} AND {{after:UInt32}} AND {traces}"
        )
        table = await self._fetch("read traces", sql, {"tenant": self._tenant, **parameters})
        with self._explanation.stage("link", rows=table.num_rows):
            return await asyncio.to_thread(bulk_linker.link_by_bucket, table)

    async def _store(
        self, buckets: Iterable[int], linkers: Mapping[int, Linker], counts: Mapping[int, int]
    ) -> None:
        settled = [bucket for bucket in buckets if _settled(bucket)]
        if not settled:
            return
        version = _now_ms()
        rows = [
            _row(self._tenant, bucket, version, counts, linkers.get(bucket) or Linker())
            for bucket in settled
        ]
        await self._insert("span_links", rows, _SCHEMA)

    async def _store_hours(self, window: _Window, state: _State) -> None:
        """Sum the hours whose buckets are all final by now, and store them."""
        hours = {
            hour: _count_of_hour(state.counts, hour)
            for hour in window.hours
            if hour not in state.hours
            and _reach((hour + 1) * _OF_HOUR - 1) == REACH
            and any(b in state.counts for b in range(hour * _OF_HOUR, (hour + 1) * _OF_HOUR))
        }
        if not hours:
            return
        parameters = {
            "tenant": self._tenant,
            "of_hour": _OF_HOUR,
            "hours": list(hours),
            "b0": min(hours) * _OF_HOUR,
            "b1": (max(hours) + 1) * _OF_HOUR - 1,
        }
        table = await self._fetch("sum hours", _SUMS_BY_HOUR, parameters)
        version = _now_ms()
        rows = [
            link_row | _key(self._tenant, link_row["hour"] * _OF_HOUR, version)
            | {"spans": hours[link_row["hour"]]}
            for link_row in table.to_pylist()
        ]  # fmt: skip
        await self._insert("span_link_hours", rows, _HOUR_SCHEMA)

    async def _insert(
        self, table: str, rows: Iterable[Mapping[str, Any]], schema: pa.Schema
    ) -> None:
        for part, group in groupby(sorted(rows, key=_part), key=_part):
            data = pa.Table.from_pylist(list(group), schema=schema)
            first = data.slice(0, 1).to_pylist()[0]
            token = f"{table}-{self._tenant}-{first['version']}-{part}-{data.column(2)[0]}"
            await asyncio.to_thread(self._server.store.insert, table, data, token)

    async def _fetch(self, stage: str, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        with self._explanation.stage(stage, sql=sql) as note:
            table = await self._server.fetch(sql, parameters)
            note.rows = table.num_rows
            return table


_LINKS = {
    "version": pa.uint64(),
    "spans": pa.uint64(),
    "parents": pa.list_(pa.string()),
    "children": pa.list_(pa.string()),
    "calls": pa.list_(pa.uint64()),
    "errors": pa.list_(pa.uint64()),
}
_KEY = {"tenant": pa.string(), "part": pa.date32()}
_SCHEMA = pa.schema({**_KEY, "bucket": pa.uint32(), "reach": pa.uint8(), **_LINKS})
_HOUR_SCHEMA = pa.schema({**_KEY, "hour": pa.uint32(), **_LINKS})


def _row(
    tenant: str, bucket: int, version: int, counts: Mapping[int, int], linker: Linker
) -> dict[str, Any]:
    reach = _reach(bucket)
    return _key(tenant, bucket, version) | {
        "bucket": bucket,
        "reach": reach,
        "spans": _count(counts, bucket, reach),
        "parents": [parent for parent, _ in linker.links],
        "children": [child for _, child in linker.links],
        "calls": [link.calls for link in linker.links.values()],
        "errors": [link.errors for link in linker.links.values()],
    }


def _key(tenant: str, bucket: int, version: int) -> dict[str, Any]:
    days = partition_days(np.array([bucket * BUCKET_US]), np.array([version * 1000]))
    return {"tenant": tenant, "part": int(days[0]), "version": version}


def _part(row: Mapping[str, Any]) -> int:
    return int(row["part"])


def _count(counts: Mapping[int, int], bucket: int, reach: int) -> int:
    return sum(counts.get(b, 0) for b in range(bucket, bucket + reach + 1))


def _count_of_hour(counts: Mapping[int, int], hour: int) -> int:
    return _count(counts, hour * _OF_HOUR, _OF_HOUR - 1 + REACH)


def _reach(bucket: int) -> int:
    """How far the spans reach that make a bucket's links true, by its age."""
    done = (bucket + 1 + REACH) * _BUCKET_MS + _SETTLED_MS <= _now_ms()
    return REACH if done else _YOUNG_REACH


def _settled(bucket: int) -> bool:
    return (bucket + 1) * _BUCKET_MS + _SETTLED_MS <= _now_ms()


def _runs(missing: Mapping[int, int]) -> Iterator[list[int]]:
    """Neighbouring buckets, as many together as may be linked at once."""
    run: list[int] = []
    spans = 0
    for bucket, count in sorted(missing.items()):
        if run and (bucket != run[-1] + 1 or spans + count > _SPANS_MOST):
            yield run
            run, spans = [], 0
        run.append(bucket)
        spans += count
    if run:
        yield run


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
