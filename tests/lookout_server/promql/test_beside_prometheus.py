"""Random queries on the same data, answered by the engine and by a real Prometheus.

LOOKOUT_RANDOM_QUERIES says how many (thousands take minutes), LOOKOUT_RANDOM_SEED which ones.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lookout_server.query.prometheus.engine import Engine, EngineOptions
from lookout_server.query.prometheus.errors import QueryError
from lookout_server.query.prometheus.features import ALL
from lookout_server.query.prometheus.result import Result
from lookout_server.query.prometheus.source import MemorySource

from ..clickhouse import free_port
from ..prometheus_api.remote import HEADERS, write_request
from . import random_queries

_START_MS = 1_700_000_010_000 // 60_000 * 60_000
_MINUTES = 120
_QUERIES = int(os.environ.get("LOOKOUT_RANDOM_QUERIES", "400"))
_SEED = int(os.environ.get("LOOKOUT_RANDOM_SEED", "7"))

_FILTERS = re.compile(r"(?:[<>]=?|[!=]=) (?!bool)")

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus on the path")


@dataclass(frozen=True)
class Both:
    """The same data in the engine and in a Prometheus; ``late``: no sample on a border."""

    late: bool
    address: str
    source: MemorySource

    @property
    def shift_ms(self) -> int:
        """Of query times, so that they stay off the borders too."""
        return 3500 if self.late else 0


@pytest.fixture(scope="module", params=[True, False], ids=["off the borders", "on them"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    """A Prometheus with lookbacks as in Prometheus 3, filled by remote write."""
    late = bool(request.param)
    series = random_queries.data(_START_MS, _MINUTES, seed=1, late=late)
    source = MemorySource()
    for one in series:
        source.add(one.labels, one.times, one.values)
    with _prometheus(tmp_path_factory.mktemp("prometheus"), late=late) as address:
        for stretch in random_queries.by_time(series, 600_000):
            _write(address, stretch)
        yield Both(late, address, source)


@contextmanager
def _prometheus(directory: Path, *, late: bool) -> Iterator[str]:
    (directory / "prometheus.yml").touch()
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--web.listen-address={address}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            "--storage.tsdb.retention.time=100y",
            "--web.enable-remote-write-receiver",
            f"--query.lookback-delta={'5m' if late else '299999ms'}",
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


def _write(address: str, stretch: list[random_queries.Series]) -> None:
    series = [(one.labels, list(zip(one.times, one.values, strict=True))) for one in stretch]
    request = urllib.request.Request(
        f"{address}/api/v1/write", write_request(series), HEADERS, method="POST"
    )
    with urllib.request.urlopen(request):
        pass


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"{url} did not become ready")


def _ask(address: str, path: str, form: dict[str, Any]) -> dict[str, Any]:
    data = urllib.parse.urlencode(form).encode()
    try:
        with urllib.request.urlopen(f"{address}/api/v1/{path}", data) as answer:
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
    data = answer["data"]
    if data["resultType"] == "scalar":
        return {(): {round(data["result"][0] * 1000): float(data["result"][1])}}
    return {
        tuple(sorted(each["metric"].items())): {
            round(at * 1000): float(value) for at, value in each.get("values") or [each["value"]]
        }
        for each in data["result"]
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


_ENGINE = Engine(EngineOptions(delayed_name_removal=False, features=ALL))


def test_random_queries_are_answered_alike(both: Both) -> None:
    """Values within 1e-9, the same series at the same times, and the same errors in words."""
    queries = random_queries.Queries(_SEED, _START_MS, late=both.late)

    def ask(number: int) -> tuple[str, str]:
        query = queries.next()
        start = _START_MS + 40 * 60_000 + both.shift_ms + number % 7 * 1000
        window = start, start + 30 * 60_000, (60_000, 120_000, 300_000, 15_000)[number % 4]
        form = dict(zip(("start", "end", "step"), (ms / 1000 for ms in window), strict=True))
        return _compared(both, query, "query_range", form, partial(_ENGINE.range, query, *window))

    _judge([ask(number) for number in range(_QUERIES)])


def test_random_instant_queries_are_answered_alike(both: Both) -> None:
    """So for queries at one time, which may also ask for the samples of a range."""
    queries = random_queries.Queries(_SEED + 1, _START_MS, late=both.late)

    def ask(number: int) -> tuple[str, str]:
        query = queries.next_instant()
        time = _START_MS + 40 * 60_000 + both.shift_ms + number % 211 * 15_000
        form = {"time": time / 1000}
        return _compared(both, query, "query", form, partial(_ENGINE.instant, query, time))

    _judge([ask(number) for number in range(_QUERIES)])


@pytest.mark.parametrize("query", random_queries.MALFORMED)
def test_malformed_queries_are_refused_in_the_same_words(both: Both, query: str) -> None:
    """The first mistake, its place, what was unexpected there and what was expected."""
    refused = _ask(both.address, "query", {"query": query})
    with pytest.raises(QueryError) as caught:
        _ENGINE.instant(query, _START_MS, both.source)
    assert refused["error"].removeprefix('invalid parameter "query": ') == str(caught.value)


def _compared(
    both: Both, query: str, path: str, form: dict[str, Any], ours: Callable[..., Result]
) -> tuple[str, str]:
    """What Prometheus answers (success or error), and how the engine's answer differs."""
    asked = {"query": random_queries.for_two(query, late=both.late), **form}
    answer = _ask(both.address, path, asked)
    try:
        result = ours(both.source)
    except QueryError as error:
        return answer["status"], _told(query, form, _other_error(query, answer, error))
    if answer["status"] != "success":
        return answer["status"], _told(query, form, answer["error"])
    found = _points(result)
    if result.kind == "scalar":
        found = {(): {result.time_ms: result.scalar}}
    return answer["status"], _told(query, form, _difference(_expected(answer), found))


def _told(query: str, form: dict[str, Any], problem: str) -> str:
    return f"{query} {form}: {problem}" if problem else ""


def _judge(outcomes: list[tuple[str, str]]) -> None:
    problems = [problem for _, problem in outcomes if problem]
    if problems:
        pytest.fail(f"{len(problems)} differ:\n" + "\n".join(problems[:50]), pytrace=False)
    answered = sum(status == "success" for status, _ in outcomes)
    assert answered > len(outcomes) / 2


def _other_error(query: str, answer: dict[str, Any], error: QueryError) -> str:
    if answer["status"] == "success":
        if str(error).startswith("multiple matches for labels") and _FILTERS.search(query):
            return ""  # Prometheus 2 matches only what a comparison keeps
        return f"only the engine fails: {error}"
    if answer["errorType"] != error.error_type:
        return f"{answer['errorType']} and {error.error_type}"
    # Which of several duplicates Prometheus names first is up to chance.
    same = answer["error"].partition("[")[0] == str(error).partition("[")[0]
    return "" if same or "duplicate series" in str(error) else f"{answer['error']} / {error}"
