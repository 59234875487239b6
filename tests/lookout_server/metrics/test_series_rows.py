"""Which series a batch writes down: each once a day and kind of sample."""

from __future__ import annotations

from typing import Any

from lookout_server.config import ServerConfig
from lookout_server.metrics.rows import MetricRows, RowsBuilder
from lookout_server.metrics.signal import MetricSignal

DAY_MS = 86_400_000


def _rows(day: int = 0) -> MetricRows:
    """On that day a plain series, and one with a start time and an exemplar on the next."""
    builder = RowsBuilder("t", 10**12)
    plain = builder.series({"__name__": "plain", "zone": "é", "app": "shop"})
    started = builder.series({"__name__": "started"})
    for time in (5, 6):
        builder.sample(plain, day * DAY_MS + time, 1.0)
    builder.sample(started, (day + 1) * DAY_MS + 5, 1.0, start=3)
    builder.exemplar(started, day * DAY_MS + 7, 1.0, (("trace_id", "x"),))
    return builder.build()


def _written(signal: MetricSignal, *rows: MetricRows) -> list[tuple[Any, ...]]:
    table = signal.tables(rows).get("series")
    if table is None:
        return []
    return [
        (row["tenant"], dict(row["labels"])["__name__"], row["seen"].day, row["kind"])
        for row in table.to_pylist()
    ]


def test_once_a_day_and_kind() -> None:
    """A series has a row for each day and each kind of sample, and none a second time."""
    signal = MetricSignal(ServerConfig())
    first = [("t", "plain", 1, 0), ("t", "started", 1, 0), ("t", "started", 2, 2)]
    assert sorted(_written(signal, _rows(), _rows())) == first
    assert _written(signal, _rows()) == []
    assert sorted(_written(signal, _rows(day=1))) == [
        ("t", "plain", 2, 0),
        ("t", "started", 2, 0),
        ("t", "started", 3, 2),
    ]
    signal.forget()
    assert sorted(_written(signal, _rows())) == first


def test_all_of_a_series() -> None:
    """A row has the hashes of its series and its labels, sorted."""
    rows = _rows()
    table = MetricSignal(ServerConfig()).tables([rows])["series"]
    made = {row["id"]: (row["mid"], tuple(row["labels"])) for row in table.to_pylist()}
    assert made == {one.id: (one.mid, one.labels) for one in rows.series}


def test_none_of_a_body_of_metadata() -> None:
    """What tells of metrics alone is stored, without a series."""
    builder = RowsBuilder("t", 10**12)
    builder.metadata("orders", "counter", "Orders taken.")
    assert set(MetricSignal(ServerConfig()).tables([builder.build()])) == {"metadata"}
