"""The operator's commands besides serve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lookout_server.cli import cli
from lookout_server.config import FEATURES, ServerConfig, load
from lookout_server.diagnosis import check_disk, check_port, check_shadowing
from lookout_server.query.prometheus.service import FEATURE_FLAGS
from lookout_server.security import TokensInvalid, load_tokens
from lookout_server.store.migrations import known

from .prometheus_api.remote import HEADERS, write_request
from .serving import Serve


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lookout_server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


def test_config_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every setting with its origin; secrets are not printed."""
    file = tmp_path / "lookout.toml"
    file.write_text("readers = 3\n")
    monkeypatch.setenv("LOOKOUT_RETENTION", "1d")
    monkeypatch.setenv("LOOKOUT_CLICKHOUSE_URL", "clickhouse://u:secret@h/d")
    result = CliRunner().invoke(cli, ["config", "show", "--json", "--config", str(file)])
    rows = {row["setting"]: row for row in json.loads(result.output)}
    assert set(rows) == set(ServerConfig.model_fields)
    assert rows["retention"]["origin"] == "LOOKOUT_RETENTION"
    assert rows["readers"]["origin"] == str(file)
    assert rows["listen"] == {
        "setting": "listen",
        "value": "127.0.0.1:9411",
        "origin": "default",
        "meaning": rows["listen"]["meaning"],
    }
    assert all(row["meaning"] for row in rows.values())
    assert "secret" not in result.output


def test_config_show_prints_what_one_would_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and durations with their units, words by commas, and no value of Python's."""
    monkeypatch.setenv("LOOKOUT_RETENTION_TENANTS", '{"a": "30d"}')
    monkeypatch.setenv("LOOKOUT_AUTOCOMPLETE_KEYS", "region, env")
    lines = CliRunner().invoke(cli, ["config", "show"]).output.splitlines()
    found = {line.split()[0]: " ".join(line.split()[1:-1]) for line in lines[1:]}
    assert found.keys() == ServerConfig.model_fields.keys()
    for name, value in {
        "journal_max": "4GiB",
        "retention": "7d",
        "search_enabled": "true",
        "clickhouse_url": "-",
        "stages": "-",
        "kafka_span_topics": "zipkin",
        "autocomplete_keys": "region,env",
        "retention_tenants": '{"a": "30d"}',
        "query_lookback": "1d",
    }.items():
        assert found[name] == value


def test_config_show_cuts_nothing() -> None:
    """Long words of a meaning go on in the next line."""
    shown = CliRunner().invoke(cli, ["config", "show", "--doc"]).output
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


@pytest.mark.parametrize("command", [("config", "show"), ("doctor", "--listen", "127.0.0.1:0")])
def test_a_misspelt_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """It has no effect, so somebody must say so; what is far from every name is none of ours."""
    monkeypatch.setenv("LOOKOUT_RETENTIONS", "3d")
    monkeypatch.setenv("LOOKOUT_WHATEVER", "of the application's own")
    said = CliRunner().invoke(cli, command).stderr
    meant = "is not known and has no effect; is it LOOKOUT_RETENTION?"
    assert said == f"lookout: LOOKOUT_RETENTIONS {meant}\n"


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    """The file is named once, and what it should be."""
    plain = tmp_path / "plain"
    plain.write_text("no toml")
    for arguments, said in (
        (("--config", str(plain)), f"{plain} is no TOML: "),
        (
            ("--listen", "127.0.0.1:0", "--data-dir", str(plain)),
            f"cannot use the data directory {plain}: is not a directory",
        ),
    ):
        result = run("serve", *arguments)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.startswith(f"lookout: {said}")
    with pytest.raises(TokensInvalid, match=f"^the tokens file {plain} is no TOML: "):
        load_tokens(plain)
    missing = tmp_path / "missing"
    told = f"^cannot read the tokens file {missing}: no such file or directory$"
    with pytest.raises(TokensInvalid, match=told):
        load_tokens(missing)


def test_migrate(tmp_path: Path) -> None:
    """The plan changes nothing, the migration is done once."""
    place = ("--data-dir", str(tmp_path / "data"))
    plan = run("migrate", "--plan", *place)
    assert "CREATE TABLE IF NOT EXISTS spans" in plan.stdout
    assert not (tmp_path / "data").exists()
    first = run("migrate", *place)
    assert len(first.stdout.splitlines()) == len(known())
    assert run("migrate", *place).stdout == "the schema is up to date\n"
    assert run("migrate", "--plan", *place).stdout == "-- the schema is up to date\n"


def packages_by_doctor(place: Path, *command: str) -> tuple[int, list[tuple[str, str]]]:
    """The exit code of ``lookout doctor`` run in a place, and its findings about packages."""
    result = subprocess.run(
        [*command, "doctor", "--json", "--listen", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60, check=False, cwd=place,
    )  # fmt: skip
    findings = [f for f in json.loads(result.stdout) if f["subject"] == "packages"]
    return result.returncode, [(f["level"], f["text"]) for f in findings]


SCRIPT = str(Path(sys.executable).with_name("lookout"))
MODULE = (sys.executable, "-m", "lookout_server")


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (MODULE, ["tracer.py"]),
        ((SCRIPT,), ["tracer.py"]),
        ((SCRIPT,), ["exporters/__init__.py"]),
        ((SCRIPT,), ["tracer/__init__.py", "exporters.py"]),
    ],
)
def test_doctor_sees_a_shadowed_package(
    tmp_path: Path, command: tuple[str, ...], names: list[str]
) -> None:
    """A module or package of the user's is named with its path, and what to do."""
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    code, findings = packages_by_doctor(tmp_path, *command)
    assert code == 1
    assert [level for level, _ in findings] == ["problem"] * len(names)
    for name, (_, text) in zip(names, findings, strict=True):
        assert text.startswith(f"{tmp_path / name} hides") and "-P" in text


def test_doctor_always_tells_of_packages(tmp_path: Path) -> None:
    """Nothing hides ours, nor does a folder of the name that is no package: one line says so."""
    (tmp_path / "exporters").mkdir()
    _, findings = packages_by_doctor(tmp_path, SCRIPT)
    assert [level for level, _ in findings] == ["ok"]


def test_doctor_of_a_running_collector(serve: Serve) -> None:
    """A collector that keeps up is told from a port somebody else holds, and so is what it lost."""
    serving = serve()
    body = write_request([({"job": "without a name"}, [(1, 1.0), (2, 1.0)])])
    assert serving.request("/api/v1/write", body, HEADERS)[0] == 204
    address = serving.url.removeprefix("http://")
    result = run("doctor", "--json", "--listen", address)
    found = {f["subject"]: f for f in json.loads(result.stdout)}
    assert found["port"]["text"] == f"a collector answers on {address}"
    assert found["journal"]["level"] == "ok"
    assert found["rejected"]["text"] == '2 samples, reason="invalid_labels"'


def test_serve_names_unknown_features(tmp_path: Path) -> None:
    """A feature that does not exist is named with those that do, in one line, with status 2."""
    result = run(
        "serve", "--data-dir", str(tmp_path), "--enable-feature", "foo,promql-duration-expr"
    )
    assert result.returncode == 2
    assert result.stderr.startswith("lookout: enable_feature: unknown: foo; known are ")
    assert "promql-experimental-functions" in result.stderr and result.stderr.count("\n") == 1


def test_every_feature_of_promql_can_be_enabled() -> None:
    """The names the configuration takes include all that the engine knows."""
    assert {*FEATURE_FLAGS} <= {*FEATURES}
    assert load(enable_feature="all").enable_feature == ["all"]


def test_single_checks(tmp_path: Path) -> None:
    """Disk and port are fine in a fresh place, and so are the packages."""
    config = load(data_dir=tmp_path / "new", listen="127.0.0.1:0")
    assert [f.level for f in check_disk(config)] == ["ok"]
    assert [f.level for f in check_port(config)] == ["ok"]
    assert "problem" not in [f.level for f in check_shadowing(config)]


def test_help_lists_the_commands() -> None:
    """lookout alone says what there is."""
    result = CliRunner().invoke(cli, ["--help"])
    for name in ("config", "doctor", "migrate", "serve"):
        assert name in result.output
    assert "..." not in result.output.partition("Commands:")[2]  # every description is whole


LACKING = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from lookout_server.cli import cli
cli(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ("pydantic", "(serve needs pydantic: pip install 'lookout-telemetry[all]')"),
        ("ssl", "(serve needs ssl, which Python does not have on this system)"),
        ("fcntl,resource", "Take, store and answer for traces and metrics, on one port."),
    ],
)
def test_help_lists_commands_that_lack_a_part(lacks: str, says: str) -> None:
    """The list says what they lack; the others stay there."""
    done = lacking(lacks, "--help")
    assert done.returncode == 0, done.stderr
    assert " ".join(says.split()) in " ".join(done.stdout.split())
    assert "Read the digest logs that applications write." in done.stdout


@pytest.mark.parametrize("part", ["starlette", "uvicorn", "numpy", "chdb"])
def test_a_collector_that_lacks_a_part_says_how_to_get_it(tmp_path: Path, part: str) -> None:
    """Also where it is imported only when the collector starts: one line, no traceback."""
    done = lacking(part, "serve", "--listen=127.0.0.1:0", f"--data-dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr == f"lookout: serve needs {part}: pip install 'lookout-telemetry[all]'\n"


def test_a_collector_without_posix_says_so(tmp_path: Path) -> None:
    """As on Windows: serve says in one line what it needs; doctor looks at the packages there."""
    done = lacking("fcntl,resource", "serve", "--listen=127.0.0.1:0", f"--data-dir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith("lookout: the collector needs Linux or macOS:")
    assert len(done.stderr.splitlines()) == 1
    assert "packages" in lacking("fcntl,resource", "doctor").stdout


def lacking(modules: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process where these modules cannot be imported."""
    command = [sys.executable, "-c", LACKING, modules, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
