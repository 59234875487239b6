"""The placeholders of ``schema/*.sql`` (see ``schema/README.md``) and splitting into statements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

#: Rows that are to be kept for ever expire when a 32-bit DateTime ends.
FOREVER = "toDateTime('2106-02-06 00:00:00', 'UTC')"

_STATEMENT = re.compile(r"(?:--[^\n]*|'(?:[^'\\]|\\.)*'|[^;'-]|-(?!-))+")
_COMMENT = re.compile(r"--[^\n]*")
# $NAME or $NAME(arguments), arguments holding balanced parentheses two levels deep.
_PLACEHOLDER = re.compile(r"\$(\w+)(?:\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\))?")


@dataclass(frozen=True, slots=True)
class Keep:
    """How long rows of one signal live: seconds by default and by tenant, 0 for ever."""

    default: float = 0.0
    tenants: Mapping[str, float] = field(default_factory=dict)

    def seconds(self) -> str:
        """The SQL expression of a tenant's retention in seconds."""
        if not self.tenants:
            return f"toUInt32({int(self.default)})"
        names = ", ".join(f"'{_quoted(name)}'" for name in self.tenants)
        values = ", ".join(f"{int(seconds)}" for seconds in self.tenants.values())
        return f"toUInt32(transform(tenant, [{names}], [{values}], {int(self.default)}))"

    def expiry(self, time: str) -> str:
        """The SQL expression of the moment a row with this time expires."""
        keep = self.seconds()
        # ClickHouse wants a column in the expression, also where nothing expires.
        forever = f"greatest(toDateTime({time}), {FOREVER})"
        return f"if({keep} = 0, {forever}, toDateTime({time}) + toIntervalSecond({keep}))"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the placeholders stand for in one installation."""

    keep: Mapping[str, Keep] = field(default_factory=dict)  # by signal
    cluster: str | None = None
    replicated: bool = False
    #: Whether ClickHouse spreads DDL itself (needs a Keeper); else each host is told.
    on_cluster: bool = True
    database: str = "default"

    def render(self, text: str) -> Iterator[str]:
        """The statements of one schema file. Raises ValueError for an unknown placeholder."""
        for statement in statements(text):
            rendered = _PLACEHOLDER.sub(self._replace, statement).strip()
            if rendered:
                yield rendered

    def local_name(self, table: str) -> str:
        """The table that holds rows, on one node."""
        return f"{table}_local" if self.cluster else table

    def local(self, table: str) -> str:
        """The same as the object of an ALTER, on all nodes."""
        return f"{self.local_name(table)} {self._on_cluster()}".rstrip()

    def keep_of(self, signal: str) -> Keep:
        """Retention of a signal; for ever where none is set."""
        return self.keep.get(signal, Keep())

    def _on_cluster(self) -> str:
        return f"ON CLUSTER '{self.cluster}'" if self.cluster and self.on_cluster else ""

    def _replace(self, match: re.Match[str]) -> str:
        name, arguments = match[1], match[2]
        if name.endswith("MergeTree"):
            return self._engine(name, arguments or "")
        known: dict[str, Callable[[list[str]], str]] = {
            "LOCAL": lambda _: "_local" if self.cluster else "",
            "ON_CLUSTER": lambda _: self._on_cluster(),
            "KEEP": lambda a: f"keep UInt32 DEFAULT {self.keep_of(a[0]).seconds()} CODEC(ZSTD(1))",
            "PARTITION": lambda a: f"PARTITION BY (toDate({a[0]}), keep)",
            "TTL": lambda a: f"TTL {self.keep_of(a[0]).expiry(a[1])}",
            "SETTINGS": lambda _: f"SETTINGS {self._settings()}",
            "DISTRIBUTED": lambda a: self._distributed(*a),
        }
        if name not in known:
            raise ValueError(f"unknown placeholder ${name}; known: {', '.join(known)}")
        return known[name]([part.strip() for part in (arguments or "").split(",", 1)])

    def _settings(self) -> str:
        # A replicated table deduplicates through the Keeper, a plain one through its own log.
        name = "replicated" if self.replicated else "non_replicated"
        # The journal forgets what an insert has answered: it has to be on disk by then.
        return (
            f"{name}_deduplication_window = 10000, ttl_only_drop_parts = 1, "
            "fsync_after_insert = 1, fsync_part_directory = 1"
        )

    def _engine(self, name: str, arguments: str) -> str:
        if not self.replicated:
            return f"{name}({arguments})"
        place = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
        return f"Replicated{name}({place}{', ' if arguments else ''}{arguments})"

    def _distributed(self, table: str, key: str) -> str:
        if not self.cluster:
            return ""
        return (
            f"CREATE TABLE IF NOT EXISTS {table} {self._on_cluster()} AS {table}_local "
            f"ENGINE = Distributed('{self.cluster}', '{self.database}', '{table}_local', {key})"
        )


def statements(text: str) -> Iterator[str]:
    """The statements of an SQL text, without comments; ``;`` inside of quotes is no end."""
    for match in _STATEMENT.finditer(text):
        statement = _without_comments(match[0]).strip()
        if statement:
            yield statement


def _without_comments(statement: str) -> str:
    return re.sub(r"('(?:[^'\\]|\\.)*')|--[^\n]*", lambda match: match[1] or "", statement)
