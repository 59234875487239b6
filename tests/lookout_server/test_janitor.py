"""What the database may take on disk: the oldest days go until it is within its budget."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lookout_server.config import ServerConfig
from lookout_server.janitor import Janitor
from lookout_server.journal import Journal
from lookout_server.store.template import Dialect


class Database:
    """A store as the janitor sees it: parts by table and partition, and statements that drop."""

    def __init__(self, parts: Mapping[tuple[str, str], int]) -> None:
        self.parts = dict(parts)

    def days(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (_, partition), size in self.parts.items():
            day = partition.split("'")[1]
            found[day] = found.get(day, 0) + size
        return dict(sorted(found.items()))

    def fetch(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        if "GROUP BY day" in sql:
            days = self.days()
            return pa.table({"day": list(days), "bytes": list(days.values())})
        if parameters:
            hits = [key for key in self.parts if parameters["day"] in key[1]]
            return pa.table(
                {"table": [table for table, _ in hits], "partition": [part for _, part in hits]}
            )
        if "system.merges" in sql:
            return pa.table({"n": [0]})
        return pa.table({"table": ["spans"], "parts": [1], "bytes": [1], "rows": [1]})

    def execute(self, sql: str) -> None:
        _, _, table, _, _, partition = sql.split(" ", 5)
        del self.parts[table, partition]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def partition(day: int) -> str:
    return f"('2026-01-{day:02}',604800)"


PARTS = {
    **{("spans", partition(day)): 100 for day in (1, 2, 3, 4)},
    **{("samples", partition(day)): 50 for day in (2, 4)},
}


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (0, [1, 2, 3, 4]),  # no budget
        (500, [1, 2, 3, 4]),  # as much as there is
        (499, [2, 3, 4]),
        (400, [2, 3, 4]),
        (399, [3, 4]),
        (150, [4]),
        (1, [4]),  # the day at hand stays whatever its size
    ],
)
def test_the_oldest_days_go(
    tmp_path: Path,
    journal: Journal,
    caplog: pytest.LogCaptureFixture,
    budget: int,
    left: list[int],
) -> None:
    """Whole days of all tables, oldest first, no more than needed, logged and counted."""
    database = Database(PARTS)
    config = ServerConfig(data_dir=tmp_path, disk_budget=f"{budget}B")
    janitor = Janitor(config, database, Dialect(), journal)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "lookout.janitor"):
        janitor.round()
    assert list(database.days()) == [f"2026-01-{day:02}" for day in left]
    assert {table for table, _ in database.parts} >= {"samples"}
    assert janitor.found.days_dropped == 4 - len(left) == len(caplog.records)


def test_the_count_goes_on(tmp_path: Path, journal: Journal) -> None:
    """Days dropped are counted since the start; a round within the budget drops none."""
    database = Database(PARTS)
    config = ServerConfig(data_dir=tmp_path, disk_budget="400B")
    janitor = Janitor(config, database, Dialect(), journal)  # type: ignore[arg-type]
    for more, dropped in ((0, 1), (0, 1), (100, 2)):
        if more:
            database.parts["spans", partition(5)] = more
        janitor.round()
        assert janitor.found.days_dropped == dropped
    assert list(database.days()) == ["2026-01-03", "2026-01-04", "2026-01-05"]
