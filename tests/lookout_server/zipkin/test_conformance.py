"""What Zipkin's own core does with thousands of steps, replayed against `lookout serve`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .running import serving

_BESIDE = Path(__file__).parents[3].parent / "shared" / "conformance"
SUITE = Path(os.environ.get("LOOKOUT_CONFORMANCE", _BESIDE)) / "zipkin"

#: Times of the cases are this close to their base.
_NEAR_MS = 40 * 86_400_000

#: An unknown trace is left out of traceMany, not listed as [].
_OTHERWISE = ("Search.nonStrict128and64",)
#: So many replay at once: what they send is stored in fewer batches.
_RUNNERS = 4

pytestmark = pytest.mark.skipif(
    not (SUITE / "run.py").exists(),
    reason=f"no Zipkin cases at {SUITE}; LOOKOUT_CONFORMANCE names the folder that has them",
)


def replay(base_url: str, folder: Path, text: str, *options: str) -> list[str]:
    """Outputs of the cases' runners, among which the cases are dealt: each is a tenant's own."""
    cases = json.loads(text)

    def run(at: int) -> str:
        share = folder / f"cases-{at}.json"
        share.write_text(json.dumps({**cases, "cases": cases["cases"][at::_RUNNERS]}))
        command = [sys.executable, str(SUITE / "run.py"), base_url, "--cases", str(share)]
        command += ["--tenant-header", "X-Scope-OrgID", "--quirks", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        return done.stdout + done.stderr

    with ThreadPoolExecutor(_RUNNERS) as runners:
        return list(runners.map(run, range(_RUNNERS)))


def as_published() -> str:
    """The cases as they are."""
    return (SUITE / "cases.json").read_text()


def moved_to_today() -> str:
    """The cases with all their times moved, in what is sent as in what is expected."""
    text = as_published()
    base_ms = json.loads(text)["base_ms"]
    days = int(time.time()) // 86_400 - base_ms // 86_400_000

    def moved(number: re.Match[str]) -> str:
        unit = 86_400_000 if len(number[0]) == 13 else 86_400_000_000
        near = abs(int(number[0]) * 86_400_000 // unit - base_ms) <= _NEAR_MS
        return str(int(number[0]) + days * unit) if near else number[0]

    cases = json.loads(re.sub(r"\b\d{13}(?:\d{3})?\b", moved, text))
    cases["cases"] = [case for case in cases["cases"] if not case.get("no_shift")]
    return json.dumps(cases)


def test_cases_hold_today(tmp_path: Path) -> None:
    """Of spans of this day the cases hold too, here with every body decoded in another process."""
    with serving(tmp_path / "data", env={"LOOKOUT_DECODE_PROCESSES": "1"}) as base_url:
        outputs = replay(base_url, tmp_path, moved_to_today())
    assert all(output.endswith(" passed, 0 failed\n") for output in outputs), "".join(outputs)


def test_all_cases_hold(tmp_path: Path) -> None:
    """Storage kit, codecs, bad input, search and links behave as in Zipkin, quirks included."""
    with serving(tmp_path / "data", env={"LOOKOUT_DECODE_PROCESSES": "0"}) as base_url:
        outputs = replay(base_url, tmp_path, as_published())
    assert all(output.endswith(" passed, 0 failed\n") for output in outputs), "".join(outputs)


def without_others() -> str:
    """The cases but for those that Lookout decided otherwise."""
    cases = json.loads(as_published())
    kept = [one for one in cases["cases"] if not any(name in one["name"] for name in _OTHERWISE)]
    return json.dumps({**cases, "cases": kept})


@pytest.mark.parametrize(
    "setting",
    [
        "strict_trace_id=false",
        "search_enabled=false",
        "autocomplete_keys=http.host",
        "autocomplete_keys=http.path",
        "autocomplete_keys=environment,clnt/finagle.version",
        "collector_sample_rate=0.5",
    ],
)
def test_cases_hold_with_setting(tmp_path: Path, setting: str) -> None:
    """Each server setting, given under Zipkin's own variable name, acts as it does in Zipkin."""
    name, _, value = setting.partition("=")
    with serving(tmp_path / "data", env={name.upper(): value}) as base_url:
        outputs = replay(base_url, tmp_path, without_others(), "--setting", setting)
    assert all(output.endswith(" passed, 0 failed\n") for output in outputs), "".join(outputs)
