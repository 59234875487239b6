"""Both backends behave as the port says: the same calls, the same answers."""

from __future__ import annotations

import datetime
import itertools
import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from lookout_server.store.port import Limits, Store, StoreError, StoreLimit

_NAMES = itertools.count(1)
_DDL = """
CREATE TABLE {name} (
    word LowCardinality(String), note String, fixed FixedString(4), day Date,
    second DateTime('UTC'), ts DateTime64(6, 'UTC'), n UInt64, i Int64, x Float64, flag Bool,
    words Array(LowCardinality(String)), tags Map(LowCardinality(String), String)
) ENGINE = MergeTree PARTITION BY day ORDER BY n SETTINGS non_replicated_deduplication_window = 100
"""


@pytest.fixture
def table(any_store: Store) -> Iterator[str]:
    """A table with a column of every type the schema uses."""
    name = f"things_{next(_NAMES)}"
    any_store.execute(_DDL.format(name=name))
    yield name
    any_store.execute(f"DROP TABLE {name}")


def things(start: int = 0, count: int = 3) -> pa.Table:
    numbers = range(start, start + count)
    moment = datetime.datetime(2026, 11, 21, 3, 4, 5, 678901, tzinfo=datetime.UTC)
    return pa.table(
        {
            "word": pa.array([f"w{n % 2}" for n in numbers]).dictionary_encode(),
            "note": pa.array([f"it's \\ {n}\n\0ü" for n in numbers]),
            "fixed": pa.array([bytes([0, 255, 39, n % 200]) for n in numbers], pa.binary(4)),
            "day": pa.array([moment.date()] * count),
            "second": pa.array([1_800_000_000 + n for n in numbers], pa.uint32()),
            "ts": pa.array([moment] * count, pa.timestamp("us", "UTC")),
            "n": pa.array([2**64 - 1 - n for n in numbers], pa.uint64()),
            "i": pa.array([-(2**63) + n for n in numbers], pa.int64()),
            "x": pa.array([n / 3 for n in numbers]),
            "flag": pa.array([n % 2 == 0 for n in numbers]),
            "words": pa.array([["a", f"b{n}"] if n else [] for n in numbers]),
            "tags": pa.array(
                [[("k'", f"v{n}"), ("l", "")] if n else [] for n in numbers],
                pa.map_(pa.string(), pa.string()),
            ),
        }
    )


def count(store: Store, table: str) -> int:
    return int(store.fetch(f"SELECT count() AS n FROM {table}").column("n")[0].as_py())


def test_rows_come_back_as_they_were(any_store: Store, table: str) -> None:
    """Every column type survives, with the Arrow types of the embedded database."""
    rows = things()
    any_store.insert(table, rows, "t")
    got = any_store.fetch(f"SELECT * FROM {table} ORDER BY n DESC")
    assert got.to_pylist() == rows.to_pylist()
    assert [field.type for field in got.schema if field.name not in ("words", "tags")] == [
        pa.string() if field.name == "word" else field.type
        for field in rows.schema
        if field.name not in ("words", "tags")
    ]


def test_no_rows_have_types_too(any_store: Store, table: str) -> None:
    """An empty answer has its columns."""
    got = any_store.fetch(f"SELECT n, word, ts FROM {table}")
    assert (got.num_rows, got.column_names) == (0, ["n", "word", "ts"])
    assert got.schema.field("n").type == pa.uint64()


def test_a_repeated_token_is_ignored(any_store: Store, table: str) -> None:
    """The same batch again is not stored again; the same rows as another batch are."""
    any_store.insert(table, things(), "a")
    any_store.insert(table, things(), "a")
    assert count(any_store, table) == 3
    any_store.insert(table, things(), "b")
    assert count(any_store, table) == 6


def test_large_batches_are_one_insert(any_store: Store, table: str) -> None:
    """A repeat of 60,000 rows is ignored as a whole."""
    for _ in range(2):
        any_store.insert(table, things(count=60_000), "large")
    assert count(any_store, table) == 60_000


def test_views_are_deduplicated(any_store: Store, table: str) -> None:
    """A repeat does not double the rows of a materialized view's target."""
    any_store.execute(
        f"CREATE TABLE {table}_seen (n UInt64) ENGINE = MergeTree ORDER BY n "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    any_store.execute(
        f"CREATE MATERIALIZED VIEW {table}_view TO {table}_seen AS SELECT n FROM {table}"
    )
    for _ in range(3):
        any_store.insert(table, things(), "v")
    assert count(any_store, f"{table}_seen") == 3
    any_store.execute(f"DROP VIEW {table}_view")
    any_store.execute(f"DROP TABLE {table}_seen")


def test_parameters(any_store: Store, table: str) -> None:
    """Values are bound by ClickHouse, whatever they contain."""
    any_store.insert(table, things(), "p")
    got = any_store.fetch(
        f"SELECT n FROM {table} WHERE note = {{note:String}} AND word IN {{words:Array(String)}}",
        {"note": "it's \\ 1\n\0ü", "words": ["w1", "') OR 1=1 --"]},
    )
    assert got.column("n").to_pylist() == [2**64 - 2]


def test_errors_carry_their_number(any_store: Store) -> None:
    """Unknown table is 60, and the message says which."""
    with pytest.raises(StoreError, match="no_such_table") as caught:
        any_store.fetch("SELECT * FROM no_such_table")
    assert caught.value.code == 60


def test_time_limit(any_store: Store) -> None:
    """A query that takes too long is stopped by ClickHouse."""
    started = time.monotonic()
    with pytest.raises(StoreLimit) as caught:
        any_store.fetch(ENDLESS, limits=Limits(seconds=0.3))
    assert caught.value.code == 159
    assert time.monotonic() - started < 5


def test_memory_limit(any_store: Store) -> None:
    """So is one that takes too much memory; the store lives on."""
    with pytest.raises(StoreLimit) as caught:
        any_store.fetch(
            "SELECT groupArray(number) FROM numbers(100000000)",
            limits=Limits(memory_bytes=20_000_000),
        )
    assert caught.value.code == 241
    assert any_store.fetch("SELECT 1 AS one").column("one").to_pylist() == [1]


ENDLESS = "SELECT count() FROM numbers_mt(1000000000000) WHERE cityHash64(number) = 1"


def test_cancel(any_store: Store) -> None:
    """A fetch given a mark can be stopped from another thread; others run on."""
    caught: list[StoreError] = []

    def fetch() -> None:
        try:
            any_store.fetch(ENDLESS, limits=Limits(seconds=60, threads=1), mark="lookout-test-1")
        except StoreError as error:
            caught.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    deadline = time.monotonic() + 20
    while thread.is_alive() and time.monotonic() < deadline:
        any_store.cancel("lookout-test-1")
        thread.join(0.1)
    assert [error.code for error in caught] == [394]


def test_after_a_cancelled_fetch(any_store: Store) -> None:
    """Nothing of a fetch that was stopped midway is in the answer to the next."""
    sql = "SELECT sleepEachRow(0.05) AS partial FROM numbers(1000) SETTINGS max_block_size = 1"
    ended = threading.Event()

    def fetch() -> None:
        with pytest.raises(StoreError):
            any_store.fetch(sql, limits=Limits(seconds=60), mark="lookout-test-2")
        ended.set()

    thread = threading.Thread(target=fetch)
    thread.start()
    deadline = time.monotonic() + 20
    while not ended.wait(0.2) and time.monotonic() < deadline:
        any_store.cancel("lookout-test-2")
    thread.join()
    answers = [any_store.fetch("SELECT 1 AS n").to_pylist() for _ in range(3)]
    assert answers == [[{"n": 1}]] * 3


def test_readers_run_at_the_same_time(any_store: Store) -> None:
    """A small query does not wait for a large one."""

    def fetch() -> None:
        with pytest.raises(StoreLimit):
            any_store.fetch(ENDLESS, limits=Limits(seconds=1, threads=1))

    slow = threading.Thread(target=fetch)
    slow.start()
    started = time.monotonic()
    any_store.fetch("SELECT 1")
    assert slow.is_alive() and time.monotonic() - started < 1
    slow.join()
