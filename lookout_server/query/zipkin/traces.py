"""Whole traces out of the store, by id or by search."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...server import Server
from ...spans.model import Span
from .candidates import Candidates, plan_drivers
from .explain import Explanation
from .read import SPAN_COLUMNS, distinct, spans_of
from .request import QueryRequest, trace_timestamp

#: How far back the first step of a search looks, and by how much each further step looks wider:
#: busy services answer from the first minutes, rare ones need a few steps for a day.
_FIRST_STEP_US = 120_000_000
_WIDER = 8

_FETCH = f"""
SELECT {SPAN_COLUMNS} FROM spans
WHERE tenant = {{tenant:String}} AND (bucket, fold) GLOBAL IN (
    SELECT bucket, fold FROM trace_index
    WHERE tenant = {{tenant:String}} AND fold IN {{folds:Array(UInt32)}})
"""


class TraceReader:
    """Reads one tenant's traces for one request."""

    def __init__(self, server: Server, tenant: str, explanation: Explanation) -> None:
        self._server = server
        self._tenant = tenant
        self._explanation = explanation
        self._strict = server.config.strict_trace_id
        self._slack_us = int(server.config.search_slack * 1_000_000)

    async def by_id(self, trace_id: str) -> list[Span]:
        """The spans of one trace, oldest first; empty if it is unknown."""
        traces = await self.by_ids([trace_id])
        return traces[0] if traces else []

    async def by_ids(self, trace_ids: Sequence[str]) -> list[list[Span]]:
        """The traces known of these normalized ids."""
        wanted = set(trace_ids if self._strict else (i[-16:] for i in trace_ids))
        found = await self._fetch({_fold(trace_id) for trace_id in trace_ids})
        if not self._strict:
            return [spans for low, spans in found.items() if low in wanted]
        strict = (trace for spans in found.values() for trace in by_strict_id(spans))
        return [trace for trace in strict if trace[0].trace_id in wanted]

    async def search(self, request: QueryRequest) -> list[list[Span]]:
        """Traces that match, most recent first."""
        drivers = plan_drivers(request)
        if drivers is None:
            return []
        candidates = Candidates(self._tenant, drivers, request, self._slack_us)
        matched: list[list[Span]] = []
        seen: set[int] = set()
        later = candidates.after_window(int(time.time() * 1_000_000))
        if later is not None:
            matched += await self._matching(request, await self._folds(*later, seen))
        step = _FIRST_STEP_US
        until = candidates.latest
        while until > candidates.earliest and not _complete(matched, request.limit, until):
            since = max(until - step, candidates.earliest)
            sql, parameters, most = candidates.step(since, until, request.limit)
            rows = await self._query("find candidates", sql, parameters)
            folds = rows.column("fold").to_pylist()
            matched += await self._matching(request, _new(folds, seen))
            if len(folds) < most:
                until, step = since, step * _WIDER
                continue
            # More than fit: go on from the oldest seen. A single moment with more is taken whole.
            oldest = min(rows.column("last").to_pylist())
            if oldest + 1_000_000 >= until:
                candidates.allow_more()
            else:
                until = oldest + 1_000_000
        matched.sort(key=trace_timestamp, reverse=True)
        return matched[: request.limit]

    async def _folds(self, sql: str, parameters: Mapping[str, Any], seen: set[int]) -> list[int]:
        rows = await self._query("find candidates after the window", sql, parameters)
        return _new(rows.column("fold").to_pylist(), seen)

    async def _matching(self, request: QueryRequest, folds: Iterable[int]) -> list[list[Span]]:
        found = await self._fetch(set(folds))
        # As in Zipkin a trace must match as its low 64 bits group it and, if ids are strict, alone.
        matching = [spans for spans in found.values() if request.matches(spans)]
        if not self._strict:
            return matching
        return [t for spans in matching for t in by_strict_id(spans) if request.matches(t)]

    async def _fetch(self, folds: set[int]) -> dict[str, list[Span]]:
        """Distinct spans by low trace id."""
        if not folds:
            return {}
        parameters = {"tenant": self._tenant, "folds": sorted(folds)}
        table = await self._query("read traces", _FETCH, parameters)
        with self._explanation.stage("decode spans", rows=table.num_rows):
            traces: dict[str, list[Span]] = {}
            for span in spans_of(table):
                traces.setdefault(span.low_trace_id, []).append(span)
            return {low: distinct(spans) for low, spans in traces.items()}

    async def _query(self, stage: str, sql: str, parameters: Mapping[str, Any]) -> Any:
        with self._explanation.stage(stage, sql=sql) as note:
            table = await self._server.fetch(sql, parameters)
            note.rows = table.num_rows
            return table


def by_strict_id(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans of one low trace id, grouped by their whole trace id."""
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(span.trace_id, []).append(span)
    return list(groups.values())


def _complete(matched: list[list[Span]], limit: int, until: int) -> bool:
    """Whether no unseen trace can be among the most recent ones.

    A trace that was not found yet has its matching spans before ``until``, so it began before.
    """
    if len(matched) < limit:
        return False
    return sorted(map(trace_timestamp, matched), reverse=True)[limit - 1] >= until


def _new(folds: Iterable[int], seen: set[int]) -> list[int]:
    new = [fold for fold in folds if fold not in seen]
    seen.update(new)
    return new


def _fold(trace_id: str) -> int:
    low = int(trace_id[-16:], 16)
    return (low ^ (low >> 32)) & 0xFFFFFFFF
