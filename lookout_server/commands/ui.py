"""``lookout ui fetch``: get Zipkin's own web page."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import click

#: The latest that Maven Central has, and the SHA-256 of its jar.
COORDINATES = "io.zipkin:zipkin-lens:3.4.3:jar"
SHA256 = "0e4ea360f04694c9bf81456005f32413a015007860c61e9648fee5e4e48ba3fc"
_TIMEOUT_S = 300


@click.group("ui")
def command() -> None:
    """Zipkin's web page, served under /zipkin/."""


@command.command("fetch")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path("lookout-data"),
    show_default=True,
    help="Where `lookout serve` looks for it.",
)
def fetch(data_dir: Path) -> None:
    """Get the zipkin-lens jar from Maven Central through Maven, and check it."""
    maven = shutil.which("mvn")
    if maven is None:
        raise click.ClickException(
            f"Maven (mvn) is not installed; get {COORDINATES} another way, then "
            "lookout serve --zipkin-ui JAR"
        )
    with tempfile.TemporaryDirectory() as scratch:
        jar = _download(maven, Path(scratch))
        digest = hashlib.sha256(jar.read_bytes()).hexdigest()
        if digest != SHA256:
            raise click.ClickException(
                f"{COORDINATES} has SHA-256 {digest}, expected {SHA256}; it was not installed"
            )
        data_dir.mkdir(parents=True, exist_ok=True)
        target = data_dir / "zipkin-lens.jar"
        shutil.copyfile(jar, target)
    click.echo(f"{target}: start the collector again and open /zipkin/")


def _download(maven: str, scratch: Path) -> Path:
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
    command = [maven, "--quiet", "--batch-mode", goal, f"-Dartifact={COORDINATES}"]
    command += [f"-DoutputDirectory={scratch}", "-Dmdep.useBaseVersion=true"]
    try:
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise click.ClickException(f"Maven did not finish within {_TIMEOUT_S} s") from None
    jars = list(scratch.glob("*.jar"))
    if done.returncode or not jars:
        raise click.ClickException(f"Maven could not get {COORDINATES}: {done.stdout[-500:]}")
    return jars[0]
