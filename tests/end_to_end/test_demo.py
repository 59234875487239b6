"""What the demo says at its end, and where its port is taken."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from examples import demo
from examples.processes import Child
from examples.shop.load import Sent

ROOT = Path(__file__).parents[2]


def row(process: str, stored: int) -> dict[str, Any]:
    counts = {"created": 9, "sampled_out": 0, "sent": 9, "stored": stored}
    return {"process": process, "service": "stock", "dropped": {}, **counts}


def test_accounts_of_others_are_not_settled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another application of a service's name, in the same collector, does not spoil the demo's."""
    monkeypatch.setattr(demo, "ledger", lambda url: [row("mine", 9), row("another", 4)])
    assert demo.settle_accounts("http://collector", ["mine"], Sent(statuses=Counter({200: 1})))
    said = capsys.readouterr().out
    assert "\n1 request answered {200: 1}\n" in said
    assert said.count("stock") == 1
    assert "Every span created was stored." in said


def test_a_service_names_its_process() -> None:
    """The id under which the collector has its account."""
    child = Child("stock", ["-m", "examples.shop.stock"], {"LOOKOUT_COLLECTOR": ""})
    try:
        child.wait_ready()
        assert len(child.uid) == 16
        assert int(child.uid, 16)
    finally:
        child.kill()


def test_a_taken_port_has_a_remedy() -> None:
    """Where something listens already, the demo says which option chooses another port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "examples.demo", "--listen", address]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
        )
    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr
    assert done.stderr.endswith("--listen 127.0.0.1:0 is any\n")
