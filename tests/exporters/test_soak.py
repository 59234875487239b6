"""A few seconds of the soak that benchmarks/flush_soak.py runs for ten minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("flags", [[], ["--down"], ["--no-spill"]])
def test_the_ledger_balances_to_the_span(flags: list[str]) -> None:
    """Collector going away and coming back, or down until the end: every span accounted for."""
    if not (ROOT / "benchmarks" / "flush_soak.py").exists():
        pytest.skip("the benchmarks are not part of this copy")
    command = [sys.executable, "-m", "benchmarks.flush_soak", "--seconds", "1", "--rate", "4000"]
    result = subprocess.run(
        [*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "balanced to the span" in result.stdout
