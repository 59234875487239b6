"""The help for tests of traced code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tracer
from tracer import start_span
from tracer.api import PIPELINE
from tracer.testing import Recorder, Ticks, recording


def test_trees_are_in_the_order_of_starting(traces: Recorder) -> None:
    """Whatever finished first."""
    with start_span("root"):
        first = start_span("first")
        start_span("second").finish()
        first.finish()
    with start_span("other"):
        pass
    assert traces.tree() == [("root", [("first", []), ("second", [])]), ("other", [])]
    assert traces.render() == "root\n  first\n  second\nother"
    assert traces.render(lambda span: span.rpc_id) == "0\n  0.1\n  0.2\n0"


def test_one_says_what_was_there_instead(traces: Recorder) -> None:
    """The error shows the trees."""
    with start_span("root"):
        start_span("twice").finish()
        start_span("twice").finish()
    assert traces.one("root").name == "root"
    with pytest.raises(AssertionError, match="2 spans named 'twice', not 1, in\nroot\n  twice"):
        traces.one("twice")


def test_recordings_are_deterministic() -> None:
    """Two runs of the same code give the same ids and times."""

    def record() -> list[tuple[int, int, int, int]]:
        with recording() as traces:
            with start_span("a"), start_span("b"):
                pass
            return [(s.trace_id, s.span_id, s.start_ns, s.duration_ns) for s in traces]

    assert record() == record()


def test_a_recording_leaves_the_set_up_as_it_was() -> None:
    """Also when one is inside another, and when the code fails."""
    before = PIPELINE.saved()
    with recording() as outer, start_span("outer"):
        with pytest.raises(ValueError), recording() as inner, start_span("inner"):
            raise ValueError
        start_span("below").finish()
    assert PIPELINE.saved() == before
    assert inner.tree() == [("inner", [])]
    assert outer.tree() == [("outer", [("below", [])])]
    assert tracer.current_context() is None


def test_the_clock_moves_when_told() -> None:
    """A step a reading, and as far as advance says."""
    clock = Ticks(start_ns=1_000, step_ns=10)
    assert [clock.now_ns(), clock.now_ns()] == [1_000, 1_010]
    clock.advance(500)
    assert clock.now_ns() == 1_520
    assert not clock.anchor_again()


PROJECT = """
import tracer

@tracer.trace("checkout")
def checkout():
    with tracer.start_span("price"):
        pass
    with tracer.start_span("charge", tags={"amount": 12}):
        pass

def test_checkout(traces):
    checkout()
    assert traces.tree() == [("checkout", [("price", []), ("charge", [])])]
    assert traces.one("charge").tags["amount"] == 12

def test_each_test_begins_empty(traces):
    assert len(traces) == 0
"""


def test_the_fixture_works_in_a_project_of_its_own(tmp_path: Path) -> None:
    """As a plug-in of pytest, without any set-up in the project."""
    (tmp_path / "test_shop.py").write_text(PROJECT)
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "lookout_client.pytest_plugin"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": root},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
