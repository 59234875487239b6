"""The same spans and the same questions to a real Zipkin server and to us: equal answers."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lookout_server.config import load
from lookout_server.store.embedded import EmbeddedStore

from .collector import PlainCollector
from .test_search import END_MS, queries, shop

_BESIDE = Path(__file__).parents[3] / ".parts" / "zipkin"
PARTS = Path(os.environ.get("LOOKOUT_ZIPKIN_PARTS", _BESIDE))
JAR = next(PARTS.glob("zipkin-server-*-exec.jar"), None)

pytestmark = [
    pytest.mark.skipif(
        JAR is None, reason=f"no Zipkin server in {PARTS}: run scripts/parts-zipkin"
    ),
    pytest.mark.skipif(shutil.which("java") is None, reason="Zipkin's server needs java"),
]


@pytest.fixture(scope="module")
def zipkin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Zipkin server with storage in memory."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"QUERY_PORT": str(port), "COLLECTOR_GRPC_ENABLED": "false"}
    env |= {"AUTOCOMPLETE_KEYS": "k"}
    with (tmp_path_factory.mktemp("zipkin") / "log").open("wb") as log:
        command = ["java", "-Xmx256m", "-jar", str(JAR)]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _await(f"{url}/health", process)
        yield url
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


@pytest.fixture
async def both(zipkin: str, store: EmbeddedStore, tenant: str) -> AsyncIterator[Any]:
    """Asks both servers the same."""
    config = load(autocomplete_keys=["k"])
    transport = httpx.ASGITransport(PlainCollector(store, config).app())
    headers = {"X-Scope-OrgID": tenant}
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://ours", headers=headers) as ours,
        httpx.AsyncClient(base_url=zipkin) as theirs,
    ):
        yield ours, theirs


def canonical(answer: httpx.Response) -> Any:
    """Status and content, traces and spans in an order of their own."""
    if answer.status_code != 200:
        return answer.status_code, answer.text
    value = answer.json()
    if value and isinstance(value[0], list):
        value = [sorted(json.dumps(span, sort_keys=True) for span in trace) for trace in value]
    return answer.status_code, sorted(json.dumps(item, sort_keys=True) for item in value)


async def test_answers_are_equal(both: Any) -> None:
    """Random spans with all oddities, random searches, names, traces and links: no difference."""
    theirs = both[1]
    chance = random.Random(5)
    spans = shop(chance)
    for span in chance.sample(spans, len(spans) // 3):
        span["kind"] = chance.choice(["CLIENT", "SERVER", "PRODUCER", "CONSUMER"])
        span["shared"] = chance.random() < 0.3
    for server in both:
        answer = await server.post("/api/v2/spans", json=spans)
        assert answer.status_code == 202
    await _settled(theirs, spans)
    asked = [f"traces?{httpx.QueryParams(q | {'limit': 1000})}" for q in queries(chance, 60)]
    asked += [f"trace/{number * 7919:x}" for number in range(1, 40)]
    asked += [f"dependencies?endTs={END_MS - n * 977_777}&lookback=7200000" for n in range(7)]
    asked += ["services", "autocompleteKeys", "autocompleteValues?key=k", "traces", "nonsense"]
    asked += [f"{what}?serviceName={s}" for what in ("spans", "remoteServices") for s in "abcdE"]
    asked += ["spans", "traces?limit=x", "traceMany?traceIds=1", "trace/x", "dependencies"]
    for path in asked:
        answers = [canonical(await server.get(f"/api/v2/{path}")) for server in both]
        if answers[1][0] == 404 and path == "nonsense":
            assert answers[0][0] == 404
            continue
        assert answers[0] == answers[1], path


async def _settled(theirs: httpx.AsyncClient, spans: list[dict[str, Any]]) -> None:
    """Zipkin stores after it answered: wait for the last trace."""
    deadline = time.monotonic() + 20
    last = spans[-1]["traceId"]
    while time.monotonic() < deadline:
        if (await theirs.get(f"/api/v2/trace/{last}")).status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError("the Zipkin server did not store the spans")
