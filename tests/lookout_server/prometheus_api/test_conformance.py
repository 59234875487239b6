"""Prometheus' own test scripts through the HTTP API: remote write in, query out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lookout_server.ingest.remote_write_messages import WriteRequest
from lookout_server.query.prometheus.source import MemorySource

from ..promql import scripts
from .remote import HEADERS, add_sample, compressed

_RUNS = itertools.count(1)

if not scripts.files():
    pytest.skip(
        f"no test scripts at {scripts.DIRECTORY}; set LOOKOUT_CONFORMANCE", allow_module_level=True
    )

TOOLS = scripts.tools()


def body_of(source: MemorySource) -> bytes:
    """Everything of a source as one remote-write request."""
    request = WriteRequest()
    for series in source._series:
        message = request.timeseries.add()
        for name, value in series.labels:
            message.labels.add(name=name, value=value)
        for at, time in enumerate(series.timestamps.tolist()):
            histogram = None if series.histograms is None else series.histograms[at]
            start = 0 if series.start_timestamps is None else int(series.start_timestamps[at])
            value = float(series.values[at]) if histogram is None else histogram
            add_sample(message, time, value, start)
    return compressed(request)


def ask(client: TestClient, case: Any) -> str | None:
    """What the judge finds wrong with the answer to a case, or None."""
    if case.kind == "instant":
        path, form = "/api/v1/query", {"time": case.start_ms}
    else:
        path = "/api/v1/query_range"
        form = {"start": case.start_ms, "end": case.end_ms, "step": case.step_ms}
    text = {name: f"{millis / 1000:.3f}" for name, millis in form.items()}
    answer = client.post(path, data={**text, "query": case.expr})
    reason: str | None = TOOLS.check_api(case, answer.status_code, answer.json())
    return reason


@pytest.mark.parametrize("path", scripts.files(), ids=lambda path: path.stem)
def test_script(shared_client: TestClient, path: Path) -> None:
    """Every case of a script, annotations and native histograms included, passes over HTTP."""
    failures, loaded = [], None
    for case in TOOLS.cases(str(path)):
        block = [load.line for load in case.loads]
        if block != loaded:
            loaded = block
            shared_client.headers["X-Scope-OrgID"] = f"script-{next(_RUNS)}"
            body = body_of(scripts.source_of(case.loads))
            answer = shared_client.post("/api/v1/write", content=body, headers=HEADERS)
            assert answer.status_code == 204, answer.text
        reason = ask(shared_client, case.eval)
        if reason:
            failures.append(f"{path.name}:{case.eval.line} {case.eval.expr}: {reason}")
    assert not failures, "\n".join(failures[:20])
