"""Every command of the README, run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def run(*command: str, cwd: Path = ROOT, seconds: float = 240, **environment: str) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def in_this_environment(*command: str) -> str:
    """A script of ours, in the environment the tests run in instead of a new one."""
    extra = {"LOOKOUT_VENV": os.environ.get("LOOKOUT_VENV", sys.prefix)}
    return run(*command, **extra)


def demo(tmp_path: Path) -> None:
    said = in_this_environment(
        "scripts/demo", "--for", "5s", "--listen", "127.0.0.1:0", "--keep", str(tmp_path / "demo")
    )
    assert "Every span created was stored." in said
    visible = re.search(r"First trace visible after ([\d.]+) s", said)
    assert visible
    for address in ("Web page", "Zipkin API", "PromQL", "Metrics", "Digest logs"):
        assert address in said


def collection(tmp_path: Path) -> None:
    said = in_this_environment("scripts/test", "--collect-only", "-q", "tests/end_to_end")
    assert "test_readme.py" in said


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built distribution."""
    if not (ROOT / "tracer").exists():
        pytest.skip("needs the packages' source beside it, to build a wheel of")
    folder = tmp_path_factory.mktemp("wheel")
    # In isolation scripts/venv builds it, and scripts/test --wheel: once more takes seconds.
    command = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder))
    run(sys.executable, *command, str(ROOT))
    return next(folder.glob("lookout_telemetry-*.whl"))


def shell_commands(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


#: How each command is tried. Installing is tried by test_the_sdk_installs_light below.
TRIED: dict[str, Callable[[Path], None] | None] = {
    "scripts/demo": demo,
    "scripts/test": collection,
    "pip install .": None,
    "pip install '.[server]'": None,
}


def test_no_command_of_the_readme_is_untried() -> None:
    """Each shell line of the README has its trial here."""
    assert set(shell_commands(README)) == set(TRIED)


@pytest.mark.parametrize("command", [name for name, trial in TRIED.items() if trial])
def test_the_command_does_what_the_readme_says(command: str, tmp_path: Path) -> None:
    """The command succeeds and shows what the README promises of it."""
    trial = TRIED[command]
    assert trial is not None
    trial(tmp_path)


def test_the_python_example_runs(tmp_path: Path) -> None:
    """The lines for your own application run as they stand, even with no collector there."""
    (tmp_path / "orders.py").write_text(re.findall(r"```python\n(.*?)```", README, re.S)[0])
    program = (
        "from wsgiref.util import setup_testing_defaults as fill; import orders\n"
        "environ = {}; fill(environ); answers = []\n"
        "body = orders.app(environ, lambda status, headers, *error: answers.append(status))\n"
        "print(answers, b''.join(body), orders.orders.with_tags(result='accepted').value)\n"
    )
    said = run(sys.executable, "-c", program, cwd=tmp_path, LOOKOUT_COLLECTOR="http://127.0.0.1:9")
    assert said == "['200 OK'] b'3900' 1\n"


def test_the_command_of_a_bare_sdk_says_what_to_install() -> None:
    """Both ways: from an index, and from a checkout, as this page has it."""
    program = (
        "import sys; sys.modules['click'] = None; import lookout_server.__main__ as m; m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert "lookout: click is not installed; " in done.stderr
    assert "pip install 'lookout-telemetry[server]'" in done.stderr
    assert "from a checkout: pip install '.[server]'" in done.stderr


def test_the_sdk_installs_light(tmp_path: Path, wheel: Path) -> None:
    """The bare distribution brings no server parts; its command says what to install."""
    venv.create(tmp_path / "venv")
    python = str(tmp_path / "venv" / "bin" / "python")
    # The pip of the tests acts for it: making it one of its own takes seconds.
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    try:
        run(*pip, "install", "-q", str(wheel))
    except AssertionError as failed:
        if "No matching distribution" in str(failed) or "Connection" in str(failed):
            pytest.skip("the dependencies cannot be downloaded here")
        raise
    listed = run(*pip, "list", "--format=freeze").lower()
    assert "lookout-telemetry" in listed
    for heavy in ("numpy", "protobuf", "grpcio", "chdb", "clickhouse", "pydantic", "pyarrow"):
        assert heavy not in listed
    run(python, "-c", "import lookout_client; lookout_client.start_span('x').finish()")
    lookout = subprocess.run(
        [tmp_path / "venv" / "bin" / "lookout", "serve"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert lookout.returncode == 2
    assert "pip install 'lookout-telemetry[server]'" in lookout.stderr
    assert lookout.stderr.count("\n") == 1
