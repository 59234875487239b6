"""``explain=1`` says what a query did instead of what it found."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from lookout_server.query.prometheus.histogram import Histogram
from lookout_server.query.prometheus.source import STALE

from .test_api import NOW, data, write

RANGE = {"query": "sum(m)", "start": NOW / 1000, "end": NOW / 1000 + 60, "step": 15}


@pytest.mark.parametrize(
    ("path", "parameters", "stages"),
    [
        ("query", {"query": "m", "time": NOW / 1000}, ["evaluate", "series index", "render"]),
        ("query_range", RANGE, ["evaluate", "series index", "render"]),
        ("query_exemplars", {"query": "m", "start": 0, "end": NOW / 1000}, ["series index"]),
        ("series", {"match[]": "m"}, ["series index"]),
        ("labels", {}, ["series index"]),
        ("label/job/values", {}, ["series index"]),
        ("metadata", {}, []),
        ("status/tsdb", {}, []),
    ],
)
def test_every_query_is_explained(
    client: TestClient, path: str, parameters: dict[str, object], stages: list[str]
) -> None:
    """SQL, rows and milliseconds of each stage stand in ``data``; ClickHouse's are among them."""
    write(client, ({"__name__": "m", "job": "a"}, [(NOW, 1.0), (NOW + 15_000, 2.0)]))
    found = data(client, path, **parameters, explain=1)
    told = found["stages"]
    names = [stage["stage"] for stage in told]
    assert {"settle", "clickhouse", *stages} == set(names)
    asked = [stage for stage in told if stage["stage"] == "clickhouse"]
    assert all(stage["sql"].startswith("SELECT ") for stage in asked)
    assert found["milliseconds"] >= max(stage["milliseconds"] for stage in told) > 0


def test_rows_are_counted(client: TestClient) -> None:
    """The rows are the series found, the samples read and remembered, the series answered."""
    samples = [(NOW + at * 15_000, 1.0) for at in range(4)]
    write(client, *(({"__name__": "m", "l": text}, samples) for text in "abc"))
    data(client, "query", query="m", time=NOW / 1000)  # the index is read now
    told = data(client, "query", query="m", time=NOW / 1000, explain=0)
    assert "stages" not in told
    told = data(client, "query", query="m[2m]", time=NOW / 1000 + 60, explain=1)["stages"]
    rows = {stage["stage"]: stage["rows"] for stage in told}
    assert (rows["series index"], rows["render"]) == (3, 3)
    assert (rows["memory"], rows["clickhouse"]) == (3, 9)


@pytest.mark.parametrize("later", [2.0, STALE], ids=["float", "stale"])
def test_floats_are_read_where_there_are_any(client: TestClient, later: float) -> None:
    """A metric of native histograms alone asks for no floats; its first float is found at once."""
    write(client, ({"__name__": "h"}, [(NOW, Histogram(count=1, sum=1))]))

    def tables() -> list[str]:
        told = data(client, "query", query="h", time=NOW / 1000 + 15, explain=1)["stages"]
        read = (re.search(r" FROM (samples|histograms) ", stage.get("sql", "")) for stage in told)
        return [one[1] for one in read if one]

    assert tables() == ["histograms"]
    write(client, ({"__name__": "h"}, [(NOW + 15_000, later)]))
    assert tables() == ["samples", "histograms"]
    found = data(client, "query", query="h", time=NOW / 1000 + 15)["result"]
    assert [one["value"][1] for one in found] == ([] if later is STALE else ["2"])


def test_a_form_may_ask(client: TestClient) -> None:
    """``explain`` is read from a form as any other parameter; errors stay errors."""
    answer = client.post("/api/v1/query", data={"query": "vector(1)", "explain": "1"}).json()
    assert [stage["stage"] for stage in answer["data"]["stages"]] == [
        "settle",
        "evaluate",
        "render",
    ]
    answer = client.post("/api/v1/query", data={"query": "(", "explain": "1"})
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
