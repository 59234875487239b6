"""Whatever is sent, the collector answers with the client's error, never with its own."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from .serving import Serve, Serving
from .test_serve import span

pytestmark = pytest.mark.slow

POSTED = [
    "/api/v2/spans",
    "/api/v1/spans",
    "/v1/traces",
    "/v1/metrics",
    "/api/traces",
    "/api/v1/write",
    "/datas",
    "/lookout/metrics/x",
    "/prom/metrics/job/x",
    "/opentsdb/api/put",
    "/beat/_bulk",
    "/metrics/job/x",
    "/api/v1/read",
    "/api/v1/query",
]
READ = [
    "/api/v2/spans",
    "/api/v2/remoteServices",
    "/api/v2/traces",
    "/api/v2/trace/{}",
    "/api/v2/traceMany",
    "/api/v2/dependencies",
    "/api/v2/autocompleteValues",
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/series",
    "/api/v1/labels",
    "/api/v1/label/{}/values",
    "/api/v1/metadata",
    "/api/v1/query_exemplars",
    "/api/v1/format_query",
    "/api/v1/parse_query",
    "/federate",
    "/api/v1/lookout/ledger",
    "/nowhere/{}",
]
TYPES = ["application/json", "application/x-protobuf", "application/x-thrift", "text/plain", "x"]
ENCODINGS = ["identity", "gzip", "deflate", "snappy", "zstd", "br"]
NAMES = ["serviceName", "spanName", "annotationQuery", "minDuration", "limit", "endTs", "lookback"]
NAMES += ["traceIds", "key", "query", "time", "start", "end", "step", "match[]", "timeout"]
WORDS = ["", "0", "-1", "1e309", "9" * 30, "nan", "a=b and c", "up", "rate(up[5m])", "{", "1;2"]
WORDS += ["2026-11-21T00:00:00Z", "'; DROP TABLE spans --", "\x00", "é", "{__name__=~'.*'}"]

SEEDS = [
    span(),
    b"[]",
    b"{}",
    b"null",
    b'[{"traceId":1,"id":[],"tags":{"a":null}}]',
    b"\x0a\x02\x08\x01",
    b"\x0c\x00\x00\x00\x01",
    b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}',
    b"sys.cpu 1 2 a=b",
    b"# TYPE a counter\na 1\n",
    json.dumps({"metric": "m", "timestamp": 1, "value": "x", "tags": {}}).encode(),
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bytes near to what some protocol takes: a seed with a piece replaced."""
    seed = draw(st.sampled_from(SEEDS))
    start = draw(st.integers(0, len(seed)))
    end = draw(st.integers(start, min(len(seed), start + 10)))
    return seed[:start] + draw(st.binary(max_size=10)) + seed[end:]


ARGUMENTS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(WORDS) | st.text(max_size=8)), max_size=4
)
FUZZ = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def serving(serve: Serve) -> Iterator[Serving]:
    """A collector that has to be alive, and to have logged nothing, at the end."""
    running = serve("--retention", "0")
    yield running
    assert running.request("/-/ready")[0] == 200
    assert running.terminate() == 0
    assert "Traceback" not in "".join(running.lines)


def test_any_body(serving: Serving) -> None:
    """Every ingest path: accepted or refused as the client's error, by 4xx."""

    @FUZZ
    @example("/api/v2/spans", b'[{"traceId":"1","id":"\xe23"}]', "application/json", "identity")
    @given(st.sampled_from(POSTED), bodies(), st.sampled_from(TYPES), st.sampled_from(ENCODINGS))
    def post(path: str, body: bytes, kind: str, encoding: str) -> None:
        headers = {"Content-Type": kind, "Content-Encoding": encoding}
        status, _, text = serving.request(path, body, headers)
        assert status < 500, (path, body, kind, encoding, text)

    post()


def test_any_query(serving: Serving) -> None:
    """Every query path with any arguments: an answer or the client's error."""

    @FUZZ
    @given(st.sampled_from(READ), ARGUMENTS, st.text(max_size=6))
    def get(path: str, arguments: list[tuple[str, str]], part: str) -> None:
        query = urllib.parse.urlencode(arguments, errors="replace")
        place = path.format(urllib.parse.quote(part, safe="", errors="replace"))
        status, _, text = serving.request(f"{place}?{query}")
        assert status < 500, (place, query, text)

    get()
