"""``lookout services``: what sends spans."""

from __future__ import annotations

import json

import click

from ._query import Collector, collector_options


@click.command("services", short_help="List the services, or what is known of one.")
@click.argument("service", required=False)
@collector_options
def command(
    service: str | None, url: str, tenant: str | None, token: str | None, as_json: bool
) -> None:
    """List the services, or of one SERVICE its span names and the services it calls."""
    collector = Collector(url, tenant, token)
    if service is None:
        _list(collector.get("/api/v2/services"), as_json)
        return
    found = {
        "spans": collector.get("/api/v2/spans", serviceName=service),
        "remoteServices": collector.get("/api/v2/remoteServices", serviceName=service),
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    if not any(found.values()):
        known = ", ".join(collector.get("/api/v2/services")) or "none yet"
        raise click.ClickException(f"no service {service!r}; known: {known}")
    for heading, names in zip(("spans", "remote services"), found.values(), strict=True):
        click.echo(f"{heading}:")
        for name in names:
            click.echo(f"  {name}")


def _list(names: list[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(names))
        return
    for name in names:
        click.echo(name)
