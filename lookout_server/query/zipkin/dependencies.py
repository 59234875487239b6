"""Dependency links of a time range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...server import Server
from ...spans.model import Span
from ...spans.tables import bucket_of
from .explain import Explanation
from .linker import Linker, link_traces
from .read import SPAN_COLUMNS, distinct, spans_of

_TRACES = f"""
SELECT {SPAN_COLUMNS} FROM spans
WHERE tenant = {{tenant:String}} AND (bucket, fold) GLOBAL IN (
    SELECT bucket, fold FROM trace_index WHERE tenant = {{tenant:String}} AND fold GLOBAL IN (
        SELECT fold FROM spans WHERE tenant = {{tenant:String}}
        AND bucket BETWEEN {{b0:UInt32}} AND {{b1:UInt32}}
        AND intDiv(ts, 1000) BETWEEN {{since:Int64}} AND {{until:Int64}}))
"""


async def dependency_links(
    server: Server, tenant: str, end_ts: int, lookback: int, explanation: Explanation
) -> Linker:
    """Links of every trace with a span in the range (milliseconds, both ends in it)."""
    parameters: Mapping[str, Any] = {
        "tenant": tenant,
        "since": max(end_ts - lookback, 0),
        "until": end_ts,
        "b0": bucket_of(max(end_ts - lookback, 0) * 1000),
        "b1": bucket_of(end_ts * 1000 + 999),
    }
    with explanation.stage("read traces", sql=_TRACES) as note:
        table = await server.fetch(_TRACES, parameters)
        note.rows = table.num_rows
    with explanation.stage("link", rows=table.num_rows):
        traces: dict[str, list[Span]] = {}
        for span in spans_of(table):
            traces.setdefault(span.low_trace_id, []).append(span)
        return link_traces(distinct(spans) for spans in traces.values())
