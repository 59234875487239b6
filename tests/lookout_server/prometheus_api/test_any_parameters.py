"""Whatever is asked, the API answers: never a 500, always its envelope."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from .test_api import NOW, write

QUERIES = st.one_of(
    st.sampled_from(
        [
            "up",
            "rate(hits[5m])",
            "sum by (a) (hits)",
            "hits[5m:1s]",
            "1",
            '"text"',
            "hits @ 1e300",
            "hits offset 100000y",
            "topk(1e30, hits)",
            "quantile_over_time(2, hits[1y])",
            'label_replace(hits, "a", "$1", "b", "(")',
            "count_values('x', hits)",
            "histogram_quantile(0.9, hits)",
            "hits ^ hits % 0",
            "absent(nothing)",
        ]
    ),
    st.text(alphabet="ab(){}[]=~!\"'5m.+-*/ \\,éx0", max_size=30),
)
TIMES = st.one_of(
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "1e300",
            "NaN",
            "Inf",
            "-292273086-05-16T16:47:06Z",
            "+292277025-08-18T07:12:54.999999999Z",
            "2023-11-14T22:13:20Z",
            "9999-12-31T23:59:59Z",
            "0x10",
            "1_000",
            str(NOW / 1000),
        ]
    ),
    st.text(max_size=8),
    st.floats().map(str),
)
DURATIONS = st.one_of(st.sampled_from(["15s", "0", "-5", "1e300", "1y", ""]), st.text(max_size=6))
LIMITS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "99999999999999999999"]), st.text(max_size=4)
)
SELECTORS = st.lists(QUERIES, max_size=2)

PARAMETERS = {
    "query": {"query": QUERIES, "time": TIMES, "timeout": DURATIONS, "limit": LIMITS},
    "query_range": {"query": QUERIES, "start": TIMES, "end": TIMES, "step": DURATIONS},
    "query_exemplars": {"query": QUERIES, "start": TIMES, "end": TIMES},
    "series": {"match[]": SELECTORS, "start": TIMES, "end": TIMES, "limit": LIMITS},
    "labels": {"match[]": SELECTORS, "start": TIMES, "end": TIMES, "limit": LIMITS},
    "label/a/values": {"match[]": SELECTORS, "start": TIMES, "limit": LIMITS},
    "metadata": {"metric": st.text(max_size=5), "limit": LIMITS, "limit_per_metric": LIMITS},
    "format_query": {"query": QUERIES},
    "parse_query": {"query": QUERIES},
    "status/tsdb": {"limit": LIMITS},
}


@pytest.fixture(scope="module")
def hit_client(shared_client: TestClient) -> TestClient:
    shared_client.headers["X-Scope-OrgID"] = "any-parameters"
    write(shared_client, ({"__name__": "hits", "a": "b"}, [(NOW, 1.0), (NOW + 15_000, 2.0)]))
    return shared_client


@pytest.mark.parametrize("path", PARAMETERS)
def test_never_a_server_error(hit_client: TestClient, path: str) -> None:
    """Random parameters get an answer or an error of the client's, as JSON."""

    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(st.fixed_dictionaries({}, optional=PARAMETERS[path]))
    def ask(parameters: dict[str, str | list[str]]) -> None:
        answer = hit_client.get(f"/api/v1/{path}", params=parameters)
        timed_out = answer.status_code == 503 and answer.json()["errorType"] == "timeout"
        assert timed_out or answer.status_code in (200, 400, 422), (parameters, answer.text)
        assert answer.json()["status"] == ("success" if answer.status_code == 200 else "error")

    ask()
