"""Links as rows of the store: of five minutes, and of hours, each with the count it is true for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from ...server import Server
from ...spans.tables import BUCKET_US, partition_days
from ..explain import Explanation
from .count_memory import CountMemory
from .link_sums import LinkSums

OF_HOUR = 12  # buckets
_LAST_BUCKET = 2**32 - 1  # that a column can have
#: A day before what is asked for is counted with it, for the next question may begin earlier.
_COUNTED_BEFORE = 288

_LINKS = "spans, parents, children, calls, errors"
_BUCKETS = f"""
SELECT bucket, reach, {_LINKS} FROM span_links FINAL
WHERE tenant = {{tenant:String}} AND bucket IN {{places:Array(UInt32)}}
"""
_HOURS = f"""
SELECT hour, {_LINKS} FROM span_link_hours FINAL
WHERE tenant = {{tenant:String}} AND hour IN {{places:Array(UInt32)}}
"""
_COUNTS = """
SELECT bucket, sum(spans) AS spans FROM span_counts
WHERE tenant = {tenant:String} AND bucket BETWEEN {b0:UInt32} AND {b1:UInt32} GROUP BY bucket
"""
_KEY_FIELDS = {"tenant": pa.string(), "part": pa.date32()}
_LINK_FIELDS = {
    "version": pa.uint64(),
    "spans": pa.uint64(),
    "parents": pa.list_(pa.string()),
    "children": pa.list_(pa.string()),
    "calls": pa.list_(pa.uint64()),
    "errors": pa.list_(pa.uint64()),
}
_BUCKET_SCHEMA = pa.schema(
    {**_KEY_FIELDS, "bucket": pa.uint32(), "reach": pa.uint8(), **_LINK_FIELDS}
)
_HOUR_SCHEMA = pa.schema({**_KEY_FIELDS, "hour": pa.uint32(), **_LINK_FIELDS})


class LinkStore:
    """The rows of one tenant."""

    def __init__(
        self,
        server: Server,
        tenant: str,
        explanation: Explanation,
        counted: CountMemory | None = None,
    ) -> None:
        self._server = server
        self._tenant = tenant
        self._explanation = explanation
        self._counted = counted

    async def counts(self, first: int, last: int) -> dict[int, int]:
        """How many spans the buckets have, in order; those without are left out."""
        first, last = min(max(first, 0), _LAST_BUCKET), min(last, _LAST_BUCKET)
        known = self._counted.counts(self._tenant, first, last) if self._counted else None
        if known is None:
            known = await self._read_counts(first, last)
        return dict(sorted(known.items()))

    async def _read_counts(self, first: int, last: int) -> dict[int, int]:
        """The same from the store; where they are remembered, those before and after as well."""
        if self._counted is None:
            return await self._counts_between(first, last)
        since, number = max(first - _COUNTED_BEFORE, 0), self._counted.number()
        spans = await self._counts_between(since, _LAST_BUCKET)
        self._counted.keep(self._tenant, since, spans, number)
        return {bucket: count for bucket, count in spans.items() if first <= bucket <= last}

    async def _counts_between(self, first: int, last: int) -> dict[int, int]:
        table = await self.fetch("count spans", _COUNTS, {"b0": first, "b1": last})
        columns = table.to_pydict()
        return dict(zip(columns["bucket"], columns["spans"], strict=True))

    async def hours(self, hours: Sequence[int]) -> dict[int, tuple[int, LinkSums]]:
        """What is stored of these hours: the count it is true for, and the links."""
        if not hours:
            return {}
        table = await self.fetch("read links of hours", _HOURS, {"places": hours})
        keys = (table.column(name).to_pylist() for name in ("hour", "spans"))
        return {
            hour: (spans, _row_sums(table, row))
            for row, (hour, spans) in enumerate(zip(*keys, strict=True))
        }

    async def buckets(self, buckets: Sequence[int]) -> dict[int, tuple[int, int, LinkSums]]:
        """What is stored of these buckets: its reach, the count it is true for, and the links."""
        if not buckets:
            return {}
        table = await self.fetch("read links of five minutes", _BUCKETS, {"places": buckets})
        keys = (table.column(name).to_pylist() for name in ("bucket", "reach", "spans"))
        return {
            bucket: (reach, spans, _row_sums(table, row))
            for row, (bucket, reach, spans) in enumerate(zip(*keys, strict=True))
        }

    async def put_buckets(self, rows: Mapping[int, tuple[int, int, LinkSums]]) -> None:
        """Store links by bucket, with their reach and the count they are true for."""
        version = now_ms()
        await self._insert(
            "span_links",
            [
                self._key(bucket, version)
                | {"bucket": bucket, "reach": reach, "spans": spans}
                | sums.columns()
                for bucket, (reach, spans, sums) in rows.items()
            ],
            _BUCKET_SCHEMA,
        )

    async def put_hours(self, rows: Mapping[int, tuple[int, LinkSums]]) -> None:
        """Store links by hour, with the count they are true for."""
        version = now_ms()
        await self._insert(
            "span_link_hours",
            [
                self._key(hour * OF_HOUR, version) | {"hour": hour, "spans": spans} | sums.columns()
                for hour, (spans, sums) in rows.items()
            ],
            _HOUR_SCHEMA,
        )

    async def fetch(self, stage: str, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        """A query of this tenant, explained."""
        with self._explanation.stage(stage, sql=sql) as note:
            table = await self._server.fetch(sql, {"tenant": self._tenant, **parameters})
            note.rows = table.num_rows
            return table

    def _key(self, bucket: int, version: int) -> dict[str, Any]:
        days = partition_days(np.array([bucket * BUCKET_US]), np.array([version * 1000]))
        return {"tenant": self._tenant, "part": int(days[0]), "version": version}

    async def _insert(
        self, table: str, rows: Iterable[Mapping[str, Any]], schema: pa.Schema
    ) -> None:
        for part, group in groupby(sorted(rows, key=_part), key=_part):
            data = pa.Table.from_pylist(list(group), schema=schema)
            version = data.column("version")[0]
            token = f"{table}-{self._tenant}-{version}-{part}-{data.column(2)[0]}"
            await asyncio.to_thread(self._server.store.insert, table, data, token)


def now_ms() -> int:
    """Unix ms."""
    return time.time_ns() // 1_000_000


def _part(row: Mapping[str, Any]) -> int:
    return int(row["part"])


def _row_sums(table: pa.Table, row: int) -> LinkSums:
    names = ("parents", "children", "calls", "errors")
    return LinkSums.of_columns(*(table.column(name)[row].values for name in names))
