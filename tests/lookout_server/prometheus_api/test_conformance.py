"""Prometheus' own test scripts through the HTTP API: remote write in, query out."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

import pytest

from lookout_server.ingest.remote_write_messages import WriteRequest
from lookout_server.query.prometheus.source import MemorySource

from ..promql import scripts
from ..serving import Serving
from .remote import HEADERS, add_sample, compressed

_RUNS = itertools.count(1)
#: So many loads of a script are sent and asked about side by side.
_AT_ONCE = 4
_WAITING = 'lookout_collector_waiting_rows{signal="metrics"}'

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


def asked(serving: Serving, headers: dict[str, str], case: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer to a case."""
    if case.kind == "instant":
        path, form = "/api/v1/query", {"time": case.start_ms}
    else:
        path = "/api/v1/query_range"
        form = {"start": case.start_ms, "end": case.end_ms, "step": case.step_ms}
    fields = {name: f"{millis / 1000:.3f}" for name, millis in form.items()}
    body = urlencode({**fields, "query": case.expr}, errors="surrogateescape").encode()
    status, _, text = serving.request(path, body, headers)
    return status, json.loads(text)


Ask: TypeAlias = Callable[[Any], tuple[int, dict[str, Any]]]


def as_written(ask: Ask, case: Any) -> str | None:
    """What the judge finds wrong with the answer to a case, or None."""
    return _reason(case, ask(case), annotations=True)


def as_range(ask: Ask, case: Any) -> str | None:
    """The same of an instant case as the middle of a range query."""
    if not scripts.may_be_range(case):
        return None
    return _reason(case, scripts.middle(case, *ask(scripts.around(case))), annotations=False)


def pinned(ask: Ask, case: Any) -> str | None:
    """The same of an instant case asked at another time, its selectors held by ``@``."""
    if not scripts.may_be_pinned(case):
        return None
    return _reason(case, ask(scripts.elsewhere(case)), annotations=False)


def _reason(case: Any, answer: tuple[int, dict[str, Any]], *, annotations: bool) -> str | None:
    reason: str | None = TOOLS.check_api(case, *answer, annotations=annotations)
    return reason


def await_readable(serving: Serving, headers: dict[str, str], source: MemorySource) -> None:
    """So many loads in a row are heavy ingest, when reads may be a batch behind."""
    wanted = sum(1 for series in source._series if len(series.timestamps))
    path = "/api/v1/series?" + urlencode({"match[]": '{__name__=~".+"}'})

    def listed() -> bool:
        return len(json.loads(serving.request(path, None, headers)[2])["data"]) >= wanted

    serving.eventually(listed)
    # Series are stored before their samples. This costs more, and is hardly ever waited for.
    serving.eventually(lambda: not serving.metric(_WAITING))


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One collector for all scripts, whose loads are tenants of their own."""
    directory = tmp_path_factory.mktemp("conformance")
    environment = {**os.environ, "LOOKOUT_ENABLE_FEATURE": "all", "LOOKOUT_MAX_TENANTS": "10000"}
    command = ["-m", "lookout_server", "serve", "--listen", "127.0.0.1:0", "--multitenancy"]
    command += ["--retention", "0", "--data-dir", str(directory)]
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Serving(process)
    try:
        running.await_ready()
        yield running
    finally:
        running.terminate()


def wrong(serving: Serving, path: Path, cases: list[Any]) -> list[str]:
    """What the judge finds in the cases of one load, which becomes a tenant of its own."""
    headers = {"X-Scope-OrgID": f"{path.stem}-{next(_RUNS)}"}
    source = scripts.source_of(cases[0].loads)
    status, _, text = serving.request("/api/v1/write", body_of(source), {**HEADERS, **headers})
    assert status == 204, text
    await_readable(serving, headers, source)

    def ask(case: Any) -> tuple[int, dict[str, Any]]:
        return asked(serving, headers, case)

    reasons = [
        (case.eval, way.__name__, way(ask, case.eval))
        for case in cases
        for way in (as_written, as_range, pinned)
    ]
    return [
        f"{path.name}:{asked_for.line} {way}: {asked_for.expr}: {reason}"
        for asked_for, way, reason in reasons
        if reason
    ]


@pytest.mark.parametrize("path", scripts.files(), ids=lambda path: path.stem)
def test_script(serving: Serving, path: Path) -> None:
    """Every case of a script passes on a running collector, annotations and native histograms
    included; each instant one as a range query and pinned by ``@``, too.
    """
    loads = itertools.groupby(
        TOOLS.cases(str(path)), lambda case: [load.line for load in case.loads]
    )
    blocks = [list(cases) for _, cases in loads]
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        found = workers.map(lambda cases: wrong(serving, path, cases), blocks)
        failures = [one for failed in found for one in failed]
    assert not failures, "\n".join(failures[:20])
