"""``lookout doctor``: what could go wrong here, in plain words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ..diagnosis import Finding, diagnose
from ._settings import CONFIG_OPTION, settings

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


@click.command(short_help="Say what could go wrong here: port, disk, clock, packages.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Default: ./lookout-data")
@click.option("--listen", metavar="HOST:PORT", help="Default: 127.0.0.1:9411")
@CONFIG_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON list")
def command(config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """Look at ports, disk, clock, the database's parts and shadowed packages.

    Exit status 1 when something is a problem.
    """
    findings = diagnose(settings(config_file, **flags))
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        _print(findings)
    sys.exit(any(finding.level == "problem" for finding in findings))


def _print(findings: list[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        label = f"[{_STYLES[finding.level]}]{finding.level:>7}[/]"
        console.print(f"{label}  {finding.subject}: {finding.text}")
