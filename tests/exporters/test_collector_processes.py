"""The collector destination in programs that end at once, and in forked ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = """
import os, sys
from conftest import Span
from exporters.collector import CollectorDestination
from exporters.flusher import Flusher
from exporters.ledger import Ledger
from exporters.parcel import Unavailable
from exporters.ring import Ring
ring = Ring(64)
ledger = Ledger("shop")
flusher = Flusher(ring, [CollectorDestination(sys.argv[1])], ledger=ledger)
ring.offer(Span(span_id=1))
"""


def run(code: str, url: str) -> None:
    root = Path(__file__).parents[2]
    path = f"{root}:{root / 'tests' / 'exporters'}"
    subprocess.run(
        [sys.executable, "-c", code, url],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        timeout=60,
    )


def test_a_short_script_loses_nothing(receiver: Any) -> None:
    """A program that ends at once delivers its span and its ledger on the way out."""
    run(SCRIPT, receiver.url)
    assert [request.json for request in receiver.requests][-1] == []
    assert receiver.ids == [1]


def test_forked_children_send_their_own(receiver: Any) -> None:
    """A child sends what it recorded, under a ledger of its own, and nothing of its parent's."""
    fork = """
flusher.flush(5)
if os.fork() == 0:
    ring.offer(Span(span_id=2))
    flusher.shutdown(5)
    os._exit(0)
os.wait()
"""
    run(SCRIPT + fork, receiver.url)
    assert sorted(receiver.ids) == [1, 2]
    ledgers = [json.loads(request.headers["X-Lookout-Ledger"]) for request in receiver.requests]
    by_process = {each["process"]: each for each in ledgers}
    assert [each["created"] for each in by_process.values()] == [1, 1]
