"""``lookout migrate``: bring the database's schema up to this version."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import click

from ._settings import CONFIG_OPTION, fail, owned, settings


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Default: ./lookout-data")
@click.option("--clickhouse-url", metavar="URL", help="A ClickHouse server; default: embedded")
@CONFIG_OPTION
@click.option("--plan", "only_plan", is_flag=True, help="Print the statements, change nothing")
def command(config_file: Path | None, only_plan: bool, **flags: Any) -> None:
    """Apply the schema files the database has not seen. Nothing is ever dropped.

    `lookout serve` does the same when it starts. Where one is running, stop it first.
    """
    from ..store import migrations
    from ..store.opening import dialect, open_store
    from ..store.port import StoreError

    config = settings(config_file, **flags)
    with contextlib.ExitStack() as held:
        if only_plan and not (config.data_dir / "clickhouse").exists():
            # There is nothing to read there, and a plan writes nothing.
            scratch = held.enter_context(tempfile.TemporaryDirectory())
            config = config.model_copy(update={"data_dir": Path(scratch)})
        else:
            held.enter_context(owned(config.data_dir))
        try:
            store = open_store(config)
            schema = dialect(config, store)
            if only_plan:
                _print_plan(list(migrations.plan(store, schema)))
            else:
                _print_done(migrations.migrate(store, schema))
        except StoreError as error:
            fail(error)
        store.close()


def _print_plan(steps: list[tuple[Any, list[str]]]) -> None:
    for migration, statements in steps:
        print(f"-- {migration.version:03d} {migration.name}")
        for statement in statements:
            print(f"{statement};")
    if not steps:
        print("-- the schema is up to date")


def _print_done(done: list[Any]) -> None:
    for migration in done:
        print(f"applied {migration.version:03d} {migration.name}")
    if not done:
        print("the schema is up to date")
