"""Random queries on the same data, answered by the engine and by a real Prometheus."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from lookout_server.query.prometheus.engine import Engine, EngineOptions
from lookout_server.query.prometheus.errors import QueryError
from lookout_server.query.prometheus.result import Result
from lookout_server.query.prometheus.source import MemorySource

from ..clickhouse import free_port
from . import random_queries

_START_MS = 1_700_000_000_000
_MINUTES = 120
_QUERIES = 400

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="no prometheus and promtool on the path",
)


@pytest.fixture(scope="module")
def series() -> list[random_queries.Series]:
    return random_queries.data(_START_MS, _MINUTES, seed=1)


@pytest.fixture(scope="module")
def prometheus(
    series: list[random_queries.Series], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a Prometheus that holds the series."""
    directory = tmp_path_factory.mktemp("prometheus")
    text = directory / "data.om"
    text.write_text(_open_metrics(series))
    blocks = directory / "tsdb"
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(blocks)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (directory / "prometheus.yml").touch()
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--web.listen-address={address}",
            f"--storage.tsdb.path={blocks}",
            "--storage.tsdb.retention.time=100y",
            f"--config.file={directory / 'prometheus.yml'}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_ready(f"http://{address}/-/ready")
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def _open_metrics(series: list[random_queries.Series]) -> str:
    by_name: dict[str, list[str]] = {}
    for one in series:
        name = one.labels["__name__"]
        labels = ",".join(f'{k}="{v}"' for k, v in one.labels.items() if k != "__name__")
        lines = by_name.setdefault(name, [f"# TYPE {name} unknown"])
        for at, value in zip(one.times, one.values, strict=True):
            number = "NaN" if math.isnan(value) else repr(value)
            lines.append(f"{name}{{{labels}}} {number} {at / 1000:.3f}")
    return "\n".join("\n".join(lines) for lines in by_name.values()) + "\n# EOF\n"


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"{url} did not become ready")


def _ask(address: str, form: dict[str, Any]) -> dict[str, Any]:
    data = urllib.parse.urlencode(form).encode()
    try:
        with urllib.request.urlopen(f"{address}/api/v1/query_range", data) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.load(error))


def _points(result: Result) -> dict[Any, dict[int, float]]:
    found = {}
    for row, labels in enumerate(result.labels):
        cut = slice(int(result.offsets[row]), int(result.offsets[row + 1]))
        times, values = result.timestamps[cut].tolist(), result.values[cut].tolist()
        found[labels] = dict(zip(times, values, strict=True))
    return found


def _expected(answer: dict[str, Any]) -> dict[Any, dict[int, float]]:
    return {
        tuple(sorted(each["metric"].items())): {
            round(at * 1000): float(value) for at, value in each["values"]
        }
        for each in answer["data"]["result"]
    }


def _difference(expected: dict[Any, Any], found: dict[Any, Any]) -> str:
    if expected.keys() != found.keys():
        return f"series {sorted(expected.keys() ^ found.keys())[:2]} on one side only"
    for labels, points in expected.items():
        if points.keys() != found[labels].keys():
            return f"{labels} at {sorted(points.keys() ^ found[labels].keys())[:2]} on one side"
        for at, value in points.items():
            if not _close(value, found[labels][at]):
                return f"{labels} @ {at}: {value} and {found[labels][at]}"
    return ""


def _close(left: float, right: float) -> bool:
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return left == right or math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)


def test_random_queries_are_answered_alike(
    prometheus: str, series: list[random_queries.Series]
) -> None:
    """Values within 1e-9, the same series at the same times, and the same errors in words."""
    source = MemorySource()
    for one in series:
        source.add(one.labels, one.times, one.values)
    engine = Engine(EngineOptions(delayed_name_removal=False))
    queries = random_queries.Queries(seed=7)
    failures, answered = [], 0
    for number in range(_QUERIES):
        query = queries.next()
        start = _START_MS + 40 * 60_000 + 3500 + number % 7 * 1000
        window = start, start + 30 * 60_000, (60_000, 120_000, 300_000, 15_000)[number % 4]
        form = dict(zip(("start", "end", "step"), (ms / 1000 for ms in window), strict=True))
        answer = _ask(prometheus, {"query": query, **form})
        try:
            found = _points(engine.range(query, *window, source))
        except QueryError as error:
            problem = _other_error(answer, error)
        else:
            expected = _expected(answer) if answer["status"] == "success" else {}
            problem = _difference(expected, found)
            problem = problem or answer.get("error", "")
            answered += bool(expected)
        if problem:
            failures.append(f"{query} {window}: {problem}")
    assert failures == []
    assert answered > _QUERIES / 2


def _other_error(answer: dict[str, Any], error: QueryError) -> str:
    if answer["status"] == "success":
        return f"only the engine fails: {error}"
    if answer["errorType"] != error.error_type:
        return f"{answer['errorType']} and {error.error_type}"
    # Which of several duplicates Prometheus names first is up to chance.
    same = answer["error"].partition("[")[0] == str(error).partition("[")[0]
    return "" if same or "duplicate series" in str(error) else f"{answer['error']} / {error}"
