"""``lookout deps``: which service calls which."""

from __future__ import annotations

import json
from datetime import datetime

import click
from rich.console import Console
from rich.table import Table

from ._query import Collector, collector_options, milliseconds, moment


@click.command("deps")
@click.option("--since", default="1h", show_default=True, help="How far to look back.")
@click.option("--end", help="End of the window: now, Unix ms or ISO 8601.  [default: now]")
@collector_options
def command(
    since: str,
    end: str | None,
    url: str,
    tenant: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """List the links between services, the busiest first."""
    links, headers = Collector(url, tenant, token).ask(
        "/api/v2/dependencies", endTs=moment(end), lookback=milliseconds(since, "--since")
    )
    if linked := headers.get("X-Lookout-Linked"):
        click.echo(f"only of {_linked(linked)}: more came than can be linked at once", err=True)
    if as_json:
        click.echo(json.dumps(links))
        return
    if not links:
        click.echo("no links")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("PARENT", "CHILD", "CALLS", "ERRORS"):
        table.add_column(heading, justify="right" if heading in ("CALLS", "ERRORS") else "left")
    for link in sorted(links, key=lambda link: -link["callCount"]):
        errors = link.get("errorCount", 0)
        table.add_row(
            link["parent"],
            link["child"],
            str(link["callCount"]),
            str(errors),
            style="red" if errors else None,
        )
    Console().print(table)


def _linked(linked: str) -> str:
    """What the answer is of, with times instead of Unix ms."""
    ends, _, crossing = linked.partition("; crossing=")
    since, until = (datetime.fromtimestamp(int(ms) // 1000) for ms in ends.split("-"))
    text = f"{since:%Y-%m-%d %H:%M:%S} to {until:%Y-%m-%d %H:%M:%S}"
    if not crossing:
        return text
    return f"{text}, without traces idle for {int(crossing) // 60_000}m around its beginning"
