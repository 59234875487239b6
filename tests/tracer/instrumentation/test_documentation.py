"""Every example of docs/instrumentation.md, run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.processes import ADDRESS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "instrumentation.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)


def _environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LOOKOUT_COLLECTOR": "http://127.0.0.1:9",
        "LOOKOUT_EXIT_TIMEOUT": "0.5",
        **more,
    }


def _examples() -> list[Any]:
    """(code, what it prints) of every example that is a whole script."""
    found = []
    for position, (kind, code) in enumerate(BLOCKS):
        if kind == "python" and not code.startswith("# app.py"):
            following = BLOCKS[position + 1] if position + 1 < len(BLOCKS) else ("", "")
            printed = following[1] if following[0] == "text" else ""
            found.append(pytest.param(code, printed, id=f"example {position}"))
    return found


@pytest.mark.parametrize(("code", "printed"), _examples())
def test_an_example_runs_and_prints_what_it_says(code: str, printed: str, tmp_path: Path) -> None:
    """A reader who copies it gets what the page shows."""
    pytest.importorskip("opentracing")
    pytest.importorskip("aiohttp")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, printed), done.stderr


def test_the_unchanged_application_is_traced(tmp_path: Path) -> None:
    """The page's application, started by the page's commands, leaves its span in the logs."""
    pytest.importorskip("opentelemetry.instrumentation.flask", exc_type=ImportError)
    (tmp_path / "app.py").write_text(next(code for _, code in BLOCKS if code.startswith("# app")))
    commands = next(code for kind, code in BLOCKS if kind == "sh")
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            commands.replace("opentelemetry-instrument", "exec opentelemetry-instrument"),
        ],
        cwd=tmp_path,
        env=_environment(
            FLASK_RUN_PORT="0",
            LOOKOUT_LOG_DIR=str(tmp_path / "logs"),
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="logging",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = next(found for line in process.stdout if (found := ADDRESS.search(line)))
        assert httpx.get(f"{address.group()}/items/5").text == "item 5"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    written = "".join(file.read_text() for file in (tmp_path / "logs").rglob("*-digest.log"))
    assert "GET /items/<int:number>" in written
