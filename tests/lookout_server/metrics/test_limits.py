"""The number of series is limited by tenant and by metric, and old ones make room."""

from __future__ import annotations

import numpy as np

from lookout_server.metrics.known import ActiveSeries, SeriesLimits
from lookout_server.metrics.rows import MetricRows, RowsBuilder
from lookout_server.metrics.series import Series
from lookout_server.metrics.series_table import SeriesColumn

HOUR = 3_600_000


def rows(*series: tuple[str, str], now: int = 0, tenant: str = "a") -> MetricRows:
    builder = RowsBuilder(tenant, now + 1)
    for name, label in series:
        builder.sample(builder.series({"__name__": name, "l": label}), now, 1.0)
    return builder.build()


def admitted(active: ActiveSeries, offered: MetricRows) -> int:
    active.admit(offered)
    return offered.samples


def test_limit_of_a_tenant() -> None:
    """New series beyond the limit are refused by name, known ones stay welcome."""
    active = ActiveSeries(SeriesLimits(per_tenant=2))
    assert admitted(active, rows(("m", "1"), ("m", "2"))) == 2
    third = rows(("m", "1"), ("n", "3"))
    assert admitted(active, third) == 1
    (problem,) = third.problems
    assert (problem.reason, problem.samples) == ("series_limit_tenant", 1)
    assert "tenant a has 2 active series, the limit is 2" in problem.text
    assert admitted(active, rows(("m", "9"), tenant="b")) == 1


def test_limit_of_a_metric() -> None:
    """One metric with too many series does not keep others out."""
    active = ActiveSeries(SeriesLimits(per_metric=1))
    offered = rows(("m", "1"), ("m", "2"), ("n", "1"))
    assert admitted(active, offered) == 2
    assert offered.problems[0].reason == "series_limit_metric"


def test_series_that_rest_make_room() -> None:
    """After two windows without samples a series is active no more."""
    active = ActiveSeries(SeriesLimits(per_tenant=1, window_ms=HOUR))
    assert admitted(active, rows(("m", "1"))) == 1
    assert admitted(active, rows(("m", "2"), now=HOUR)) == 0
    assert admitted(active, rows(("m", "2"), now=2 * HOUR)) == 1
    assert active.count("a") == 1


def test_a_million_series_cost_no_memory() -> None:
    """Series beyond the limit are refused by number and not remembered."""
    active = ActiveSeries(SeriesLimits(per_metric=1_000))
    refused = 0
    for first in range(0, 1_000_000, 10_000):
        of_body = [Series(id_, 7, "m", ()) for id_ in range(first, first + 10_000)]
        offered = MetricRows("a", 1, series=SeriesColumn.of(of_body))
        offered.sample_series = np.arange(10_000, dtype=np.int32)
        offered.timestamps, offered.values = np.ones(10_000, dtype=np.int64), np.ones(10_000)
        active.admit(offered)
        refused += sum(problem.samples for problem in offered.problems)
    assert refused == 999_000
    assert active.count("a") == 1_000
