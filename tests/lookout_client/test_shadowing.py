"""Applications whose own ``tracer`` or ``exporters`` hides our packages of these names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COUNTS = """
import lookout_client as lookout
orders = lookout.counter("shop.orders", help="Orders taken.")
orders.inc(3)
print("counted", lookout.REGISTRY.get("shop.orders").value)
"""
OURS = ["init('s')", "trace(print)", "start_span('a')", "WsgiMiddleware", "INTERNAL", "flush()"]


def run(place: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a script that lies beside the intruder, as users do."""
    (place / "app.py").write_text(code)
    return subprocess.run(
        [sys.executable, *options, "app.py"],
        cwd=place,
        env={"LOOKOUT_COLLECTOR": "http://127.0.0.1:9", "LOOKOUT_EXIT_TIMEOUT": "0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(params=["tracer.py", "tracer/__init__.py", "exporters.py", "exporters/__init__.py"])
def intruder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A module or package of the application's, which must not run for our sake."""
    path = tmp_path / str(request.param)
    path.parent.mkdir(exist_ok=True)
    path.write_text("print('the intruder ran')\n")
    return path


def test_meters_count_beside_an_intruder(intruder: Path, tmp_path: Path) -> None:
    """The library can be imported and counts; the application's module does not run for it."""
    found = run(tmp_path, COUNTS)
    assert (found.stdout, found.stderr) == ("counted 3\n", "")


def test_what_needs_the_hidden_package_names_the_intruder(intruder: Path, tmp_path: Path) -> None:
    """Each name of the tracing half: one ImportError with the file and what to do."""
    lines = "".join(
        f"try: lookout.{use}\nexcept ImportError as error: print(error)\n" for use in OURS
    )
    found = run(tmp_path, f"import lookout_client as lookout\n{lines}")
    package = intruder.relative_to(tmp_path).parts[0].removesuffix(".py")
    text = f"{intruder} hides Lookout's package {package}: rename it, or start Python with -P\n"
    assert (found.stdout, found.stderr) == (text * len(OURS), "")


def test_metrics_are_scraped_beside_a_tracer(tmp_path: Path) -> None:
    """What needs no tracer works on beside an application's tracer.py."""
    (tmp_path / "tracer.py").write_text("")
    found = run(tmp_path, f"{COUNTS}print(callable(lookout.metrics_wsgi))\n")
    assert (found.stdout, found.stderr) == ("counted 3\nTrue\n", "")


def test_python_p_finds_our_packages(intruder: Path, tmp_path: Path) -> None:
    """Started with -P, Python does not look beside the script: everything works."""
    found = run(tmp_path, f"{COUNTS}lookout.init('s')\nlookout.shutdown()\n", "-P")
    assert (found.returncode, found.stdout) == (0, "counted 3\n"), found.stderr
