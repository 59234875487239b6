"""The query API answers as Prometheus does."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from lookout_server.ingest.remote_write_messages import ReadRequest, ReadResponse
from lookout_server.query.prometheus.api_status import features_of_language
from lookout_server.query.prometheus.context import EngineOptions
from lookout_server.query.prometheus.histogram import Histogram, from_spans
from lookout_server.query.prometheus.source import STALE

from .remote import HEADERS, compressed, write_request

NOW = 1_700_000_000_000


def write(client: TestClient, *series: tuple[dict[str, str], list[tuple[int, Any]]]) -> None:
    answer = client.post("/api/v1/write", content=write_request(series), headers=HEADERS)
    assert answer.status_code == 204, answer.text


def data(client: TestClient, path: str, **parameters: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "success"
    return answer.json()["data"]


@pytest.fixture
def loaded(client: TestClient) -> TestClient:
    """Two counters of an API and one gauge of a database, five samples each, 15 s apart."""
    times = [NOW + step * 15_000 for step in range(5)]
    write(
        client,
        (
            {"__name__": "hits_total", "job": "api", "code": "200"},
            [(time, 10.0 * at) for at, time in enumerate(times)],
        ),
        (
            {"__name__": "hits_total", "job": "api", "code": "500"},
            [(time, 1.5 * at) for at, time in enumerate(times)],
        ),
        ({"__name__": "size", "job": "db", "kind": "a b"}, [(time, 7.0) for time in times]),
    )
    return client


def test_instant_query(loaded: TestClient) -> None:
    """An instant query answers the newest sample of each series at the time asked for."""
    found = data(loaded, "query", query='hits_total{code="500"}', time=NOW / 1000 + 60)
    assert found == {
        "resultType": "vector",
        "result": [
            {
                "metric": {"__name__": "hits_total", "code": "500", "job": "api"},
                "value": [1_700_000_060, "6"],
            }
        ],
    }


def test_range_query_by_post(loaded: TestClient) -> None:
    """A range query takes its parameters from a form and leaves out steps without samples."""
    form = {
        "query": "sum(hits_total)",
        "start": f"{NOW / 1000 - 15}",
        "end": f"{NOW / 1000 + 30}",
        "step": "15s",
    }
    answer = loaded.post("/api/v1/query_range", data=form).json()
    assert answer["data"]["result"] == [
        {
            "metric": {},
            "values": [[1_700_000_000, "0"], [1_700_000_015, "11.5"], [1_700_000_030, "23"]],
        }
    ]


def test_times_with_milliseconds(client: TestClient) -> None:
    """Timestamps keep their milliseconds, and only where they have any."""
    write(client, ({"__name__": "x"}, [(1_001, 1.0), (2_000, 2.0)]))
    found = data(client, "query", query="x[10s]", time=5)
    assert found["result"][0]["values"] == [[1.001, "1"], [2, "2"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e21, "1e+21"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e-7, "1e-07"),
        (1.5e-6, "0.0000015"),
        (0.1, "0.1"),
        (-0.0, "-0"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (5e-324, "5e-324"),
        (1e15, "1000000000000000"),
        (123456.789, "123456.789"),
    ],
)
def test_values_as_go_writes_them(client: TestClient, value: float, text: str) -> None:
    """Numbers are written as Go does, in vectors and in matrices."""
    write(client, ({"__name__": "v"}, [(1_000, value)]))
    assert data(client, "query", query="v", time=1)["result"][0]["value"] == [1, text]
    found = data(client, "query_range", query="v", start=1, end=1, step=1)
    assert found["result"][0]["values"] == [[1, text]]


@pytest.mark.parametrize(
    ("path", "parameters", "message"),
    [
        (
            "query",
            {"query": "up{"},
            'invalid parameter "query": 1:4: parse error: unexpected end of input inside braces',
        ),
        (
            "query",
            {"query": "up", "time": "x"},
            "invalid parameter \"time\": Invalid time value for 'time': "
            'cannot parse "x" to a valid timestamp',
        ),
        (
            "query",
            {"query": "up", "timeout": "5 s"},
            'invalid parameter "timeout": cannot parse "5 s" to a valid duration',
        ),
        (
            "query",
            {"query": "up", "limit": "-1"},
            'invalid parameter "limit": limit must be non-negative',
        ),
        (
            "query",
            {"query": "up", "limit": "1.5"},
            'invalid parameter "limit": strconv.Atoi: parsing "1.5": invalid syntax',
        ),
        (
            "query_range",
            {"query": "up", "start": "", "end": "1", "step": "1"},
            'invalid parameter "start": cannot parse "" to a valid timestamp',
        ),
        (
            "query_range",
            {"query": "up", "start": "2", "end": "1", "step": "1"},
            'invalid parameter "end": end timestamp must not be before start time',
        ),
        (
            "query_range",
            {"query": "up", "start": "1", "end": "2", "step": "0"},
            'invalid parameter "step": zero or negative query resolution step widths are not '
            "accepted. Try a positive integer",
        ),
        (
            "query_range",
            {"query": "up", "start": "0", "end": "11001", "step": "1"},
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the "
            "query resolution (?step=XX)",
        ),
        (
            "query_range",
            {"query": "up[5m]", "start": "0", "end": "1", "step": "1"},
            'invalid parameter "query": invalid expression type "range vector" for range query, '
            "must be Scalar or instant Vector",
        ),
        ("series", {}, "no match[] parameter provided"),
        (
            "series",
            {"match[]": '{a=~".*"}'},
            'invalid parameter "match[]": match[] must contain at least one non-empty matcher',
        ),
        (
            "series",
            {"match[]": "a{"},
            'invalid parameter "match[]": 1:3: parse error: unexpected end of input inside braces',
        ),
        ("labels", {"match[]": "{}"}, "match[] must contain at least one non-empty matcher"),
        (
            "label/a/values",
            {"match[]": "{}"},
            "match[] must contain at least one non-empty matcher",
        ),
        ("labels", {"match[]": "a{"}, "1:3: parse error: unexpected end of input inside braces"),
        ("metadata", {"limit": "x"}, "limit must be a number"),
        ("targets/metadata", {"limit": "x"}, "limit must be a number"),
        (
            "targets/metadata",
            {"match_target": "{"},
            'invalid parameter "match_target": 1:2: parse '
            "error: unexpected end of input inside braces",
        ),
    ],
)
def test_bad_parameters(
    client: TestClient, path: str, parameters: dict[str, str], message: str
) -> None:
    """What is wrong with a request is said in Prometheus' words, with status 400."""
    answer = client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == 400
    assert answer.json() == {"status": "error", "errorType": "bad_data", "error": message}


def test_points_at_the_limit(client: TestClient) -> None:
    """11,000 steps after the first are allowed."""
    found = data(client, "query_range", query="1", start=0, end=11_000, step=1)
    assert len(found["result"][0]["values"]) == 11_001


def test_execution_error(loaded: TestClient) -> None:
    """A query whose data do not allow an answer gets 422."""
    answer = loaded.get(
        "/api/v1/query", params={"query": "size * on() hits_total", "time": NOW / 1000}
    )
    assert (answer.status_code, answer.json()["errorType"]) == (422, "execution")


def test_limit_cuts_and_warns(loaded: TestClient) -> None:
    """``limit`` cuts series and says so."""
    answer = loaded.get(
        "/api/v1/query", params={"query": "hits_total", "time": NOW / 1000, "limit": 1}
    ).json()
    assert len(answer["data"]["result"]) == 1
    assert answer["warnings"] == ["results truncated due to limit"]


def test_label_endpoints(loaded: TestClient) -> None:
    """Labels, values and series, also of selected series only."""
    assert data(loaded, "labels") == ["__name__", "code", "job", "kind"]
    assert data(loaded, "labels", **{"match[]": "size"}) == ["__name__", "job", "kind"]
    assert data(loaded, "label/job/values") == ["api", "db"]
    assert data(loaded, "label/job/values", **{"match[]": "hits_total"}) == ["api"]
    assert data(loaded, "label/__name__/values") == ["hits_total", "size"]
    assert data(loaded, "label/nothing/values") == []
    assert data(loaded, "series", **{"match[]": '{job=~"a.+"}'}) == [
        {"__name__": "hits_total", "code": "200", "job": "api"},
        {"__name__": "hits_total", "code": "500", "job": "api"},
    ]
    assert data(loaded, "series", **{"match[]": "size", "end": NOW / 1000 - 90_000}) == []


def test_label_names_of_utf8(client: TestClient) -> None:
    """A label name that is no identifier is asked for in its U__ escaping."""
    write(client, ({"__name__": "m", "a.b_c": "x"}, [(NOW, 1.0)]))
    assert data(client, "label/U__a_2e_b__c/values") == ["x"]


def test_tenants_see_their_own(loaded: TestClient) -> None:
    """Nothing of one tenant shows in any answer to another."""
    loaded.headers["X-Scope-OrgID"] += "-other"
    assert data(loaded, "labels") == []
    assert data(loaded, "query", query="hits_total", time=NOW / 1000)["result"] == []
    assert data(loaded, "series", **{"match[]": '{job!=""}'}) == []


def test_last_accepted_sample_wins(client: TestClient) -> None:
    """Of two samples of one time the one accepted last is the value, merged or not."""
    for value in (1.0, 3.0, 2.0):
        write(client, ({"__name__": "again"}, [(NOW, value)]))
    found = data(client, "query", query="again[1m]", time=NOW / 1000)
    assert found["result"][0]["values"] == [[1_700_000_000, "2"]]
    write(client, ({"__name__": "again"}, [(NOW, 5.0), (NOW, 4.0)]))
    assert data(client, "query", query="again", time=NOW / 1000)["result"][0]["value"][1] == "4"


def test_stale_marker_ends_a_series(client: TestClient) -> None:
    """A staleness marker keeps its bits on its way through the database."""
    write(client, ({"__name__": "gone"}, [(NOW, 1.0), (NOW + 1_000, STALE), (NOW + 2_000, 2.0)]))
    assert data(client, "query", query="gone", time=NOW / 1000 + 1)["result"] == []
    assert data(client, "query", query="count_over_time(gone[1m])", time=NOW / 1000 + 9)["result"][
        0
    ]["value"] == [1_700_000_009, "2"]


def test_native_histogram(client: TestClient) -> None:
    """A native histogram comes back with its populated buckets, in vectors and matrices."""
    histogram = Histogram(
        count=7,
        sum=18.4,
        zero_threshold=0.001,
        zero_count=2,
        positive=from_spans([(0, 3)], [2, 0, 3]),
    )
    write(client, ({"__name__": "h"}, [(NOW, histogram)]))
    expected = {
        "count": "7",
        "sum": "18.4",
        "buckets": [[3, "-0.001", "0.001", "2"], [0, "0.5", "1", "2"], [0, "2", "4", "3"]],
    }
    found = data(client, "query", query="h", time=NOW / 1000)
    assert found["result"][0]["histogram"] == [1_700_000_000, expected]
    found = data(client, "query_range", query="h", start=NOW / 1000, end=NOW / 1000, step=1)
    assert found["result"][0]["histograms"] == [[1_700_000_000, expected]]


def test_stats(loaded: TestClient) -> None:
    """``stats`` tells how many samples were read and how long it took."""
    stats = data(loaded, "query", query="hits_total", time=NOW / 1000 + 60, stats="all")["stats"]
    assert stats["samples"]["totalQueryableSamples"] == 2
    assert stats["timings"]["evalTotalTime"] > 0


@pytest.mark.parametrize("value", ["", "true", "all", 'an "odd" one'])
@pytest.mark.parametrize("path", ["query", "query_range"])
def test_other_values_of_stats_are_warned_of(client: TestClient, path: str, value: str) -> None:
    """As Prometheus 3.14 does: they still count as ``true``, in the words of its warning."""
    window = {"start": 0, "end": 1, "step": 1} if path == "query_range" else {}
    parameters = {"query": "1", "stats": value, **window}
    answer = client.get(f"/api/v1/{path}", params=parameters).json()
    assert ("stats" in answer["data"]) is bool(value)
    warning = (
        'value "an \\"odd\\" one" for parameter "stats" is deprecated and will be rejected in the '
        'next major release, use "true" or "all"'
    )
    assert answer.get("warnings", []) == ([warning] if "odd" in value else [])


def test_gzip(loaded: TestClient) -> None:
    """Long answers are compressed for those who take that."""
    parameters = {"query": "1", "start": 0, "end": 1000, "step": 1}
    with loaded.stream(
        "GET", "/api/v1/query_range", params=parameters, headers={"Accept-Encoding": "gzip"}
    ) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(raw))["data"]["result"][0]["values"]) == 1001


def test_format_and_parse(client: TestClient) -> None:
    """The parser's endpoints answer text and tree."""
    assert data(client, "format_query", query="sum(rate(x[5m]))by(a)") == "sum by (a) (rate(x[5m]))"
    assert data(client, "parse_query", query="1")["type"] == "numberLiteral"


def test_remote_read(loaded: TestClient) -> None:
    """Another Prometheus reads back the samples that were written."""
    request = ReadRequest()
    query = request.queries.add(start_timestamp_ms=NOW, end_timestamp_ms=NOW + 15_000)
    query.matchers.add(type=0, name="__name__", value="hits_total")
    query.matchers.add(type=2, name="code", value="5..")
    answer = loaded.post("/api/v1/read", content=compressed(request), headers=HEADERS)
    assert answer.headers["content-encoding"] == "snappy"
    from lookout_server.ingest.remote_write import decompress

    series = ReadResponse.FromString(decompress(answer.content)).results[0].timeseries
    first = series[0].labels[0]
    assert (first.name, first.value) == ("__name__", "hits_total")
    assert [(s.timestamp, s.value) for s in series[0].samples] == [(NOW, 0.0), (NOW + 15_000, 1.5)]


def test_admin_api(loaded: TestClient) -> None:
    """Deleting a series removes its samples and its labels, and it can be written again."""
    everything = {"match[]": 'hits_total{code="500"}'}
    assert loaded.post("/api/v1/admin/tsdb/delete_series", params=everything).status_code == 204
    assert data(loaded, "label/code/values") == ["200"]
    write(loaded, ({"__name__": "hits_total", "job": "api", "code": "500"}, [(NOW, 1.0)]))
    assert data(loaded, "label/code/values") == ["200", "500"]


def test_status_and_lists(client: TestClient) -> None:
    """Grafana's requests on adding the data source succeed."""
    assert "features" not in data(client, "status/buildinfo")
    answer = client.post("/api/v1/query", data={"query": "1+1", "time": "4"})
    assert answer.json()["data"] == {"resultType": "scalar", "result": [4, "2"]}
    assert data(client, "rules") == {"groups": []}
    assert data(client, "alerts") == {"alerts": []}
    assert data(client, "targets")["activeTargets"] == []
    for name in ("config", "flags", "runtimeinfo", "tsdb", "tsdb/blocks", "walreplay"):
        assert data(client, f"status/{name}")


def test_features_say_what_may_be_asked(client: TestClient) -> None:
    """What is listed as there can be used; the collector of these tests allows everything."""
    found = data(client, "features")
    assert found["api"]["admin"] is True
    assert found["promql_functions"]["rate"] and found["promql_functions"]["info"]
    assert found["promql"]["fill"] and found["promql"]["at_modifier"]
    assert found["promql_operators"]["limitk"] and found["promql_operators"]["atan2"]
    stock = features_of_language(EngineOptions())
    assert stock["promql_functions"]["rate"] and not stock["promql_functions"]["info"]
    assert not stock["promql"]["fill"] and not stock["promql_operators"]["limitk"]
    assert len(stock["promql_functions"]) == len(found["promql_functions"]) == 90
    assert stock["sofalookout_functions"]["zhistogram_quantile"]


@pytest.mark.parametrize("path", ["/-/reload", "/-/quit"])
def test_nobody_ends_it_over_http(client: TestClient, path: str) -> None:
    """The life cycle is refused as by a Prometheus that was not told to allow it."""
    answer = client.post(path)
    assert (answer.status_code, answer.text) == (403, "Lifecycle API is not enabled.")
