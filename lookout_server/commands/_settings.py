"""What the subcommands share: the configuration of flags, and errors of one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from ..config import ServerConfig, load


def fail(message: object) -> NoReturn:
    """One line on standard error, exit status 2."""
    print(f"lookout: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(2)


def settings(config_file: Path | None = None, **flags: Any) -> ServerConfig:
    """The configuration, or one line about what is wrong with it."""
    try:
        return load(config_file, **flags)
    except ValidationError as error:
        fail("; ".join(_sentence(dict(item)) for item in error.errors()))
    except ValueError as error:  # a TOML file that is none
        fail(f"{config_file}: {error}")


def _sentence(item: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    text = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
