"""``lookout serve``: run the collector."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import click

from ..config import ServerConfig, split_listen
from ._settings import CONFIG_OPTION, fail, owned, settings


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Default: ./lookout-data")
@click.option("--listen", metavar="HOST:PORT", help="Default: 127.0.0.1:9411; port 0: any free one")
@click.option("--multitenancy", is_flag=True, default=None, help="Tenants by X-Scope-OrgID")
@click.option("--retention", metavar="AGE", help="Default: 7d; 0 keeps everything")
@click.option("--insecure-listen", is_flag=True, default=None, help="Beyond loopback, no tokens")
@click.option("--tokens-file", type=click.Path(path_type=Path), help="Bearer tokens (TOML)")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain (PEM)")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key (PEM)")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="CA of clients (mTLS)")
@click.option("--clickhouse-url", metavar="URL", help="A ClickHouse server; default: embedded")
@click.option("--zipkin-ui", type=click.Path(path_type=Path), help="Folder or jar of Zipkin's page")
@click.option(
    "--enable-feature", metavar="NAMES", help="Experimental PromQL, named as in Prometheus; or all"
)
@CONFIG_OPTION
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning"]))
def command(config_file: Path | None, log_level: str, **flags: Any) -> None:
    """Take, store and answer for traces and metrics, on one port."""
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    config = settings(config_file, **flags)
    _check_exposure(config)
    _check_files(config)
    listening = _bind(config)
    with owned(config.data_dir), listening:
        _serve(config, listening)


def _check_exposure(config: ServerConfig) -> None:
    host, _ = split_listen(config.listen)
    if config.tokens_file or config.insecure_listen or _is_loopback(host):
        return
    fail(
        f"{host} is not loopback and there are no tokens: give --tokens-file, "
        "or say --insecure-listen if the network is trusted"
    )


def _check_files(config: ServerConfig) -> None:
    for setting in ("tls_cert", "tls_key", "tls_client_ca"):
        path = getattr(config, setting)
        if path is None:
            continue
        try:
            path.open().close()
        except OSError as error:  # the TLS library would not name the file
            fail(f"{setting}: cannot read {path}: {(error.strerror or '').lower()}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(config: ServerConfig) -> socket.socket:
    host, port = split_listen(config.listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # Connections inherit it. asyncio sets it only where the socket names its protocol, and
        # without it an answer in two writes waits 40 ms for the client's delayed ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        # Of the two texts the system's is plain; a name that does not resolve has only the other.
        known = error.errno is not None and error.errno > 0
        why = os.strerror(error.errno or 0) if known else str(error.strerror)
        fail(f"cannot listen on {config.listen}: {why.lower()}")


def _serve(config: ServerConfig, listening: socket.socket) -> None:
    # Here, not above: `lookout serve --help` and a bad flag need none of the database.
    from ..collector import Collector
    from ..journal import JournalError
    from ..memory import return_large_blocks
    from ..runner import run
    from ..security import TokensInvalid
    from ..stages import StageError
    from ..store.no_pandas import hide_pandas
    from ..store.port import StoreError

    if not config.stages:  # a stage may want it
        hide_pandas()
    return_large_blocks()
    _raise_file_limit()
    try:
        collector = Collector(config)
    except (JournalError, StoreError, TokensInvalid, StageError) as error:
        fail(error)
    try:
        run(collector, listening)
    except ssl.SSLError as error:
        fail(f"cannot use {config.tls_cert} and {config.tls_key}: {error}")
    except (OSError, ValueError) as error:  # a service's port
        fail(error)
    sys.stdout.flush()


def _raise_file_limit() -> None:
    """Connections and database files need descriptors; the usual 1024 are few."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
