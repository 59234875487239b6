"""Applies ``schema/NNN_*.sql`` in order, once each, and refuses a newer database."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from .port import Store, StoreError
from .template import Dialect

log = logging.getLogger("lookout.schema")

UNKNOWN_TABLE = 60


class SchemaNewer(StoreError):
    """The database was written by a later Lookout."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def known() -> list[Migration]:
    """All schema files of this version of Lookout, in order."""
    found = [
        Migration(int(file.name[:3]), file.name.removesuffix(".sql")[4:], file.read_text("utf-8"))
        for file in files(__package__).joinpath("schema").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found, key=lambda migration: migration.version)


def applied(store: Store) -> dict[int, str]:
    """Versions the database has, and the checksums of their files. Empty for a new one."""
    try:
        rows = store.fetch(
            "SELECT version, argMax(checksum, applied) AS sum FROM lookout_schema GROUP BY version"
        )
    except StoreError as error:
        if error.code == UNKNOWN_TABLE:
            return {}
        raise
    return dict(zip(*(rows.column(name).to_pylist() for name in ("version", "sum")), strict=True))


def pending(store: Store, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """What :func:`migrate` would apply. Raises SchemaNewer."""
    migrations = known() if migrations is None else migrations
    done = applied(store)
    newer = done.keys() - {migration.version for migration in migrations}
    if newer:
        raise SchemaNewer(
            f"the database has schema {max(newer):03d}, which this version of Lookout does not "
            "know; start the version that wrote it, or a later one"
        )
    return [migration for migration in migrations if migration.version not in done]


def migrate(
    store: Store, dialect: Dialect, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """Apply what is pending and return it. A run that was cut short is simply repeated."""
    todo = pending(store, migrations)
    for migration in changed(store, migrations):
        log.warning(
            "this database was made with another text of schema file %03d %s, which is not "
            "applied again: its tables may differ from a new database's",
            migration.version,
            migration.name,
        )
    for migration in todo:
        for statement in dialect.render(migration.text):
            store.execute(statement)
        store.execute(_record(migration))
    return todo


def changed(store: Store, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Files that have another text now than when the database was told of them."""
    migrations = known() if migrations is None else migrations
    done = applied(store)
    return [m for m in migrations if done.get(m.version, m.checksum) != m.checksum]


def plan(
    store: Store, dialect: Dialect, migrations: Sequence[Migration] | None = None
) -> Iterator[tuple[Migration, list[str]]]:
    """What is pending, with its statements as they would run."""
    for migration in pending(store, migrations):
        yield migration, list(dialect.render(migration.text))


def _record(migration: Migration) -> str:
    return (
        # On a cluster every host is to know of it when this returns.
        "INSERT INTO lookout_schema (version, name, checksum) "
        "SETTINGS distributed_foreground_insert = 1 VALUES "
        f"({migration.version}, '{migration.name}', '{migration.checksum}')"
    )
