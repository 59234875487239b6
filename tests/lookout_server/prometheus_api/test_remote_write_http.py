"""The remote-write endpoint answers with Prometheus' statuses, texts and headers."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from ..metrics.test_remote_write import version_2
from .remote import HEADERS, compressed, write_request
from .test_api import NOW, data

V2 = {**HEADERS, "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({"Content-Type": "application/json"}, 415, "expected application/x-protobuf as the first"),
        ({"Content-Type": "application/x-protobuf;proto"}, 415, "to be key-values, got proto"),
        ({"Content-Type": "application/x-protobuf;proto=x.Y"}, 415, "x.Y"),
        ({"Content-Encoding": "gzip"}, 415, "only snappy is acceptable"),
        ({"Content-Encoding": "SNAPPY"}, 204, ""),
        ({}, 204, ""),
    ],
)
def test_headers(client: TestClient, headers: dict[str, str], status: int, text: str) -> None:
    """Other media types, messages and compressions are refused; absent ones mean the usual."""
    body = write_request([({"__name__": "m"}, [(NOW, 1.0)])])
    answer = client.post("/api/v1/write", content=body, headers=headers)
    assert answer.status_code == status
    assert text in answer.text


def test_only_post(client: TestClient) -> None:
    assert client.get("/api/v1/write").status_code == 405


def test_corrupt_bodies(client: TestClient) -> None:
    """What is no snappy, or no protobuf in it, gets 400."""
    assert client.post("/api/v1/write", content=b"\x00x", headers=HEADERS).status_code == 400
    garbage = b"\x04\x0c\xff\xff\xff\xff"
    assert client.post("/api/v1/write", content=garbage, headers=HEADERS).status_code == 400


def test_partial_write(client: TestClient) -> None:
    """What can never be taken gets 400, and the rest is there."""
    late = NOW + 10**12
    body = write_request([({"__name__": "late"}, [(late, 1.0)]), ({"__name__": "m"}, [(NOW, 1.0)])])
    answer = client.post("/api/v1/write", content=body, headers=HEADERS)
    assert (answer.status_code, "out of bounds" in answer.text) == (400, True)
    assert data(client, "label/__name__/values") == ["m"]


def test_version_2_counts(client: TestClient) -> None:
    """Version 2 tells how much was written, also when some was not."""
    request = version_2()
    answer = client.post("/api/v1/write", content=compressed(request), headers=V2)
    assert answer.status_code == 204
    written = "x-prometheus-remote-write-{}-written"
    assert answer.headers[written.format("samples")] == "2"
    assert answer.headers[written.format("exemplars")] == "1"
    nameless = request.timeseries.add()
    nameless.labels_refs.extend([3, 4])
    nameless.samples.add(timestamp=NOW, value=1.0)
    answer = client.post("/api/v1/write", content=compressed(request), headers=V2)
    assert answer.status_code == 400
    assert "invalid metric name or labels" in answer.text
    assert answer.headers[written.format("samples")] == "2"


def test_exemplars_and_metadata(client: TestClient) -> None:
    """Exemplars and metadata are answered by their endpoints."""
    client.post("/api/v1/write", content=compressed(version_2()), headers=V2)
    assert data(client, "metadata") == {"m": [{"type": "gauge", "help": "Help.", "unit": ""}]}
    assert data(client, "query_exemplars", query='rate(m{job="x"}[5m])') == [
        {
            "seriesLabels": {"__name__": "m", "job": "x"},
            "exemplars": [{"labels": {"trace_id": "t"}, "value": "1", "timestamp": NOW // 1000}],
        }
    ]
