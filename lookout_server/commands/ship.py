"""``lookout ship DIR``: spans from rolling logs to a collector or to Kafka."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from exporters.follow import LogDirectory
from exporters.http import HttpClient
from exporters.kafka import KafkaTransport
from exporters.parcel import Transport
from exporters.shipping import Shipper
from exporters.zipkin import ZipkinTransport

from ._words import counted


@click.command("ship", short_help="Send the spans of digest logs to a collector or to Kafka.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--to",
    "target",
    envvar="LOOKOUT_COLLECTOR",
    show_envvar=True,
    default="http://127.0.0.1:9411",
    show_default=True,
    help="http(s)://collector:9411 (several, by commas, are tried in turn) or "
    "kafka://broker:9092[,broker...]/topic.",
)
@click.option(
    "--token", envvar="LOOKOUT_TOKEN", show_envvar=True, help="Bearer token for the collector."
)
@click.option(
    "--tenant",
    envvar="LOOKOUT_TENANT",
    show_envvar=True,
    help="Tenant the spans belong to (X-Scope-OrgID).",
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where positions are kept.  [default: DIRECTORY/.lookout-ship.json]",
)
@click.option("--once", is_flag=True, help="Send what is there, then end.")
@click.option("--shadow", is_flag=True, help="Load-test spans (DIRECTORY/shadow) too.")
@click.option(
    "--poll",
    "poll_s",
    type=click.FloatRange(min=0.05),
    default=1.0,
    show_default=True,
    help="Seconds between looks.",
)
@click.option("--json", "as_json", is_flag=True, help="Say what was done as JSON.")
def command(
    directory: Path,
    target: str,
    token: str | None,
    tenant: str | None,
    state: Path | None,
    once: bool,
    shadow: bool,
    poll_s: float,
    as_json: bool,
) -> None:
    """Send the spans of the digest logs in DIRECTORY, at least once each.

    Follows the files through rolling, compression and restarts, and goes on where it stopped.
    While nothing answers it waits and tries again; with --once it gives up after a few attempts,
    exit status 1, and the next run sends the rest.
    """
    headers = {"X-Scope-OrgID": tenant} if tenant else {}
    try:
        transport = transport_to(target, token, headers)
        shipper = Shipper(
            directory,
            transport,
            state or directory / ".lookout-ship.json",
            shadow=shadow,
            attempts=_ATTEMPTS if once else None,
            on_trouble=lambda text: click.echo(f"lookout: {text}; trying again", err=True),
            on_damage=lambda text: click.echo(f"lookout: {text}", err=True),
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    _stop_on_signals(shipper)
    if once:
        if not LogDirectory(directory, shadow=shadow).files():
            click.echo(f"no digest logs in {directory}", err=True)
        shipper.run_once()
    else:
        click.echo(
            f"following {directory}, sending to {target}; "
            "Ctrl-C ends, --once sends what is there and stops",
            err=True,
        )
        shipper.run(poll_s)
    transport.close()
    _report(shipper, as_json)
    if shipper.gave_up:
        raise click.ClickException(f"gave up after {_ATTEMPTS} attempts: {shipper.trouble}")


#: Of --once to send a batch: they take some 6 seconds when nothing listens.
_ATTEMPTS = 5


def transport_to(target: str, token: str | None, headers: dict[str, str]) -> Transport:
    """The way to a collector or a Kafka topic. Raises ValueError for an address that is none."""
    if target.startswith("kafka://"):
        parts = urlsplit(target)
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the shipper says what is wrong
        topic = parts.path.strip("/") or "zipkin"
        return KafkaTransport(parts.netloc.split(","), topic, "gzip", {})
    urls = [url.strip() for url in target.split(",") if url.strip()]
    client = HttpClient(urls, token=token, headers=headers)
    return ZipkinTransport(client, "gzip", ledger=False)


def _stop_on_signals(shipper: Shipper) -> None:
    def stop(number: int, frame: Any) -> None:
        shipper.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _report(shipper: Shipper, as_json: bool) -> None:
    shipped = shipper.shipped
    if as_json:
        counts = {
            "spans": shipped.spans,
            "skipped_lines": shipped.skipped,
            "refused": shipped.refused,
        }
        click.echo(json.dumps(counts))
        return
    click.echo(
        f"shipped {counted(shipped.spans, 'span')}, skipped {counted(shipped.skipped, 'line')}, "
        f"{counted(shipped.refused, 'span')} refused"
    )
    if shipper.trouble and not shipper.gave_up:
        click.echo(f"last trouble: {shipper.trouble}", err=True)
