"""What the engine asks for, allows, refuses and tells."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from lookout_server.query.prometheus.context import CancelToken, EngineOptions
from lookout_server.query.prometheus.engine import Engine
from lookout_server.query.prometheus.errors import (
    BadData,
    ExecutionError,
    QueryCanceled,
    QueryError,
    QueryTimeout,
    TooManySamples,
)
from lookout_server.query.prometheus.features import ALL
from lookout_server.query.prometheus.matchers import Matcher
from lookout_server.query.prometheus.source import (
    STALE,
    MemorySource,
    SelectHints,
    SeriesBlock,
    is_stale,
)

_MINUTE = 60_000


class Asked(MemorySource):
    """Remembers what was selected, and may do something before it answers."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.windows: list[tuple[int, int]] = []
        self.hints: list[SelectHints] = []
        self._before = before

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, hints: SelectHints
    ) -> SeriesBlock:
        self._note(start_ms, end_ms, hints)
        return super().select(matchers, start_ms, end_ms, hints)

    def select_parts(self, matchers, start_ms, end_ms, hints):  # type: ignore[no-untyped-def]
        self._note(start_ms, end_ms, hints)
        return super().select_parts(matchers, start_ms, end_ms, hints)

    def _note(self, start_ms: int, end_ms: int, hints: SelectHints) -> None:
        self.windows.append((start_ms, end_ms))
        self.hints.append(hints)
        self._before()


def source(series: int = 3, minutes: int = 60, into: MemorySource | None = None) -> MemorySource:
    """``up{i="0"}`` and so on: the value is the number of the minute."""
    filled = into or MemorySource()
    for number in range(series):
        times = [minute * _MINUTE for minute in range(minutes)]
        filled.add({"__name__": "up", "i": str(number)}, times, list(map(float, range(minutes))))
    return filled


def values(query: str, time_ms: int = 10 * _MINUTE, **options: object) -> dict[str, float]:
    """An instant query's values by the label ``i``."""
    engine = Engine(EngineOptions(**options))  # type: ignore[arg-type]
    result = engine.instant(query, time_ms, source())
    keys = (dict(labels).get("i", "") for labels in result.labels)
    return dict(zip(keys, result.values.tolist(), strict=True))


def test_only_the_left_open_window_is_asked_for() -> None:
    """A sample exactly as old as the range or the lookback is never read."""
    asked = Asked()
    Engine().range("sum(rate(up[5m] offset 1m)) + sum(up)", 600_000, 720_000, 60_000, asked)
    assert asked.windows == [(240_001, 660_000), (300_001, 720_000)]


def test_what_stands_twice_in_a_query_is_read_once() -> None:
    """The same selector over the same window is one question to the source."""
    asked = Asked()
    source(into=asked)
    Engine().range("up / up + sum(up)", 600_000, 720_000, 60_000, asked)
    assert len(asked.windows) == 1


def test_a_pinned_selector_is_evaluated_once_for_all_steps() -> None:
    """With ``@`` the source is asked for one moment, and every step has its value."""
    asked = Asked()
    source(into=asked)
    result = Engine().range("sum(up @ 300)", 0, 3_000_000, 1000, asked)
    assert asked.windows == [(1, 300_000)]
    assert result.values.tolist() == [15.0] * 3001


def test_the_source_is_told_what_the_samples_are_for() -> None:
    """Function, grouping, range and step around a selector are hints."""
    asked = Asked()
    Engine().range("sum by (i) (rate(up[5m])) - max(up)", 0, 60_000, 15_000, asked)
    first, second = asked.hints
    assert (first.function, first.range_ms, first.step_ms) == ("rate", 300_000, 15_000)
    assert (second.function, second.grouping, second.by) == ("max", (), True)


def test_stale_markers_are_told_from_other_nans_by_their_bits() -> None:
    """Only the marker ends a series; another NaN is a value."""
    assert is_stale(np.array([STALE, math.nan, 1.0])).tolist() == [True, False, False]
    series = MemorySource()
    series.add({"__name__": "m", "i": "stale"}, [0, 1000], [1.0, STALE])
    series.add({"__name__": "m", "i": "nan"}, [0, 1000], [1.0, math.nan])
    result = Engine().instant("m", 2000, series)
    assert [dict(labels)["i"] for labels in result.labels] == ["nan"]


def test_the_lookback_can_be_set_for_one_query() -> None:
    """A sample older than the lookback is not seen."""
    engine, series = Engine(), source()
    late = 59 * _MINUTE + 90_000
    assert len(engine.instant("up", late, series)) == 3
    assert len(engine.instant("up", late, series, lookback_ms=60_000)) == 0


def test_a_subquery_of_too_many_steps_is_refused() -> None:
    """Also where no series matches: the steps alone would not fit in memory."""
    with pytest.raises(TooManySamples):
        Engine().instant("count_over_time(nothing[90d:1ms])", 0, source())


@pytest.mark.parametrize("query", ["up @ 9e18", "up[5m] @ -9e18", "up[5m:1m] @ 9e18"])
def test_times_beyond_all_samples_find_nothing(query: str) -> None:
    """The farthest times that parse are answered as any other without samples."""
    assert len(Engine().instant(query, 0, source())) == 0


@pytest.mark.parametrize(
    "query",
    ["up", "rate(up[30m])", "up + up", "up[30m]", "sum_over_time(up[30m:1m])", "max(up) by (i)"],
)
def test_too_many_samples_are_refused(query: str) -> None:
    """The limit holds for selectors, ranges, subqueries and results."""
    engine = Engine(EngineOptions(max_samples=2))
    with pytest.raises(TooManySamples, match="would load too many samples into memory in query"):
        engine.instant(query, 30 * _MINUTE, source())
    roomy = Engine(EngineOptions(max_samples=1000))
    assert len(roomy.instant(query, 30 * _MINUTE, source())) == 3


def test_a_query_that_takes_too_long_is_stopped() -> None:
    """The timeout is that of the query where it is the shorter one."""
    with pytest.raises(QueryTimeout, match="query timed out in expression evaluation"):
        Engine().instant("up", _MINUTE, source(), timeout_s=0)


def test_another_thread_can_cancel_a_query() -> None:
    """The engine notices between its steps and says so."""
    token = CancelToken()

    def cancel() -> None:
        thread = threading.Thread(target=token.cancel)
        thread.start()
        thread.join()

    with pytest.raises(QueryCanceled, match="query was canceled in expression evaluation"):
        Engine().instant("sum(up) + count(up)", _MINUTE, Asked(cancel), cancel=token)


@pytest.mark.parametrize(
    ("query", "error", "status"),
    [
        ("sum(", BadData, 400),
        ("up + on (i) group_left {__name__=~'up|down'}", ExecutionError, 422),
        ("topk(scalar(nothing), up)", ExecutionError, 422),
    ],
)
def test_errors_say_what_the_api_answers(query: str, error: type[QueryError], status: int) -> None:
    """A bad query and a query that the data do not allow are told apart."""
    series = source()
    series.add({"__name__": "down", "i": "1"}, [0], [1.0])
    with pytest.raises(error) as caught:
        Engine().instant(query, _MINUTE, series)
    assert caught.value.status == status


@pytest.mark.parametrize("query", ['"text"', "up[5m]"])
def test_a_range_query_needs_a_vector_or_a_scalar(query: str) -> None:
    """The message is Prometheus'."""
    with pytest.raises(BadData, match="for range query, must be Scalar or instant Vector"):
        Engine().range(query, 0, 1000, 1000, source())


def test_experimental_functions_are_off_unless_switched_on() -> None:
    """A stock engine refuses what its features do not name."""
    with pytest.raises(BadData, match="not enabled"):
        values("mad_over_time(up[5m])")
    assert values("mad_over_time(up[5m])", features=ALL) == {"0": 1.0, "1": 1.0, "2": 1.0}


def test_names_can_be_dropped_at_once() -> None:
    """Without delayed removal the name is gone before the aggregation sees it."""
    series = MemorySource()
    for name in ("one_total", "two_total"):
        series.add({"__name__": name, "i": name}, [0, 60_000], [1.0, 2.0])
    query = 'count by (__name__) (rate({__name__=~".+"}[5m]))'
    at_once = Engine(EngineOptions(delayed_name_removal=False)).instant(query, 60_000, series)
    assert (at_once.labels, at_once.values.tolist()) == ([()], [2.0])
    with pytest.raises(ExecutionError, match="metrics with the same labelset"):
        Engine().instant(query, 60_000, series)


def test_at_most_ten_annotations_are_shown() -> None:
    """The rest is counted."""
    series = MemorySource()
    for number in range(12):
        series.add({"__name__": f"m{number:02}"}, [0, 60_000], [1.0, 2.0])
    result = Engine().instant('sum(rate({__name__=~"m.*"}[5m]))', 60_000, series)
    assert len(result.infos) == 11
    assert result.infos[0].endswith('_total/_sum/_count/_bucket: "m00" (1:10)')
    assert result.infos[-1] == "2 more info annotations omitted"


def test_annotations_name_line_and_column() -> None:
    """In a query of several lines, too."""
    result = Engine().instant("sum(\n  rate(up[5m])\n)", 10 * _MINUTE, source())
    assert result.infos == [
        "PromQL info: metric might not be a counter, name does not end in "
        '_total/_sum/_count/_bucket: "up" (2:8)'
    ]


def test_parentheses_around_an_argument_do_not_move_its_annotation() -> None:
    """The place is that of what stands inside of them, as in Prometheus."""
    result = Engine().instant("rate(((up[5m])))", 10 * _MINUTE, source())
    assert result.infos[0].endswith("(1:8)")


def test_a_result_says_what_it_cost() -> None:
    """Samples read and the most held at once."""
    result = Engine().range("sum(up)", 0, 600_000, 60_000, source())
    assert (result.samples_total, result.samples_peak) == (33, 33)


def test_a_matrix_is_sorted_by_labels_and_a_sort_keeps_its_order() -> None:
    """Range queries order by labels; an instant query keeps what ``sort_desc`` made."""
    series = MemorySource()
    for name, value in (("b", 1.0), ("a", 2.0), ("c", 3.0)):
        series.add({"__name__": "m", "i": name}, [0], [value])
    result = Engine().range("m", 0, 1000, 1000, series)
    assert [dict(labels)["i"] for labels in result.labels] == ["a", "b", "c"]
    result = Engine().instant("sort_desc(m)", 0, series)
    assert [dict(labels)["i"] for labels in result.labels] == ["c", "a", "b"]
