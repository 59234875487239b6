"""The same spans and the same questions to a real Zipkin server and to us: equal answers.

LOOKOUT_ZIPKIN_EXAMPLES sets how many examples there are, of some ten questions each;
LOOKOUT_ZIPKIN_SHRINK has a smaller example looked for where one fails, which takes minutes.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lookout_server.config import load
from lookout_server.store.embedded import EmbeddedStore

from .collector import PlainCollector
from .questions import Slot, batches, questions

_BESIDE = Path(__file__).parents[3] / ".parts" / "zipkin"
PARTS = Path(os.environ.get("LOOKOUT_ZIPKIN_PARTS", _BESIDE))
JAR = next(PARTS.glob("zipkin-server-*-exec.jar"), None)
EXAMPLES = int(os.environ.get("LOOKOUT_ZIPKIN_EXAMPLES", "12"))
_SLOTS = itertools.count()

pytestmark = [
    pytest.mark.skipif(
        JAR is None, reason=f"no Zipkin server in {PARTS}: run scripts/parts-zipkin"
    ),
    pytest.mark.skipif(shutil.which("java") is None, reason="Zipkin's server needs java"),
]


@pytest.fixture(scope="module", params=[True, False], ids=["strict", "lenient"])
def strict(request: pytest.FixtureRequest) -> bool:
    """Whether a 64-bit and a 128-bit trace id with the same low bits are different traces."""
    return bool(request.param)


@pytest.fixture(scope="module")
def theirs(strict: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Zipkin server with storage in memory."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"QUERY_PORT": str(port), "COLLECTOR_GRPC_ENABLED": "false"}
    env |= {"AUTOCOMPLETE_KEYS": "k", "STRICT_TRACE_ID": str(strict).lower()}
    with (tmp_path_factory.mktemp("zipkin") / "log").open("wb") as log:
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-jar", str(JAR)]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _await(f"{url}/health", process)
        with httpx.Client(base_url=url) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("the Zipkin server did not start")


@pytest.fixture(scope="module")
def ours(strict: bool, store: EmbeddedStore) -> Iterator[TestClient]:
    """The span endpoints of a collector."""
    config = load(autocomplete_keys=["k"], strict_trace_id=strict)
    headers = {"X-Scope-OrgID": f"beside-zipkin-{strict}"}
    with TestClient(PlainCollector(store, config).app(), headers=headers) as client:
        yield client


@given(data=st.data())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    # An example takes a quarter of a second: to find smaller ones takes minutes.
    phases=[Phase.generate, *([Phase.shrink] if os.environ.get("LOOKOUT_ZIPKIN_SHRINK") else [])],
)
def test_answers_are_equal(
    ours: TestClient, theirs: httpx.Client, strict: bool, data: st.DataObject
) -> None:
    """Random spans with all oddities, random questions of every endpoint: no difference."""
    slot = Slot(next(_SLOTS))
    sent = data.draw(batches(slot), "messages")
    for body in sent:
        for server in (ours, theirs):
            assert server.post("/api/v2/spans", json=body).status_code == 202
    spans = [span for body in sent for span in body]
    _settled(theirs, spans)
    for path in data.draw(st.lists(questions(slot, spans), min_size=8, max_size=16), "questions"):
        compare(ours, theirs, path, strict)


def compare(ours: TestClient, theirs: httpx.Client, path: str, strict: bool) -> None:
    """Ask both. AssertionError where the answers differ otherwise than was decided."""
    answers = [_asked(server, path) for server in (ours, theirs)]
    if path.startswith("traces?") and {status for status, _ in answers} == {200}:
        if answers[0] != answers[1]:
            _equal_but_for_order(ours, theirs, path)
        return
    if path.startswith("traceMany") and not strict:
        answers = [_without_empty(answer) for answer in answers]  # decided: see docs/zipkin.md
    assert answers[0] == answers[1], f"{path}: {_differences(*answers)}"


@pytest.mark.parametrize(
    "path",
    [
        "services", "spans", "remoteServices", "traceMany", "autocompleteValues", "dependencies",
        "autocompleteKeys", "autocompleteValues?key=", "autocompleteValues?key=nope",
        "spans?serviceName=", "remoteServices?serviceName=", "traces?limit=x", "traces?endTs=",
        "traces?lookback=-1", "traces?endTs=-1", "traces?minDuration=1.5", "traces?limit=0",
        "traces?limit=9999999999", "traces?endTs=99999999999999999999", "traces?maxDuration=1",
        "traces?minDuration=2&maxDuration=1", "traces?annotationQuery=%3D", "trace/x", "trace/0",
        "trace/00000000000000000000000000000000", "trace/" + "1" * 33, "trace/ABC", "trace/0x1",
        "trace/-1", "trace/fffffffffffffff1", "traceMany?traceIds=", "traceMany?traceIds=1",
        "traceMany?traceIds=-1", "traceMany?traceIds=1,1", "traceMany?traceIds=1,0000000000000001",
        "traceMany?traceIds=1,x", "traceMany?traceIds=,", "traceMany?traceIds=1,,2",
        "dependencies?endTs=", "dependencies?endTs=0", "dependencies?endTs=-1",
        "dependencies?endTs=1&lookback=0", "dependencies?endTs=1&lookback=x",
        "dependencies?endTs=x", "dependencies?lookback=1",
        "dependencies?endTs=1600000000000&lookback=",
        "traces?limit=", "traces?minDuration=", "traces?lookback=", "traces?limit=%2B1",
        "traces?limit=+1", "traces?limit=\uff11", "traces?limit=1_0", "dependencies?endTs=%20",
    ],
)  # fmt: skip
def test_errors_and_edges_are_equal(
    ours: TestClient, theirs: httpx.Client, strict: bool, path: str
) -> None:
    """What is missing, malformed or out of range is answered in Zipkin's words."""
    assert _asked(ours, path) == _asked(theirs, path)


def _asked(server: Any, path: str) -> Any:
    """Status and content, traces and spans in an order of their own."""
    answer = server.get(f"/api/v2/{path}")
    if answer.status_code != 200:
        return answer.status_code, answer.text
    value = answer.json()
    if value and isinstance(value[0], list):
        value = [sorted({json.dumps(span, sort_keys=True) for span in trace}) for trace in value]
    if path.startswith("trace/"):
        # Zipkin keeps a span that is sent again in the same words once, mostly.
        return answer.status_code, sorted({json.dumps(item, sort_keys=True) for item in value})
    return answer.status_code, sorted(json.dumps(item, sort_keys=True) for item in value)


def _differences(own: Any, their: Any) -> str:
    if own[0] != 200 or their[0] != 200:
        return f"{own} and {their}"
    mine, others = set(own[1]), set(their[1])
    return f"only here {sorted(mine - others)}, only Zipkin {sorted(others - mine)}"


def _without_empty(answer: Any) -> Any:
    status, found = answer
    return status, [item for item in found if item != "[]"] if status == 200 else found


def _equal_but_for_order(ours: TestClient, theirs: httpx.Client, path: str) -> None:
    """A limited search may take others of the traces that match; without limit they are equal."""
    (status, some), (their_status, their_some) = _asked(ours, path), _asked(theirs, path)
    limit = int(httpx.QueryParams(path.partition("?")[2])["limit"])
    whole = str(httpx.QueryParams(path.partition("?")[2]).set("limit", 1000))
    everything, their_everything = (_asked(server, f"traces?{whole}") for server in (ours, theirs))
    assert everything == their_everything, f"{path}: {_differences(everything, their_everything)}"
    # Where Zipkin's limit cuts, it takes traces that share their low bits for one.
    assert (status, len(some)) == (their_status, min(limit, len(their_some))), path
    assert len(some) == limit and set(some) <= set(everything[1]), path


def _settled(theirs: httpx.Client, spans: list[dict[str, Any]]) -> None:
    """Zipkin stores after it answered: wait until it has every span."""
    wanted = {(span["traceId"], span["id"].zfill(16)) for span in spans}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = set()
        for trace_id in {trace_id for trace_id, _ in wanted}:
            answer = theirs.get(f"/api/v2/trace/{trace_id}")
            if answer.status_code == 200:
                found |= {(span["traceId"], span["id"]) for span in answer.json()}
        if wanted <= found:
            return
        time.sleep(0.02)
    raise AssertionError("the Zipkin server did not store the spans")
