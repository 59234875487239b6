"""Answers at the edges of what numbers and matches are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus.engine import Engine
from lookout_server.query.prometheus.errors import ExecutionError
from lookout_server.query.prometheus.result import Result
from lookout_server.query.prometheus.source import MemorySource

from .properties import PROPERTY

_MINUTE = 60_000


def _source(**series: list[float]) -> MemorySource:
    """A metric of each name, a series for each of its values, at the time 0."""
    source = MemorySource()
    for name, values in series.items():
        for number, value in enumerate(values):
            source.add({"__name__": name, "job": "x", "n": str(number)}, [0], [value])
    return source


def _instant(query: str, source: MemorySource) -> Result:
    return Engine().instant(query, 0, source)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("clamp_max(m, -Inf)", -math.inf),
        ("clamp_min(m, +Inf)", math.inf),
        ("clamp_max(m, 1)", math.nan),
        ("clamp_min(m, 1)", math.nan),
        ("clamp(m, +Inf, +Inf)", math.inf),
        ("clamp(m, -Inf, -Inf)", -math.inf),
        ("clamp(m, 0, 1)", math.nan),
    ],
)
def test_infinite_bounds_hold_nan_too(query: str, value: float) -> None:
    """Bounds are those of Go's ``math.Min`` and ``math.Max``: infinity is beyond NaN."""
    [found] = _instant(query, _source(m=[math.nan])).values.tolist()
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_what_a_comparison_drops_is_in_nobodys_way() -> None:
    """Two left series of a match group may meet one right series if only one of them passes."""
    source = _source(many=[1.0, 5.0], one=[3.0])
    assert _instant("many > on (job) one", source).values.tolist() == [5.0]
    for query in ("many > bool on (job) one", "many + on (job) one", "many > on (job) one - 3"):
        with pytest.raises(ExecutionError, match="many-to-one matching must be explicit"):
            _instant(query, source)


def test_grouping_minds_only_what_is_kept() -> None:
    """So with ``group_left`` where two results would have the same labels."""
    source = _source(many=[1.0, 5.0], one=[3.0])
    kept = "label_replace(many, 'n', '', '', '') > on (job) group_left () one"
    with pytest.raises(ExecutionError):  # the same labels twice, before anything is compared
        _instant(kept, source)
    joined = "many > on (job) group_left (n) label_replace(one, 'n', 'z', '', '')"
    found = _instant(joined, source)
    assert [dict(labels)["n"] for labels in found.labels] == ["z"]
    assert found.values.tolist() == [5.0]


_NUMBERS = st.one_of(st.integers(0, 5).map(float), st.just(math.nan), st.just(math.inf))


@PROPERTY
@given(
    st.lists(st.lists(_NUMBERS, min_size=4, max_size=4), min_size=1, max_size=8),
    st.integers(1, 9),
    st.sampled_from(["topk", "bottomk"]),
)
def test_the_best_of_a_range_are_those_of_each_instant(
    rows: list[list[float]], count: int, op: str
) -> None:
    """Many steps are ranked another way than one; the values chosen are the same, ties or not."""
    source = MemorySource()
    times = [step * _MINUTE for step in range(4)]
    for number, values in enumerate(rows):
        source.add({"__name__": "m", "n": str(number)}, times, values)
    query = f"{op}({count}, m)"
    found = Engine().range(query, 0, times[-1], _MINUTE, source)
    for time in times:
        at_once = Engine().instant(query, time, source)
        chosen = found.values[found.timestamps == time]
        np.testing.assert_array_equal(np.sort(chosen), np.sort(at_once.values))
