"""Answers at the edges of what numbers and matches are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.query.prometheus.context import EngineOptions
from lookout_server.query.prometheus.engine import Engine
from lookout_server.query.prometheus.errors import ExecutionError
from lookout_server.query.prometheus.features import ALL
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


def test_what_a_comparison_drops_has_matched_all_the_same() -> None:
    """Whether a match is ambiguous does not depend on the values that are compared."""
    source = _source(many=[1.0, 5.0], one=[3.0])
    for query in ("many > on (job) one", "many > bool on (job) one", "many + on (job) one"):
        with pytest.raises(ExecutionError, match="many-to-one matching must be explicit"):
            _instant(query, source)
    found = _instant("many > on (job) group_left () one", source)
    assert found.values.tolist() == [5.0]


def test_grouping_needs_labels_of_their_own_for_what_is_dropped_too() -> None:
    """So with ``group_left`` where two results would have the same labels."""
    source = _source(many=[1.0, 5.0], one=[3.0])
    with pytest.raises(ExecutionError, match="same labelset"):  # before anything is compared
        _instant("label_replace(many, 'n', '', '', '') > on (job) group_left () one", source)
    joined = "many > on (job) group_left (n) label_replace(one, 'n', 'z', '', '')"
    with pytest.raises(ExecutionError, match="grouping labels must ensure unique matches"):
        _instant(joined, source)


def test_trimming_is_for_histograms() -> None:
    """Two numbers cannot be trimmed: an error of the execution, not of the server."""
    with pytest.raises(ExecutionError, match='operator "</" not allowed for Scalar operations'):
        _instant("1 </ 2", _source())


@pytest.mark.parametrize(("values", "named"), [([9.0, 1.0], True), ([1.0, 9.0], False)])
def test_the_first_sample_says_whether_a_series_keeps_its_name(
    values: list[float], named: bool
) -> None:
    """Where ``or`` takes samples of one series from both sides, only one of which has a name."""
    source = MemorySource()
    source.add({"__name__": "m"}, [0, _MINUTE], values)
    [labels] = Engine().range("m > 5 or abs(m)", 0, _MINUTE, _MINUTE, source).labels
    assert labels == ((("__name__", "m"),) if named else ())


def test_counted_values_are_no_names_without_grouping_by_them() -> None:
    """``without`` drops the metric name even where the value was to be it."""
    found = _instant('count_values without () ("__name__", m)', _source(m=[1.0, 2.0]))
    assert found.labels == [(("job", "x"), ("n", "0")), (("job", "x"), ("n", "1"))]
    same = 'count_values without (n) ("__name__", m)'
    assert _instant(same, _source(m=[1.0, 2.0])).values.tolist() == [2.0]


@pytest.mark.parametrize(
    ("replacement", "value"),
    [("$1", "a"), ("${1}b", "ab"), ("$1b", ""), ("$$1", "$1"), ("${x y}", "${x y}"), ("$01", "")],
)
def test_replacements_are_expanded_as_in_go(replacement: str, value: str) -> None:
    """A name is as long as it can be; what is no reference stays as it is."""
    query = f"label_replace(vector(1), 'new', '{replacement}', 'old', '(a?)')"
    query = query.replace("vector(1)", "label_replace(m, 'old', 'a', '', '')")
    [labels] = _instant(query, _source(m=[1.0])).labels
    assert dict(labels).get("new", "") == value


def test_names_are_sorted_by_the_numbers_in_them() -> None:
    """Numbers too large for 64 bits are text, however many digits they have."""
    source = MemorySource()
    huge = "9" * 5000
    for name in ("x10", "x9", "x010", f"x{huge}", "x\u0663", ""):
        source.add({"__name__": "m", "job": "x", "n": name}, [0], [0.0])
    engine = Engine(EngineOptions(features=ALL))
    found = engine.instant('sort_by_label(m, "n")', 0, source).labels
    assert [dict(labels).get("n", "") for labels in found] == [
        *("", "x9", "x010", "x10", f"x{huge}", "x\u0663")
    ]


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
