"""Whole traces out of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...server import Server
from ...spans.model import Span
from ..explain import Explanation
from .candidates import Crossing, Reading
from .late import BEFORE_MOST, GoingOn
from .memories import Memories
from .memory import Step, Traces
from .read import SPAN_COLUMNS, distinct, spans_of

#: Results from this size on are decoded on a worker thread: the event loop has spans to take.
_INLINE_ROWS = 1000

_FETCH = f"""
SELECT {SPAN_COLUMNS} FROM spans
WHERE tenant = {{tenant:String}} AND (bucket, fold) GLOBAL IN (
    SELECT bucket, fold FROM trace_index
    WHERE tenant = {{tenant:String}} AND fold IN {{folds:Array(UInt32)}})
"""
#: As the index of traces is by their ids, few of these are looked up and many had it read whole.
_GO_ON = """
SELECT DISTINCT fold FROM trace_index
WHERE tenant = {tenant:String} AND fold IN {folds:Array(UInt32)}
AND bucket BETWEEN {b0:UInt32} AND {b1:UInt32}
"""
_FOLDS_NAMED = 5_000


class TraceReader:
    """Reads one tenant's traces for one request."""

    def __init__(
        self,
        server: Server,
        tenant: str,
        explanation: Explanation,
        memories: Memories | None = None,
    ) -> None:
        self.tenant = tenant
        self._memories = memories
        self._memory = memories.traces if memories else None
        self._server = server
        self._explanation = explanation
        self._strict = server.config.strict_trace_id

    async def by_ids(self, trace_ids: Sequence[str]) -> list[list[Span]]:
        """The traces known of these normalized ids, the spans of each oldest first."""
        wanted = set(trace_ids if self._strict else (i[-16:] for i in trace_ids))
        found = await self.fetch({_fold(trace_id) for trace_id in trace_ids})
        if not self._strict:
            return [spans for low, spans in found.items() if low in wanted]
        strict = (trace for spans in found.values() for trace in by_strict_id(spans))
        return [trace for trace in strict if trace[0].trace_id in wanted]

    async def fetch(self, folds: set[int]) -> dict[str, list[Span]]:
        """Distinct spans by low trace id, of all traces with these folded ids."""
        known = self._known(folds)
        number = self._memory.number() if self._memory else 0
        found = await self._read(folds - known.keys())
        traces = {low: spans for known_ones in known.values() for low, spans in known_ones.items()}
        for fold, read in found.items():
            traces |= read
            if self._memory:
                self._memory.keep((self.tenant, fold), read, number)
        return traces

    def _known(self, folds: set[int]) -> dict[int, Traces]:
        """What is in memory of them."""
        if self._memory is None:
            return {}
        with self._explanation.stage("traces in memory") as note:
            known = {fold: self._memory.get((self.tenant, fold)) for fold in folds}
            found = {fold: traces for fold, traces in known.items() if traces is not None}
            note.rows = len(found)
            return found

    async def _read(self, folds: set[int]) -> dict[int, dict[str, list[Span]]]:
        """The traces of each folded id that has any, out of the store."""
        if not folds:
            return {}
        parameters = {"tenant": self.tenant, "folds": sorted(folds)}
        table = await self._query("read traces", _FETCH, parameters)
        with self._explanation.stage("decode spans", rows=table.num_rows):
            if table.num_rows > _INLINE_ROWS:
                return await asyncio.to_thread(_by_fold, table)
            return _by_fold(table)

    async def candidates(self, reading: Reading) -> list[tuple[int, int]]:
        """(folded id, sort value) of traces that may match, the highest value first."""
        tables = await self._step("find candidates", reading)
        found: dict[int, int] = {}
        for table in tables:
            folds, values = (table.column(name).to_pylist() for name in ("fold", "last"))
            for fold, value in zip(folds, values, strict=True):
                found[fold] = max(value, found.get(fold, value))
        return sorted(found.items(), key=lambda row: -row[1])

    async def durations(self, reading: Reading) -> tuple[list[int], list[int]]:
        """Steps of durations, and how many spans each has."""
        (table,) = await self._step("count durations", reading)
        return table.column("step").to_pylist(), table.column("spans").to_pylist()

    async def more_than(self, most: int, reading: Reading) -> bool:
        """Whether there are more spans than that."""
        (step,) = self._steps(reading)
        memory = self._memories.many if self._memories else None
        if memory and memory.get(step):
            return True
        number = memory.number() if memory else 0
        table = await self._remembered("count spans", step)
        many = int(table.column("spans")[0].as_py() or 0) > most
        if memory and many:
            memory.keep(step, number)
        return many

    async def crossing(self, asked: Crossing) -> set[int]:
        """The folded ids of traces that go on after a window."""
        here, there = await asyncio.gather(self.candidates(asked.here), self._crossing_there(asked))
        return {fold for fold, _ in here} | there

    async def _crossing_there(self, asked: Crossing) -> set[int]:
        """The same of those that go on after the five minutes that it ends in."""
        late = self._memories.late if self._memories else None
        if late is None:
            return _ids(await self.candidates(asked.there))
        with self._explanation.stage("traces that go on in memory"):
            held = late.now(asked.window)
        if held is not None:
            return set(held.after.tolist())
        number = late.number()
        before = await self._step("find traces of the window", asked.before)
        folds = np.concatenate([table.column("fold").to_numpy() for table in before])
        there = await self._there(asked, folds)
        if len(folds) <= BEFORE_MOST:
            after = np.array(sorted(there), np.uint32)
            late.keep(asked.window, GoingOn(np.sort(folds), after, number))
        return there

    async def _there(self, asked: Crossing, folds: npt.NDArray[np.uint32]) -> set[int]:
        """Those that go on after the five minutes of a window's end; few are asked for by name."""
        if len(folds) > _FOLDS_NAMED:
            return _ids(await self.candidates(asked.there))
        first, last = asked.window.later
        parameters = {"tenant": self.tenant, "folds": folds.tolist(), "b0": first, "b1": last}
        table = await self._query("find traces that go on", _GO_ON, parameters)
        return set(table.column("fold").to_pylist())

    async def _step(self, stage: str, reading: Reading) -> list[pa.Table]:
        """What the statements of a step give, as far as it is not in memory."""
        steps = self._steps(reading)
        return await asyncio.gather(*(self._remembered(stage, step) for step in steps))

    def _steps(self, reading: Reading) -> list[Step]:
        parameters = tuple(sorted(reading.parameters.items()))
        buckets = reading.buckets
        return [Step(sql, parameters, self.tenant, buckets) for sql in reading.statements]

    async def _remembered(self, stage: str, step: Step) -> pa.Table:
        if self._memories is None:
            return await self._query(stage, step.sql, dict(step.parameters))
        steps = self._memories.steps
        known = steps.get(step)
        if known is None:
            number = steps.number()
            known = await self._query(stage, step.sql, dict(step.parameters))
            steps.keep(step, known, number)
        return known

    async def _query(self, stage: str, sql: str, parameters: Mapping[str, Any]) -> Any:
        with self._explanation.stage(stage, sql=sql) as note:
            table = await self._server.fetch(sql, parameters)
            note.rows = table.num_rows
            return table


def _ids(rows: Sequence[tuple[int, int]]) -> set[int]:
    return {fold for fold, _ in rows}


def _by_fold(table: pa.Table) -> dict[int, dict[str, list[Span]]]:
    traces: dict[str, list[Span]] = {}
    for span in spans_of(table):
        traces.setdefault(span.low_trace_id, []).append(span)
    folds: dict[int, dict[str, list[Span]]] = {}
    for low, spans in traces.items():
        folds.setdefault(_fold(low), {})[low] = distinct(spans)
    return folds


def by_strict_id(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans of one low trace id, grouped by their whole trace id."""
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(span.trace_id, []).append(span)
    return list(groups.values())


def _fold(trace_id: str) -> int:
    low = int(trace_id[-16:], 16)
    return (low ^ (low >> 32)) & 0xFFFFFFFF
