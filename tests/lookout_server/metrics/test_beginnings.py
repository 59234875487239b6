"""A counter's first value is an increase: its series begins with 0 at its start time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from lookout_server.config import ServerConfig
from lookout_server.metrics import tables
from lookout_server.metrics.signal import MetricSignal
from lookout_server.signal import Receipt

START, NOW = 1_700_000_000_000, 1_700_000_030_000  # ms


def body(kind: str, value: float, *, start: int = START, monotonic: bool = True) -> bytes:
    point = {
        "asDouble": value,
        "timeUnixNano": f"{NOW}000000",
        "startTimeUnixNano": f"{start}000000",
    }
    data: dict[str, Any] = {"dataPoints": [point]}
    if kind == "sum":
        data |= {"isMonotonic": monotonic, "aggregationTemporality": 2}
    metrics = [{"name": "orders", kind: data}]
    return orjson.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})


def samples(signal: MetricSignal, *bodies: bytes) -> list[tuple[int, float]]:
    receipt = Receipt("default", NOW, {})
    made = signal.tables([signal.decode("otlp_json", item, receipt) for item in bodies])
    table = made["samples"]
    return sorted(
        (round(ts.timestamp() * 1000), v)
        for ts, v in zip(table["ts"].to_pylist(), table["v"].to_pylist(), strict=True)
    )


def new_signal() -> MetricSignal:
    return MetricSignal(ServerConfig())


def test_a_counter_begins_with_zero_once() -> None:
    """The first batch with a series has its 0; later ones only their values."""
    signal = new_signal()
    assert samples(signal, body("sum", 7)) == [(START, 0.0), (NOW, 7.0)]
    assert samples(signal, body("sum", 9)) == [(NOW, 9.0)]


def test_a_restarted_counter_begins_again() -> None:
    """A new start time is a new beginning."""
    signal = new_signal()
    samples(signal, body("sum", 7))
    assert samples(signal, body("sum", 1, start=START + 5)) == [(START + 5, 0.0), (NOW, 1.0)]


def test_what_is_no_counter_has_no_beginning() -> None:
    """Gauges and sums that may fall did not begin with 0."""
    signal = new_signal()
    assert samples(signal, body("gauge", 7)) == [(NOW, 7.0)]
    assert samples(signal, body("sum", 7, monotonic=False)) == [(NOW, 7.0)]


def test_a_batch_that_was_not_stored_gives_its_beginnings_again() -> None:
    """After forget() the 0 is written with the next batch."""
    signal = new_signal()
    samples(signal, body("sum", 7))
    signal.forget()
    assert samples(signal, body("sum", 9)) == [(START, 0.0), (NOW, 9.0)]


def test_forgetting_waits_for_the_tables_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who deletes series while a batch is made neither spoils it nor is overtaken by it."""
    signal = new_signal()
    forgotten = threading.Event()

    def forget() -> None:
        signal.forget()
        forgotten.set()

    deleting = threading.Thread(target=forget)
    make: Callable[..., Any] = tables.tables

    def meanwhile(*arguments: Any) -> Any:
        deleting.start()
        assert not forgotten.wait(0.1)
        return make(*arguments)

    monkeypatch.setattr(tables, "tables", meanwhile)
    assert samples(signal, body("sum", 7)) == [(START, 0.0), (NOW, 7.0)]
    deleting.join(10)
    monkeypatch.undo()
    assert samples(signal, body("sum", 9)) == [(START, 0.0), (NOW, 9.0)]
