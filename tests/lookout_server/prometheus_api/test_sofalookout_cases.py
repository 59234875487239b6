"""SOFALookout's acceptance cases for queries, and its server's defects, each absent here.

A window is open at its left end as in Prometheus 3; SOFALookout's are closed. So where a case has a
sample exactly at that end, it is asked for with a window one second longer.
"""

from __future__ import annotations

import datetime
import math
import time
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from lookout_client import Registry
from lookout_client.push.lookout import LookoutReporter
from lookout_client.steps import Priority

from .test_api import data, write

DAY = datetime.date(2023, 11, 14)


def at(clock: str) -> int:
    """The moment of that day in milliseconds."""
    moment = datetime.datetime.combine(DAY, datetime.time.fromisoformat(clock), datetime.UTC)
    return int(moment.timestamp() * 1000)


END = at("16:41:30")
TIMES = [at(clock) for clock in ("16:38:00", "16:39:30", "16:40:00", "16:40:30", "16:41:30")]


def gauge(client: TestClient, *values: float, name: str = "test_metric") -> None:
    """A series with these values at the five times."""
    write(client, ({"__name__": name, "app": "gateway"}, list(zip(TIMES, values, strict=True))))


def value(client: TestClient, query: str, when: int = END) -> float:
    """The only value of the answer."""
    (found,) = data(client, "query", query=query, time=when / 1000)["result"]
    return float(found["value"][1])


def values(client: TestClient, query: str, when: int = END) -> dict[str, float]:
    """The values by the label ``k``."""
    found = data(client, "query", query=query, time=when / 1000)["result"]
    return {one["metric"].get("k", ""): float(one["value"][1]) for one in found}


@pytest.mark.parametrize(
    ("numbers", "function", "window", "expected"),
    [
        ((9, 9, 9, 9, 9), "sum", "60s", 9), ((9, 9, 9, 9, 9), "sum", "90s", 18),
        ((9, 9, 9, 9, 9), "sum", "61s", 18), ((9, 9, 9, 9, 9), "sum", "91s", 27),
        ((27, 9, 18, 9, 9), "max", "60s", 9), ((27, 9, 18, 9, 9), "max", "91s", 18),
        ((0, 9, 1, 9, 2), "min", "60s", 2), ((0, 9, 1, 9, 2), "min", "91s", 1),
        ((0, 0, 0, 8, 9), "avg", "61s", 8.5), ((0, 0, 0, 8, 9), "count", "91s", 3),
    ],
)  # fmt: skip
def test_d1_to_d4_functions_over_time(
    client: TestClient, numbers: tuple[float, ...], function: str, window: str, expected: float
) -> None:
    """Sums, extremes, means and counts of the samples in a window."""
    gauge(client, *numbers)
    assert value(client, f"{function}_over_time(test_metric[{window}])") == expected


def test_d1_sum2_keeps_the_name(client: TestClient) -> None:
    """SOFALookout's sum2_over_time is sum_over_time of a series that stays what it is called."""
    gauge(client, 9, 9, 9, 9, 9)
    (found,) = data(client, "query", query="sum2_over_time(test_metric[91s])", time=END / 1000)[
        "result"
    ]
    assert found == {
        "metric": {"__name__": "test_metric", "app": "gateway"},
        "value": [END / 1000, "27"],
    }


def test_d5_range_query_over_a_window(client: TestClient) -> None:
    """7 and 9 half a minute apart are 16 at the second."""
    times = [at("16:37:30"), at("16:38:00")]
    write(client, ({"__name__": "test_metric"}, list(zip(times, (7, 9), strict=True))))
    found = data(client, "query_range", query="sum_over_time(test_metric[60s])",
                 start=times[0] / 1000, end=times[1] / 1000, step=30)["result"]  # fmt: skip
    assert [point[1] for point in found[0]["values"]] == ["7", "16"]


@pytest.fixture
def counters(client: TestClient) -> TestClient:
    """Two counters that gain 10 and 20 every 15 s."""
    steps = range(-40, 1)
    for name, gain in (("a", 10), ("b", 20)):
        samples = [(END + 15_000 * step, float(gain * (step + 40))) for step in steps]
        write(client, ({"__name__": "c", "k": name}, samples))
    return client


def test_d6_rates(counters: TestClient) -> None:
    """rate, increase, delta and idelta of both, and their sum."""
    assert values(counters, "rate(c[1m])") == {"a": 10 / 15, "b": 20 / 15}
    assert values(counters, "increase(c[1m])") == {"a": 40, "b": 80}
    assert values(counters, "delta(c[1m])") == {"a": 40, "b": 80}
    assert values(counters, "idelta(c[1m])") == {"a": 10, "b": 20}
    assert value(counters, "sum by (app) (rate(c[1m]))") == pytest.approx(2)


def test_d6_increase2_is_not_extrapolated(counters: TestClient) -> None:
    """From the first to the last sample of the window, of which four lie in a minute open at
    its beginning; a counter that begins anew has lost nothing."""
    assert values(counters, "increase2(c[1m])") == {"a": 30, "b": 60}
    assert values(counters, "increase2(c[61s])") == {"a": 40, "b": 80}
    gauge(counters, 5, 7, 1, 2, 6, name="reset")
    assert value(counters, "increase2(reset[5m])") == 2 + 1 + 1 + 4


@pytest.fixture
def buckets(client: TestClient) -> TestClient:
    """50 values in 0-100, 30 in 100-200 and 20 in 200-500, as SOFALookout's client reports them."""
    for bucket, count in (("0-100", 50), ("100-200", 30), ("200-500", 20)):
        labels = {"__name__": "z.buckets", "k": "a", "_bucket": bucket}
        write(client, (labels, [(END, float(count))]))
    return client


@pytest.mark.parametrize(
    ("quantile", "expected"),
    [(0.5, 100), (0.9, 350), (0.95, 425), (0.99, 485), (0, 0), (1, 500), (0.25, 50)],
)
def test_d7_zhistogram_quantile(buckets: TestClient, quantile: float, expected: float) -> None:
    """Quantiles of buckets that count for themselves, linear within each."""
    query = f"zhistogram_quantile({quantile}, {{__name__='z.buckets'}})"
    assert values(buckets, query) == pytest.approx({"a": expected})
    summed = f"zhistogram_quantile({quantile}, sum by (_bucket) ({{__name__='z.buckets'}}))"
    assert value(buckets, summed) == pytest.approx(expected)


def test_d7_zhistogram_quantile_at_its_edges(buckets: TestClient) -> None:
    """In the bucket without an end its beginning; with nothing counted NaN; a bucket that cannot
    be one is left out, and outside of 0 to 1 it is infinite, both with a warning."""
    write(buckets, ({"__name__": "z.buckets", "k": "a", "_bucket": "500-"}, [(END, 100.0)]))
    write(buckets, ({"__name__": "z.buckets", "k": "b", "_bucket": "0-0.5"}, [(END, 0.0)]))
    write(buckets, ({"__name__": "z.buckets", "k": "b", "_bucket": "9-3"}, [(END, 7.0)]))
    found = values(buckets, "zhistogram_quantile(0.9, {__name__='z.buckets'})")
    assert (found["a"], math.isnan(found["b"])) == (500, True)
    query = {"query": "zhistogram_quantile(2, {__name__='z.buckets'})", "time": END / 1000}
    answer = buckets.get("/api/v1/query", params=query).json()
    assert {one["value"][1] for one in answer["data"]["result"]} == {"+Inf"}
    assert len(answer["warnings"]) == 2
    assert any('"_bucket" is missing or no range: "9-3"' in text for text in answer["warnings"])


def test_d7_what_our_timers_report_has_quantiles(client: TestClient) -> None:
    """From a timer's buckets by way of SOFALookout's protocol to the median: 1 to 1000 ms."""
    registry, sent, now = Registry(), list[bytes](), [time.time_ns() // 1_000_000 - 60_000]
    reporter = LookoutReporter(
        registry, lambda body, headers, lines: sent.append(body), compress_from=10_000,
        clock_ms=lambda: now[0],
    )  # fmt: skip
    timer = registry.timer("rpc", buckets=(0.1, 0.2, 0.4, 0.8))
    for milliseconds in range(1, 1001):
        timer.record(milliseconds / 1000)
    now[0] += 30_000
    reporter.report(Priority.NORMAL)
    for body in sent:
        assert client.post("/datas", content=body, headers={"app": "shop"}).status_code == 200
    answers = [
        value(client, f"zhistogram_quantile({q}, {{__name__='rpc.buckets'}})", now[0])
        for q in (0.05, 0.5, 0.75, 0.9)
    ]
    assert answers == pytest.approx([50, 500, 750, 800])


def test_d7_histogram_quantile(client: TestClient) -> None:
    """The 90th percentile of 50, 80, 100, 100 below 0.1, 0.2, 0.5 and +Inf is 0.35."""
    for bound, count in (("0.1", 50), ("0.2", 80), ("0.5", 100), ("+Inf", 100)):
        write(client, ({"__name__": "h_bucket", "le": bound}, [(END, float(count))]))
    assert value(client, "histogram_quantile(0.9, h_bucket)") == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("query", "said"),
    [("sum(x[5m])", "expected type instant vector"), ("1 > 2", "BOOL modifier"),
     ("sum(", "parse error"), ("v{", "parse error"), ("rate(c[1m)", "parse error")],
)  # fmt: skip
def test_d8_and_defect_26_what_is_wrong_with_a_query_is_the_clients(
    client: TestClient, query: str, said: str
) -> None:
    """A wrong type, a missing bool, a syntax error: 400 with the place, never 500."""
    answer = client.get("/api/v1/query", params={"query": query})
    assert answer.status_code == 400
    assert answer.json()["errorType"] == "bad_data"
    assert said.lower() in answer.json()["error"].lower()


def test_d8_precedence_and_names(client: TestClient) -> None:
    """Powers are right-associative, products before sums, colons are part of names."""
    assert data(client, "query", query="2^3^2")["result"][1] == "512"
    assert data(client, "query", query="1+2*3")["result"][1] == "7"
    gauge(client, 1, 2, 3, 4, 5, name="http_requests:rate5m")
    assert value(client, 'http_requests:rate5m{app="gateway"}') == 5


@pytest.mark.parametrize(
    "query", ["rate(c[2m])", "sum_over_time(c[1m])", "c", "max_over_time(c[45s])"]
)
def test_d9_and_defect_25_overlapping_windows(counters: TestClient, query: str) -> None:
    """A step shorter than the window gives what each moment gives when asked by itself."""
    start = END - 120_000
    found = data(counters, "query_range", query=query, start=start / 1000, end=END / 1000,
                 step=7)["result"]  # fmt: skip
    for series in found:
        assert len(series["values"]) == 18
        for moment, text in series["values"]:
            alone = values(counters, query, round(moment * 1000))
            assert float(text) == pytest.approx(alone[series["metric"]["k"]], rel=1e-12)


def test_defect_19_a_push_without_a_token_is_taken(client: TestClient) -> None:
    """As documented by SOFALookout, where no token is configured."""
    answer = client.put("/prom/metrics/job/j/app/shop/step/10", content=b"x 1\n")
    assert answer.status_code == 202


def test_defects_20_and_21_a_bad_line_costs_only_itself_and_all_are_aligned(
    client: TestClient,
) -> None:
    """Escapes, +Inf, times and a line that is nothing: the rest is kept, on the step's times."""
    earlier = time.time_ns() // 1_000_000 - 3_333
    body = 'a{t="x,y}"} 1\nno sample here\nb{le="+Inf"} +Inf\n' + f"c 3 {earlier}\n"
    assert client.post("/prom/metrics/job/j/app/s/step/10", content=body).status_code == 202
    found = data(client, "query", query='{app="s"}[1h]')["result"]
    assert sorted(one["metric"]["__name__"] for one in found) == ["a", "b", "c"]
    times = [point[0] for one in found for point in one["values"]]
    assert len(times) == 3 and not any(moment % 10 for moment in times)


def test_defect_23_nothing_is_cut_off(client: TestClient) -> None:
    """20,000 samples are 20,000, and samples of other days are found in one query with today's."""
    samples = [(END - 100 * number, float(number)) for number in range(20_000)]
    write(client, ({"__name__": "many"}, samples))
    assert value(client, "count_over_time(many[1h])") == 20_000
    days = [(END - 86_400_000 * number, float(number)) for number in range(9)]
    write(client, ({"__name__": "daily"}, days))
    assert value(client, "count_over_time(daily[10d])") == 9


def test_defect_23_the_last_of_a_batch_does_not_wait_for_the_next(client: TestClient) -> None:
    """A single sample is there to query once it is acknowledged."""
    line = orjson.dumps({"time": time.time_ns() // 1_000_000, "tags": {}, "lone": {"v": 6}})
    assert client.post("/datas", content=line, headers={"app": "shop"}).status_code == 200
    assert data(client, "query", query="{__name__='lone.v'}")["result"][0]["value"][1] == "6"


def test_defect_24_a_choice_of_values_filters(client: TestClient) -> None:
    """One of several values is asked for by a regular expression, which is matched whole."""
    for name in ("a", "b", "ab"):
        write(client, ({"__name__": "v", "k": name}, [(END, 1.0)]))
    assert set(values(client, 'v{k=~"a|b"}')) == {"a", "b"}
    assert set(values(client, 'v{k!~"a|b"}')) == {"ab"}


@pytest.fixture
def five(client: TestClient) -> TestClient:
    """``v`` is 5, 4, 3, 2, 1 by k; ``w`` -5 to -1 over time; ``info`` names each k."""
    for number in range(5, 0, -1):
        write(client, ({"__name__": "v", "k": str(number)}, [(END, float(number))]))
        write(client, ({"__name__": "info", "k": str(number), "n": "x"}, [(END, 1.0)]))
    write(client, ({"__name__": "w"}, list(zip(TIMES, (-5, -4, -3, -2, -1), strict=True))))
    return client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("10 - v", {"1": 9, "2": 8, "3": 7, "4": 6, "5": 5}),
        ("3 > v", {"1": 1, "2": 2}),
        ("v ^ 2", {"1": 1, "2": 4, "3": 9, "4": 16, "5": 25}),
        ("v * 0.1", {"1": 0.1, "2": 0.2, "3": 3 * 0.1, "4": 0.4, "5": 0.5}),
        ("max_over_time(w[5m])", {"": -1}),
        ("stddev(v)", {"": 2**0.5}),
        ("stdvar(v)", {"": 2}),
        ("quantile(0.5, v)", {"": 3}),
        ("count(count_values('n', v))", {"": 5}),
        ("bottomk(2, v)", {"1": 1, "2": 2}),
        ("topk(2, v)", {"5": 5, "4": 4}),
        ("v * on (k) group_left (n) info", {str(n): n for n in range(1, 6)}),
        ("info * on (k) group_right () v", {str(n): n for n in range(1, 6)}),
        ("v{k='3'}", {"3": 3}),
        ("abs(w)", {"": 1}),
        ("absent(nothing)", {"": 1}),
        ("label_replace(w, 'k', 'z', '', '')", {"z": -1}),
    ],
)
def test_defect_25_operators_and_functions(
    five: TestClient, query: str, expected: dict[str, float]
) -> None:
    """Each of what SOFALookout's engine gets wrong or has not."""
    assert values(five, query) == expected


def test_defect_25_a_scalar_has_a_point_for_each_step(client: TestClient) -> None:
    """A range query of a constant is a whole line, and gaps are bridged by the lookback."""
    found = data(client, "query_range", query="1", start=0, end=60, step=15)["result"]
    assert len(found[0]["values"]) == 5
    gauge(client, 1, 2, 3, 4, 5)
    steps: dict[str, Any] = {"start": TIMES[0] / 1000, "end": END / 1000, "step": 5}
    assert (
        len(data(client, "query_range", query="test_metric", **steps)["result"][0]["values"]) == 43
    )


def test_defect_27_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    """Never acknowledged and thrown away: the client is told, and what is taken stays in order."""
    answer = client.post("/datas", content=b"x" * (64 << 20), headers={"app": "shop"})
    assert answer.status_code == 413
