"""``/federate`` gives the newest samples as text."""

from __future__ import annotations

import time

from google.protobuf.internal.decoder import _DecodeVarint32
from starlette.testclient import TestClient

from lookout_server.ingest.remote_write_messages import MetricFamily
from lookout_server.query.prometheus.histogram import Histogram, from_spans

from .test_api import write


def test_federation(client: TestClient) -> None:
    """Series come sorted by name, with an instance, value and time."""
    now = int(time.time() * 1000)
    write(
        client,
        ({"__name__": "b", "job": "x", "text": 'q"\\'}, [(now - 1000, 1.0), (now, 2.5)]),
        ({"__name__": "a", "job": "x", "instance": "i"}, [(now, 1.0)]),
        ({"__name__": "old", "job": "x"}, [(now - 400_000, 1.0)]),
    )
    answer = client.get("/federate", params={"match[]": '{job="x"}'})
    assert answer.text == (
        f'# TYPE a untyped\na{{instance="i",job="x"}} 1 {now}\n'
        f'# TYPE b untyped\nb{{instance="",job="x",text="q\\"\\\\"}} 2.5 {now}\n'
    )


def test_bad_selector(client: TestClient) -> None:
    """Errors are plain text."""
    answer = client.get("/federate", params={"match[]": "{"})
    assert answer.status_code == 400
    assert answer.text == "1:2: parse error: unexpected end of input inside braces\n"
    assert answer.headers["content-type"].startswith("text/plain")


def test_everything_may_be_asked_for(client: TestClient) -> None:
    """A selector without matchers federates all series."""
    write(client, ({"__name__": "a"}, [(int(time.time() * 1000), 1.0)]))
    answer = client.get("/federate", params={"match[]": "{}"})
    assert answer.status_code == 200
    assert answer.text.startswith("# TYPE a untyped\na{")


def test_protobuf_carries_native_histograms(client: TestClient) -> None:
    """Whoever accepts protobuf gets families as client libraries write them, histograms too."""
    now = int(time.time() * 1000)
    histogram = Histogram(1, 7.0, 12.5, 0.001, 1.0, from_spans([(0, 2), (3, 1)], [1.0, 2.0, 3.0]))
    write(
        client,
        ({"__name__": "gauge", "job": "x"}, [(now, 2.5)]),
        ({"__name__": "latency", "job": "x"}, [(now, histogram)]),
    )
    accepted = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.7"
    answer = client.get("/federate", params={"match[]": '{job="x"}'}, headers={"Accept": accepted})
    assert answer.headers["content-type"].startswith("application/vnd.google.protobuf")
    gauge, latency = delimited(answer.content)
    assert (gauge.name, gauge.type, gauge.metric[0].untyped.value) == ("gauge", 3, 2.5)
    assert gauge.metric[0].timestamp_ms == now
    labels = {pair.name: pair.value for pair in gauge.metric[0].label}
    assert labels == {"instance": "", "job": "x"}
    found = latency.metric[0].histogram
    assert (latency.type, found.schema, found.sample_count_float) == (4, 1, 7.0)
    assert [(span.offset, span.length) for span in found.positive_span] == [(0, 2), (3, 1)]
    assert list(found.positive_count) == [1.0, 2.0, 3.0]


def delimited(body: bytes) -> list[MetricFamily]:
    """The messages of a body, each behind its length."""
    found, at = [], 0
    while at < len(body):
        length, at = _DecodeVarint32(body, at)
        found.append(MetricFamily.FromString(body[at : at + length]))
        at += length
    return found
