"""What goes on of the traces of a window, kept up with batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookout_server.query.zipkin import late
from lookout_server.query.zipkin.late import GoingOn, LateTraces, Window
from lookout_server.spans.news import News

#: It looks at the five minutes 2 and 3; two more are looked at after it.
WINDOW = Window("t", 600_000_000, 1_000_000_000, (4, 5))


def news(*rows: tuple[str, int, int]) -> News:
    """A batch of (tenant, folded id, five minutes)."""
    tenants, folds, buckets = zip(*rows, strict=True)
    columns = {
        "tenant": pa.array(tenants).dictionary_encode(),
        "fold": pa.array(folds, pa.uint32()),
        "bucket": pa.array(buckets, pa.uint32()),
    }
    index = pa.table(columns)
    return News(np.array(folds, np.uint32), frozenset(), {}, index, pa.table({}))


def held(traces: LateTraces) -> None:
    """Traces 1, 2 and 3 are in the window, and 3 goes on."""
    before, after = np.array([1, 2, 3], np.uint32), np.array([3], np.uint32)
    traces.keep(WINDOW, GoingOn(before, after, traces.number()))


def going_on(traces: LateTraces) -> list[int] | None:
    now = traces.now(WINDOW)
    return now.after.tolist() if now else None


def test_traces_of_the_window_that_go_on_are_found() -> None:
    """Those of the tenant, in the five minutes that are looked at, and of the window alone."""
    traces = LateTraces()
    held(traces)
    traces.stored([news(("t", 1, 4), ("t", 9, 4), ("u", 2, 4), ("t", 2, 6))])
    assert going_on(traces) == [1, 3]
    traces.stored([news(("u", 2, 5))])
    traces.stored([news(("t", 2, 5), ("t", 2, 4))])
    assert going_on(traces) == [1, 2, 3]


def test_a_late_span_in_the_window_has_it_read_again() -> None:
    """There are more traces to go on; those of another tenant are not."""
    traces = LateTraces()
    held(traces)
    traces.stored([news(("u", 7, 3))])
    assert going_on(traces) == [3]
    traces.stored([news(("t", 7, 3))])
    assert going_on(traces) is None


def test_nothing_is_answered_that_was_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches whose ids made room, and those that failed, have all of it read again."""
    monkeypatch.setattr(late, "_IDS_BYTES", 16)  # two ids, each with its five minutes
    traces = LateTraces()
    held(traces)
    for _ in range(2):
        traces.stored([news(("t", 9, 4))])
    assert going_on(traces) == [3]
    for _ in range(3):
        traces.stored([news(("t", 1, 4))])
    assert going_on(traces) is None
    held(traces)
    traces.forget()
    assert going_on(traces) is None


def test_what_was_read_while_batches_came_is_brought_up_to_them() -> None:
    """It is of the batch that was the newest before it was read."""
    traces = LateTraces()
    number = traces.number()
    traces.stored([news(("t", 1, 4))])
    traces.keep(WINDOW, GoingOn(np.array([1], np.uint32), np.empty(0, np.uint32), number))
    assert going_on(traces) == [1]
    number = traces.number()
    traces.forget()
    traces.keep(WINDOW, GoingOn(np.array([1], np.uint32), np.empty(0, np.uint32), number))
    traces.stored([news(("t", 1, 4))])
    assert going_on(traces) is None
