"""`lookout ui fetch`: the jar that Maven brings is installed if it is the one that was checked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lookout_server.cli import cli
from lookout_server.query.zipkin.ui import open_files

_BESIDE = Path(__file__).parents[3] / ".parts" / "zipkin"
PARTS = Path(os.environ.get("LOOKOUT_ZIPKIN_PARTS", _BESIDE))
JAR = next(PARTS.glob("zipkin-lens-*.jar"), None)


def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maven: str) -> Result:
    """Runs the command with this shell script for Maven; $OUT is where the jar must go."""
    folder = tmp_path / "bin"
    folder.mkdir()
    out = 'for a; do case "$a" in -DoutputDirectory=*) OUT=${a#*=};; esac; done'
    (folder / "mvn").write_text(f"#!/bin/sh\n{out}\n{maven}\n")
    (folder / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return CliRunner().invoke(cli, ["ui", "fetch", "--data-dir", str(tmp_path / "data")])


@pytest.mark.skipif(JAR is None, reason=f"no zipkin-lens in {PARTS}: run scripts/parts-zipkin")
def test_the_jar_is_installed_where_serve_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real jar passes the check and is a page that can be served."""
    done = fetched(tmp_path, monkeypatch, f"cp '{JAR}' \"$OUT/\"")
    assert done.exit_code == 0, done.output
    assert open_files(tmp_path / "data" / "zipkin-lens.jar").read("index.html")


def test_another_jar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jar with another checksum is named as such and not installed."""
    done = fetched(tmp_path, monkeypatch, 'echo other > "$OUT/zipkin-lens.jar"')
    assert done.exit_code == 1
    assert "has SHA-256" in done.output and "not installed" in done.output
    assert not (tmp_path / "data").exists()


def test_what_maven_says_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Maven fails, its own words come with the error."""
    done = fetched(tmp_path, monkeypatch, "echo no route to the repository; exit 1")
    assert done.exit_code == 1 and "no route to the repository" in done.output


def test_without_maven_another_way_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to get, and the option that serves it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(cli, ["ui", "fetch"])
    assert done.exit_code == 1 and "--zipkin-ui JAR" in done.output
