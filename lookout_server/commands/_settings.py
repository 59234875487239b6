"""What the subcommands share: the configuration of flags, and errors of one line."""

from __future__ import annotations

import contextlib
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

import click
from pydantic import ValidationError

from ..config import ServerConfig, load
from ..misspelt import misspelt

CONFIG_OPTION = click.option(
    "--config",
    "config_file",
    envvar="LOOKOUT_CONFIG",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings as TOML; names as in `lookout config show`",
)


def fail(message: object) -> NoReturn:
    """One line on standard error, exit status 2."""
    print(f"lookout: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(2)


def settings(config_file: Path | None = None, **flags: Any) -> ServerConfig:
    """The configuration, or one line about what is wrong with it.

    A variable that is probably misspelt is named on standard error.
    """
    for name, meant in misspelt(os.environ):
        print(f"lookout: {name} is not known and has no effect; is it {meant}?", file=sys.stderr)
    try:
        return load(config_file, **flags)
    except ValidationError as error:
        fail("; ".join(_sentence(dict(item)) for item in error.errors()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fail(f"{config_file} is no TOML: {error}")
    except ValueError as error:
        fail(f"{config_file}: {error}")


def _sentence(item: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    text = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


@contextlib.contextmanager
def owned(data_dir: Path) -> Iterator[IO[str]]:
    """Hold the directory's lock, or say who cannot have it."""
    try:
        import fcntl
    except ModuleNotFoundError:
        fail("the collector needs Linux or macOS: it locks its data directory with POSIX locks")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("w")
    except FileExistsError:
        fail(f"cannot use the data directory {data_dir}: is not a directory")
    except OSError as error:
        fail(f"cannot use the data directory {data_dir}: {(error.strerror or '').lower()}")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fail(f"{data_dir} is in use by another lookout process: stop the collector first")
        yield lock
