"""``lookout config show``: every setting, its value and where it came from."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..config import ServerConfig, environment_names, format_size, is_duration, is_size
from ..durations import format_duration
from ._settings import CONFIG_OPTION, settings


@click.group()
def command() -> None:
    """The collector's settings."""


@command.command()
@CONFIG_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON object")
@click.option("--doc", is_flag=True, help="With what each setting means")
def show(config_file: Path | None, as_json: bool, doc: bool) -> None:
    """Every setting with its value and origin (environment, file or default)."""
    config = settings(config_file)
    rows = [
        {
            "setting": name,
            "value": _shown(name, getattr(config, name)),
            "origin": origin(config, name, config_file),
            "meaning": field.description or "",
        }
        for name, field in ServerConfig.model_fields.items()
    ]
    if as_json:
        print(json.dumps(rows, indent=2, default=str))
    else:
        _print_table(rows, ("setting", "value", "origin", *(("meaning",) if doc else ())))


def origin(config: ServerConfig, name: str, config_file: Path | None) -> str:
    """Where a value came from: the environment variable's name, the file, or ``default``."""
    import os

    if name not in config.model_fields_set:
        return "default"
    for variable in environment_names(name):
        if variable in os.environ:
            return variable
    if config_file and name in tomllib.loads(config_file.read_text("utf-8")):
        return str(config_file)
    return "default"


def _shown(name: str, value: Any) -> Any:
    if value is not None and is_duration(name):
        return format_duration(value)
    if isinstance(value, SecretStr):
        return "(set)"
    return str(value) if isinstance(value, Path) else value


def _written(name: str, value: Any) -> str:
    """The value as one would write it in the environment; ``-`` where there is none."""
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, bool | dict):
        return json.dumps(value)
    return format_size(value) if is_size(name) else str(value)


def _print_table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        written = {**row, "value": _written(row["setting"], row["value"])}
        table.add_row(*(escape(written[column]) for column in columns))
    Console(soft_wrap=True).print(table)
