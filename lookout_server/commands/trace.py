"""``lookout trace ID``: one trace as a waterfall."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from ..ingest.zipkin_json import read_spans
from ..query.zipkin.tree import Node, build_tree
from ..spans.model import Span
from ._query import Collector, Refused, collector_options, duration_text
from ._words import counted
from .traces import extent

_LABEL_SHARE = 0.45
_NOTES_ROOM = 12


@click.command("trace", short_help="Show the waterfall of a trace.")
@click.argument("trace_id", metavar="ID")
@click.option("--tags", is_flag=True, help="Tags and annotations below each span.")
@click.option("--width", type=click.IntRange(min=40), help="Columns to use.")
@collector_options
def command(
    trace_id: str,
    tags: bool,
    width: int | None,
    url: str,
    tenant: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Show the waterfall of the trace ID: who called whom, when and for how long."""
    found = _asked(Collector(url, tenant, token), trace_id.strip())
    if as_json:
        click.echo(json.dumps(found))
        return
    console = Console(width=width, highlight=False)
    for line in waterfall(read_spans(json.dumps(found).encode()), console.width, tags=tags):
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def _asked(collector: Collector, trace_id: str) -> Any:
    """The trace, or why it may not be there."""
    try:
        return collector.get(f"/api/v2/trace/{trace_id}")
    except Refused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        why = "sampled out, older than the retention, or another --tenant's?"
        raise Refused(error.status, f"{error.message}: {why}") from None


def waterfall(spans: Sequence[Span], width: int, *, tags: bool = False) -> Iterator[Text]:
    """The lines of the picture: a heading, then a line a span below its parent."""
    start, length = extent(spans)
    services = {span.local.service for span in spans if span.local.service}
    yield Text(
        f"{spans[0].trace_id}  {counted(len(spans), 'span')}  "
        f"{counted(len(services), 'service')}  {duration_text(length)}",
        style="bold",
    )
    label_width = int(width * _LABEL_SHARE)
    bar_width = max(width - label_width - _NOTES_ROOM, 10)
    for node, depth in _depth_first(build_tree(spans)):
        span = node.span
        assert span is not None  # nodes without are not walked
        label = f"{'  ' * depth}{span.local.service or '?'}: {span.name or '?'}"
        line = Text(_fitted(label, label_width))
        line.append(_bar(span, start, length, bar_width), style="red" if _failed(span) else "cyan")
        line.append(f" {duration_text(span.duration)}" if span.duration else "")
        line.append(" ERR" if _failed(span) else "", style="red")  # seen without colours too
        yield line
        if tags:
            yield from _details(span, depth, start)


def _depth_first(root: Node) -> Iterator[tuple[Node, int]]:
    """Spans with their depth, each below its parent, siblings by time."""
    stack = [(root, 0 if root.span else -1)]
    while stack:
        node, depth = stack.pop()
        if node.span is not None:
            yield node, depth
        children = sorted(node.children, key=lambda c: -(c.span.timestamp if c.span else 0))
        stack += [(child, depth + 1) for child in children]


def _details(span: Span, depth: int, start: int) -> Iterator[Text]:
    indent = "  " * (depth + 1)
    for key, value in span.tags.items():
        yield Text(f"{indent}{key} = {value}", style="dim")
    for timestamp, value in span.annotations:
        yield Text(f"{indent}+{duration_text(max(timestamp - start, 0))} {value}", style="dim")


def _fitted(text: str, width: int) -> str:
    return text[: width - 1] + "…" if len(text) > width else text.ljust(width)


def _bar(span: Span, start: int, length: int, width: int) -> str:
    if not span.timestamp or not length:
        return " " * width
    at = min(int((span.timestamp - start) / length * width), width - 1)
    size = max(int(span.duration / length * width), 1)
    return (" " * at + "█" * min(size, width - at)).ljust(width)


def _failed(span: Span) -> bool:
    return "error" in span.tags
