"""Brings the tables' TTL in line with the configuration, and finds the oldest day to drop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from .port import Store
from .template import Dialect, statements

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\$LOCAL")
_TTL = re.compile(r"\$TTL\((\w+),\s*(.+?)\)\s*(?=\$SETTINGS|SETTINGS|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Expiring:
    """A table of the schema whose rows expire."""

    table: str
    signal: str
    time: str  # SQL expression


@dataclass(frozen=True, slots=True)
class Day:
    """One day of all tables, the unit of dropping."""

    day: str  # YYYY-MM-DD
    bytes: int


def expiring_tables() -> Iterator[Expiring]:
    """Tables with a ``$TTL`` placeholder."""
    for file in sorted(files(__package__).joinpath("schema").iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        for statement in statements(file.read_text("utf-8")):
            table, ttl = _TABLE.match(statement), _TTL.search(statement)
            if table and ttl:
                yield Expiring(table[1], ttl[1], ttl[2])


def apply(store: Store, dialect: Dialect) -> list[str]:
    """Change the tables whose retention is not the configured one; their names.

    A change of the default (`keep`) concerns new rows, that of the TTL old ones too.
    """
    changed = []
    for entry in expiring_tables():
        if _is_current(store, dialect, entry):
            continue
        name = dialect.local(entry.table)
        keep = dialect.keep_of(entry.signal)
        store.execute(f"ALTER TABLE {name} MODIFY COLUMN keep DEFAULT {keep.seconds()}")
        store.execute(f"ALTER TABLE {name} MODIFY TTL {keep.expiry(entry.time)}")
        changed.append(entry.table)
    return changed


def _is_current(store: Store, dialect: Dialect, entry: Expiring) -> bool:
    """Whether the default of ``keep`` is what the configuration says, as ClickHouse writes it."""
    wanted = dialect.keep_of(entry.signal).seconds()
    rows = store.fetch(
        "SELECT formatQuerySingleLine('SELECT ' || default_expression) = "
        "formatQuerySingleLine('SELECT ' || {wanted:String}) AS same FROM system.columns "
        "WHERE database = currentDatabase() AND table = {table:String} AND name = 'keep'",
        {"wanted": wanted, "table": dialect.local_name(entry.table)},
    )
    return all(rows.column("same").to_pylist())


def days(store: Store) -> list[Day]:
    """Days that hold data, oldest first, over all tables partitioned by day."""
    rows = store.fetch(
        "SELECT extract(partition, '\\\\d{4}-\\\\d{2}-\\\\d{2}') AS day, "
        "toUInt64(sum(bytes_on_disk)) AS bytes FROM system.parts "
        "WHERE active AND database = currentDatabase() AND day != '' GROUP BY day ORDER BY day"
    )
    return [Day(**row) for row in rows.to_pylist()]


def drop_day(store: Store, day: str) -> None:
    """Drop all partitions of a day, of every table."""
    rows = store.fetch(
        "SELECT DISTINCT table, partition FROM system.parts WHERE active "
        "AND database = currentDatabase() AND position(partition, {day:String}) > 0",
        {"day": day},
    )
    for row in rows.to_pylist():
        partition = row["partition"]
        literal = partition if partition.startswith("(") else f"'{partition}'"
        store.execute(f"ALTER TABLE {row['table']} DROP PARTITION {literal}")
