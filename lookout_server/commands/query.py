"""``lookout query``: ask the collector in PromQL; a table, a graph, JSON, CSV or documents."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from ._elasticsearch import bulk_lines
from ._graph import Line, graph
from ._query import Collector, collector_options, milliseconds, moment

#: Lines of a graph beyond this many are one colour too many.
_MOST_LINES = 12
_GRAPH_POINTS = 240


@click.command("query")
@click.argument("expression")
@click.option("--time", "at", help="Evaluation time: now, Unix ms or ISO 8601.  [default: now]")
@click.option("--range", "over", metavar="AGE", help="Draw a graph over so long, such as 1h.")
@click.option("--step", metavar="DURATION", help="Of the graph.  [default: range / 240]")
@click.option("--csv", "as_csv", is_flag=True, help="Lines of time, value and labels.")
@click.option(
    "--elasticsearch",
    "as_documents",
    is_flag=True,
    help="A bulk request with SOFALookout's documents.",
)
@collector_options
def command(
    expression: str,
    at: str | None,
    over: str | None,
    step: str | None,
    url: str,
    tenant: str | None,
    token: str | None,
    as_json: bool,
    as_csv: bool,
    as_documents: bool,
) -> None:
    """Evaluate a PromQL EXPRESSION now, or over a range of time."""
    collector = Collector(url, tenant, token)
    end = moment(at, "--time")
    if over is None:
        answer = _ask(collector, "query", query=expression, time=end / 1000)
    else:
        span = milliseconds(over, "--range")
        width = (
            milliseconds(step, "--step")
            if step
            else max(1000, span // _GRAPH_POINTS // 1000 * 1000)
        )
        answer = _ask(
            collector,
            "query_range",
            query=expression,
            start=(end - span) / 1000,
            end=end / 1000,
            step=width / 1000,
        )
    for kind in ("warnings", "infos"):
        for text in answer.get(kind, ()):
            print(text, file=sys.stderr)
    if as_json:
        print(json.dumps(answer["data"]))
    elif as_csv:
        _write_csv(answer["data"])
    elif as_documents:
        sys.stdout.writelines(f"{line}\n" for line in bulk_lines(samples(answer["data"])))
    elif over is None:
        _print_table(answer["data"])
    else:
        _draw(expression, answer["data"]["result"])


def _ask(collector: Collector, path: str, **parameters: object) -> Any:
    """The envelope of a successful answer. Raises ClickException with the error's text."""
    try:
        return collector.get(f"/api/v1/{path}", **parameters)
    except click.ClickException as error:
        try:
            text = json.loads(error.message)["error"]
        except (ValueError, KeyError, TypeError):
            raise error from None
        raise click.ClickException(text) from None


def samples(data: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, str], float, str]]:
    """Labels, time in seconds and value of every sample of a result; histograms by their count."""
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        yield {}, float(result[0]), str(result[1])
        return
    for series in result:
        points = series.get("values", []) + series.get("histograms", [])
        points += [series[key] for key in ("value", "histogram") if key in series]
        for time, value in sorted(points, key=lambda point: float(point[0])):
            text = value if isinstance(value, str) else f"histogram of {value['count']}"
            yield series["metric"], float(time), text


def series_name(labels: Mapping[str, str]) -> str:
    """``name{label="value"}``"""
    rest = ", ".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")
    return labels.get("__name__", "") + (f"{{{rest}}}" if rest else "") or "{}"


def _print_table(data: Mapping[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("series", overflow="fold")
    ranged = data["resultType"] == "matrix"
    if ranged:
        table.add_column("time")
    table.add_column("value", justify="right")
    rows = 0
    for labels, time, value in samples(data):
        moment_ = [datetime.fromtimestamp(time, UTC).isoformat()] if ranged else []
        table.add_row(series_name(labels), *moment_, value)
        rows += 1
    if rows:
        console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
        console.print(table, markup=False)
    else:
        _say_none()


def _say_none(to: TextIO | None = None) -> None:
    print("no series", file=to)
    print("new ones take a moment: clients push their metrics every 15 s", file=sys.stderr)


def _write_csv(data: Mapping[str, Any]) -> None:
    rows = list(samples(data))
    names = sorted({name for labels, _, _ in rows for name in labels})
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["time", "value", *names])
    if not rows:
        _say_none(sys.stderr)
    for labels, time, value in rows:
        writer.writerow([f"{time:.3f}", value, *(labels.get(name, "") for name in names)])


def _draw(title: str, result: Sequence[Mapping[str, Any]]) -> None:
    lines = [
        Line(series_name(series["metric"]), [(float(t), float(v)) for t, v in series["values"]])
        for series in result
        if series.get("values")
    ]
    console = Console(highlight=False)
    if not lines:
        _say_none()
        return
    console.print(title, style="bold", markup=False)
    size = shutil.get_terminal_size((100, 30))
    for row in graph(lines[:_MOST_LINES], size.columns, max(8, min(size.lines - 8, 20))):
        console.print(row, soft_wrap=True)
    if len(lines) > _MOST_LINES:
        console.print(f"{len(lines) - _MOST_LINES} more series are not drawn")
