"""``lookout logs``: questions answered from rolling log files, without a collector."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from exporters.digest_reader import LoggedSpan
from exporters.shipping import spans_of
from exporters.waterfall import duration_text, rows
from exporters.zipkin_json import ZipkinEncoder

from ._words import counted


@click.group("logs")
def command() -> None:
    """Read the digest logs that applications write."""


@command.command("trace")
@click.argument("trace_id", metavar="ID")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--width", type=click.IntRange(min=40), help="Columns to use.")
@click.option("--json", "as_json", is_flag=True, help="The spans as Zipkin v2 JSON instead.")
def trace(trace_id: str, directory: Path, width: int | None, as_json: bool) -> None:
    """Show the waterfall of trace ID from the logs in DIRECTORY, compressed ones included.

    Ends with status 1 when the trace is not there.
    """
    digits = trace_id.strip().lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        raise click.UsageError(f"a trace id has up to 32 hex digits, not {trace_id!r}")

    def damaged(text: str) -> None:
        click.echo(f"lookout: {text}", err=True)

    spans = list(spans_of(directory, int(digits, 16), on_damage=damaged))
    if as_json:
        click.echo(ZipkinEncoder().encode(spans).decode())
    elif spans:
        _show(spans, width or shutil.get_terminal_size((100, 24)).columns)
    if not spans:
        raise click.ClickException(f"no span of trace {digits} in {directory}")


def _show(spans: Sequence[LoggedSpan], width: int) -> None:
    start = min(span.start_ns for span in spans)
    end = max(span.start_ns + span.duration_ns for span in spans)
    services = {span.resource.service_name for span in spans}
    click.echo(
        f"{spans[0].trace_id:032x}  {counted(len(spans), 'span')}  "
        f"{counted(len(services), 'service')}  "
        f"{duration_text(end - start)}"
    )
    for row in rows(spans, width):
        text = f"{row.label}  {row.bar} {row.duration:>9}"
        click.echo(click.style(text, fg="red") if row.failed else text, nl=False)
        click.echo(f"  {row.note}" if row.note else "")
