"""The schema files: one text for one node and for a cluster, applied once, never backwards."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from lookout_server.store import migrations, retention
from lookout_server.store.migrations import Migration, SchemaNewer, known, migrate, pending
from lookout_server.store.port import Store
from lookout_server.store.split import by_days, time_columns
from lookout_server.store.template import Dialect, Keep, statements

CLUSTER = Dialect(cluster="main", replicated=True)
_NAMES = itertools.count(1)


def test_statements() -> None:
    """A semicolon ends a statement, but not in quotes or comments."""
    text = "-- one; two\nSELECT ';--';\n\nSELECT 'it\\'s;' -- end;\n;SELECT 3"
    assert list(statements(text)) == ["SELECT ';--'", "SELECT 'it\\'s;'", "SELECT 3"]


def test_each_file_has_a_number_of_its_own() -> None:
    """What a database is told it has names one file."""
    versions = [migration.version for migration in known()]
    assert len(set(versions)) == len(versions)


def test_single_node() -> None:
    """Every placeholder is filled in, and what concerns clusters vanishes."""
    for migration in known():
        for statement in Dialect().render(migration.text):
            assert "$" not in statement
            assert "_local" not in statement and "ON CLUSTER" not in statement


def test_cluster() -> None:
    """Each table has its part on every node and a distributed one over them."""
    for migration in known():
        rendered = list(CLUSTER.render(migration.text))
        local = {s.split()[5] for s in rendered if "ENGINE = Replicated" in s}
        spread = {s.split()[5] + "_local" for s in rendered if "ENGINE = Distributed" in s}
        assert local == spread
        assert all("ON CLUSTER 'main'" in statement for statement in rendered)


def test_every_table_is_deduplicated_and_expires() -> None:
    """A table without the window would double on a retry, one without TTL grow for ever.

    Metadata has a row a metric, replaced by the next, and no time to expire by.
    """
    expiring = {entry.table for entry in retention.expiring_tables()}
    for migration in known():
        for statement in Dialect().render(migration.text):
            table = statement.split()[5]
            if statement.startswith("CREATE TABLE") and table != "lookout_schema":
                assert "deduplication_window" in statement, table
                assert "tenant" in statement, table
                assert table in expiring or table == "metadata", table


def test_unknown_placeholders_are_named() -> None:
    """A misspelt placeholder is an error, not SQL."""
    with pytest.raises(ValueError, match=r"unknown placeholder \$TLL; known: "):
        list(Dialect().render("CREATE TABLE x $TLL(ts)"))


def test_applied_once(any_store: Store) -> None:
    """A second run has nothing to do; running the files again changes nothing."""
    assert pending(any_store) == []
    for migration in known():
        for statement in Dialect().render(migration.text):
            any_store.execute(statement)


def test_a_run_cut_short_is_repeated(any_store: Store) -> None:
    """What was applied but not recorded is applied again."""
    name = f"cut_short_{next(_NAMES)}"
    first = f"CREATE TABLE IF NOT EXISTS {name} (tenant String) ENGINE = MergeTree ORDER BY tenant"
    any_store.execute(first)
    later = Migration(800 + next(_NAMES), "later", f"{first}; ALTER TABLE {name} ADD COLUMN x Int8")
    assert migrate(any_store, Dialect(), [*_all(any_store), later]) == [later]
    assert migrate(any_store, Dialect(), [*_all(any_store), later]) == []
    _unrecord(any_store, later)
    any_store.execute(f"DROP TABLE {name}")


def test_a_changed_file_is_named(any_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was edited after it was applied is not applied again, and one line says so."""
    first = Migration(800 + next(_NAMES), "first", "SELECT 1")
    migrate(any_store, Dialect(), [*_all(any_store), first])
    caplog.clear()
    edited = Migration(first.version, "first", "SELECT 2")
    assert migrate(any_store, Dialect(), [*known(), edited, *_others(any_store, edited)]) == []
    (line,) = [m for m in caplog.messages if f"{first.version:03d} first" in m]
    assert line.startswith("this database was made with another text of schema file")
    assert not [m for m in caplog.messages if "100 spans" in m]
    _unrecord(any_store, first)


def test_older_databases_get_the_wide_filters(any_store: Store) -> None:
    """A table made before there were wide filters has the same filters, in the same order."""
    name = f"spans_old_{next(_NAMES)}"
    texts = {migration.version: migration.text for migration in known()}
    create = next(iter(Dialect().render(texts[100])))
    lines = [line for line in create.splitlines() if "_wide" not in line]
    any_store.execute("\n".join(lines).replace("EXISTS spans", f"EXISTS {name}"))
    assert len(_filters(any_store, name)) == 2
    for _ in range(2):
        for statement in Dialect().render(texts[104]):
            any_store.execute(statement.replace("TABLE spans", f"TABLE {name}"))
        assert _filters(any_store, name) == _filters(any_store, "spans")
    any_store.execute(f"DROP TABLE {name}")


def _filters(store: Store, table: str) -> list[str]:
    (create,) = store.fetch(f"SHOW CREATE TABLE {table}").column(0).to_pylist()
    return [line.strip(" ,") for line in create.splitlines() if line.strip().startswith("INDEX")]


def test_a_newer_schema_is_refused(any_store: Store) -> None:
    """An older Lookout does not touch what a later one wrote."""
    newer = Migration(900 + next(_NAMES), "newer", "SELECT 1")
    migrate(any_store, Dialect(), [*_all(any_store), newer])
    with pytest.raises(SchemaNewer, match=f"schema {newer.version}, which this version"):
        migrate(any_store, Dialect())
    _unrecord(any_store, newer)


def _all(store: Store) -> list[Migration]:
    """Known files and whatever else this shared database was told of."""
    return [*known(), *_others(store)]


def _others(store: Store, *but: Migration) -> list[Migration]:
    versions = migrations.applied(store).keys() - {migration.version for migration in but}
    return [Migration(version, "x", "") for version in versions if version >= 800]


def _unrecord(store: Store, migration: Migration) -> None:
    store.execute(
        f"ALTER TABLE lookout_schema DELETE WHERE version = {migration.version} "
        "SETTINGS mutations_sync = 1"
    )


@pytest.fixture
def dated(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A table as the schema writes them, with rows of some days and tenants."""
    name = f"dated_{next(_NAMES)}"
    text = (
        f"CREATE TABLE IF NOT EXISTS {name}$LOCAL $ON_CLUSTER (tenant String, "
        "ts DateTime64(3, 'UTC'), $KEEP(spans)) ENGINE = $MergeTree $PARTITION(ts) "
        "ORDER BY tenant $TTL(spans, ts) $SETTINGS, merge_with_ttl_timeout = 0"
    )
    for statement in Dialect().render(text):
        any_store.execute(statement)
    entry = retention.Expiring(name, "spans", "ts")
    monkeypatch.setattr(retention, "expiring_tables", lambda: [entry])
    yield name
    any_store.execute(f"DROP TABLE {name}")


def insert(store: Store, table: str, ages: dict[str, float]) -> None:
    """A row of each tenant, so many days old."""
    now = time.time()
    times = [int((now - days * 86400) * 1000) for days in ages.values()]
    rows = pa.table({"tenant": list(ages), "ts": pa.array(times, pa.timestamp("ms", "UTC"))})
    store.insert(table, rows, f"{table}-{now}")


def tenants(store: Store, table: str) -> list[str]:
    """Tenants with rows, after expired parts are gone."""
    store.execute(f"OPTIMIZE TABLE {table} FINAL")
    return sorted(store.fetch(f"SELECT tenant FROM {table}").column("tenant").to_pylist())


def await_tenants(store: Store, table: str, expected: list[str]) -> None:
    deadline = time.monotonic() + 20
    while (found := tenants(store, table)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_retention_of_tenants(any_store: Store, dated: str) -> None:
    """Each tenant's rows go at their own age; a changed retention reaches old rows."""
    retention.apply(any_store, Dialect({"spans": Keep(7 * 86400, {"short": 86400, "ever": 0})}))
    insert(any_store, dated, {"short": 2, "a": 2, "ever": 300})
    insert(any_store, dated, {"b": 8})
    await_tenants(any_store, dated, ["a", "ever"])
    longer = Dialect({"spans": Keep(86400, {})})
    assert retention.apply(any_store, longer) == [dated]
    assert retention.apply(any_store, longer) == []
    await_tenants(any_store, dated, [])


def test_forever(any_store: Store, dated: str) -> None:
    """Without retention rows of 1970 stay."""
    insert(any_store, dated, {"old": time.time() / 86400 - 1})
    assert tenants(any_store, dated) == ["old"]


def test_the_oldest_day_can_be_dropped(any_store: Store, dated: str) -> None:
    """Whatever the partition's key, a day goes as a whole and the others stay."""
    start = (int(time.time()) // 86400 * 86400 - time.time()) / 86400
    insert(any_store, dated, {"a": 9 - start, "b": 8 - start})
    first, second = (
        time.strftime("%Y-%m-%d", time.gmtime(time.time() - (n - start) * 86400)) for n in (9, 8)
    )
    days = [day.day for day in retention.days(any_store)]
    assert [day for day in days if day in (first, second)] == [first, second]
    retention.drop_day(any_store, first)
    assert tenants(any_store, dated) == ["b"]


def test_tables_and_their_time() -> None:
    """The writer knows by which column each table is split into days."""
    columns = time_columns()
    assert {"spans", "samples"} <= set(columns)


def test_days_are_split_without_loss() -> None:
    """Pieces hold all rows, each at most so many days, in the same way every time."""
    times = pa.array([day * 86400 for day in range(25)] * 2, pa.int64()).cast(pa.timestamp("s"))
    rows = pa.table({"ts": times, "n": list(range(50))})
    pieces = list(by_days(rows, "ts", limit=10))
    assert [len(piece) for piece in pieces] == [20, 20, 10]
    assert sorted(n for piece in pieces for n in piece.column("n").to_pylist()) == list(range(50))
    assert pieces == list(by_days(rows, "ts", limit=10))
