"""Cuts a batch so that one insert never touches more partitions than ClickHouse takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: ClickHouse refuses an insert of more than 100 (max_partitions_per_insert_block).
MAX_DAYS = 90
_DAY_SECONDS = 86_400
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\$LOCAL(.*?);\s*$", re.DOTALL | re.MULTILINE)
_PARTITION = re.compile(r"\$PARTITION\((\w+)\)")


def time_columns() -> Mapping[str, str]:
    """The column each table of the schema is partitioned by."""
    found = {}
    for file in files(__package__).joinpath("schema").iterdir():
        if file.name.endswith(".sql"):
            for table, rest in _TABLE.findall(file.read_text("utf-8")):
                if match := _PARTITION.search(rest):
                    found[table] = match[1]
    return found


def seconds(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Unix seconds of a time column (timestamp of any unit, date32, or integer seconds)."""
    if pa.types.is_timestamp(column.type):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
        return _integers(column.cast(pa.int64())) // per_second
    if pa.types.is_date32(column.type):
        return _integers(column.cast(pa.int32())) * _DAY_SECONDS
    return _integers(column)


def _integers(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def outside(rows: pa.Table, column: str, first: float, last: float) -> npt.NDArray[np.bool_]:
    """For each row whether its time is not in [first, last] (Unix seconds)."""
    times = seconds(rows.column(column))
    found: npt.NDArray[np.bool_] = (times < first) | (times > last)
    return found


def within(rows: pa.Table, column: str, first: float, last: float) -> pa.Table:
    """The rows whose time is in [first, last] (Unix seconds); the table itself where all are."""
    left_out = outside(rows, column, first, last)
    return rows.filter(pa.array(~left_out)) if left_out.any() else rows


def day_range(rows: pa.Table, column: str) -> tuple[int, int]:
    """First day of the rows and the one after their last, since 1970."""
    days = seconds(rows.column(column)) // _DAY_SECONDS
    return int(days.min()), int(days.max()) + 1


def days_between(rows: pa.Table, column: str, first: float, end: float) -> pa.Table:
    """The rows of the days from ``first`` to before ``end``, since 1970."""
    days = seconds(rows.column(column)) // _DAY_SECONDS
    inside = (days >= first) & (days < end)
    return rows if inside.all() else rows.filter(pa.array(inside))


def by_days(rows: pa.Table, column: str, limit: int = MAX_DAYS) -> Iterator[pa.Table]:
    """The rows in pieces of at most ``limit`` days each, the same ones for the same rows."""
    days = seconds(rows.column(column)) // _DAY_SECONDS
    distinct = np.unique(days)
    if len(distinct) <= limit:
        yield rows
        return
    for start in range(0, len(distinct), limit):
        chosen = np.isin(days, distinct[start : start + limit])
        yield rows.filter(pa.array(chosen))
