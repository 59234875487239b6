"""``lookout traces``: search the collector for traces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..ingest.zipkin_json import read_spans
from ..query.zipkin.request import trace_timestamp
from ..spans.model import Span
from ._query import (
    Collector,
    collector_options,
    duration_text,
    microseconds,
    milliseconds,
    moment,
)

#: Columns from which on everything of a trace has room in one line, mostly.
_WIDE = 130
#: Where nobody looks at it but a program, a trace is one line, however long.
_UNBOUNDED = 1_000


@click.command("traces")
@click.option("--service", help="Local service name; constrains the other conditions.")
@click.option("--remote-service", help="Remote service name.")
@click.option("--name", help="Span name.")
@click.option("--query", help="Tags and annotations: 'error and http.method=GET'.")
@click.option("--min-duration", help="Of a span, such as 250ms; a plain number is microseconds.")
@click.option("--max-duration", help="Of a span; only with --min-duration.")
@click.option("--since", default="1h", show_default=True, help="How far to look back.")
@click.option("--end", help="End of the window: now, Unix ms or ISO 8601.  [default: now]")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--longest", is_flag=True, help="Longest first instead of most recent first.")
@collector_options
def command(url: str, tenant: str | None, token: str | None, as_json: bool, **options: Any) -> None:
    """Find traces and list them, most recent first."""
    found = Collector(url, tenant, token).get(
        "/api/v2/traces",
        serviceName=options["service"],
        remoteServiceName=options["remote_service"],
        spanName=options["name"],
        annotationQuery=options["query"],
        minDuration=microseconds(options["min_duration"], "--min-duration"),
        maxDuration=microseconds(options["max_duration"], "--max-duration"),
        lookback=milliseconds(options["since"], "--since"),
        endTs=moment(options["end"]),
        limit=options["limit"],
        sort="duration" if options["longest"] else None,
    )
    if as_json:
        click.echo(json.dumps(found))
        return
    traces = [read_spans(json.dumps(trace).encode()) for trace in found]
    if not traces:
        click.echo(f"no traces in {options['since']}; --since looks further back")
        return
    console = Console()
    if not console.is_terminal:
        console.width = _UNBOUNDED
    console.print(table_of(traces, wide=console.width >= _WIDE))


def table_of(traces: Sequence[Sequence[Span]], *, wide: bool = True) -> Table:
    """A row a trace: when, how long, what, by whom, in error or not.

    On a terminal that is not wide a trace has two lines, and its services are left out.
    """
    table = Table(box=None, pad_edge=False)
    headings = ("ROOT", "SERVICES", "TRACE ID") if wide else ("ROOT AND TRACE ID",)
    for heading in ("START", "DURATION", "SPANS", *headings):
        # Where there is no room for all, names give way: of a time or an id every letter counts.
        table.add_column(heading, no_wrap=heading not in ("ROOT", "SERVICES", headings[0]))
    shape = _time_shape([trace_timestamp(trace) for trace in traces])
    for trace in traces:
        root = next((span for span in trace if not span.parent_id), trace[0])
        services = dict.fromkeys(s.local.service for s in trace if s.local.service)
        failed = any("error" in span.tags for span in trace)
        what = _cut(f"{'ERR ' * failed}{root.local.service or '?'}: {root.name or '?'}")
        who = _cut(", ".join([*services][:4]) + (" ..." if len(services) > 4 else ""))
        trace_id = Text(trace[0].trace_id, overflow="fold")
        table.add_row(
            _time(trace_timestamp(trace), shape),
            duration_text(extent(trace)[1]),
            str(len(trace)),
            *((what, who, trace_id) if wide else (Group(what, trace_id),)),
            style="red" if failed else None,
        )
    return table


def _cut(names: str) -> Text:
    """Names in one line, however little room there is."""
    return Text(names, no_wrap=True, overflow="ellipsis")


def extent(trace: Sequence[Span]) -> tuple[int, int]:
    """Start and length of a trace in microseconds."""
    timed = [span for span in trace if span.timestamp]
    if not timed:
        return 0, max((span.duration for span in trace), default=0)
    start = min(span.timestamp for span in timed)
    return start, max(span.timestamp + span.duration for span in timed) - start


def _time_shape(moments: Sequence[int]) -> str:
    """How times are written: with the date only where they are not all of today."""
    days = {datetime.fromtimestamp(moment / 1_000_000).date() for moment in moments if moment}
    return "%H:%M:%S" if days <= {datetime.now().date()} else "%Y-%m-%d %H:%M:%S"


def _time(microseconds: int, shape: str) -> str:
    if not microseconds:
        return "?"
    return datetime.fromtimestamp(microseconds / 1_000_000).strftime(shape)
