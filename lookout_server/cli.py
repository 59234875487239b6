"""The command ``lookout``. Every module of ``commands/`` is a subcommand, loaded lazily."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from . import commands


class LazyGroup(click.Group):
    """Finds subcommands by module name; a missing optional part spoils only its own command."""

    def main(self, *args: Any, **options: Any) -> Any:
        """As click's, but a mistake in the arguments gets one line and exit status 2."""
        try:
            sys.exit(super().main(*args, **{**options, "standalone_mode": False}))
        except NoArgsIsHelpError as help_text:
            print(help_text.format_message())
        except click.ClickException as error:
            print(f"lookout: {error.format_message()}", file=sys.stderr)
            sys.exit(2 if isinstance(error, click.UsageError) else error.exit_code)
        except click.Abort:
            sys.exit(130)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(
            module.name.rstrip("_")
            for module in pkgutil.iter_modules(commands.__path__)
            if not module.name.startswith("_")
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = self.list_commands(ctx)
        if cmd_name not in known:
            raise click.UsageError(f"{cmd_name!r} is no command; expected {', '.join(known)}")
        try:
            module = importlib.import_module(f"{commands.__name__}.{cmd_name}")
        except ModuleNotFoundError as missing:
            if missing.name and missing.name.startswith(__name__.partition(".")[0]):
                raise
            raise click.ClickException(
                f"{cmd_name} needs {missing.name}: pip install 'lookout-telemetry[all]'"
            ) from None
        command = module.command
        assert isinstance(command, click.Command)
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lookout-telemetry", message="lookout %(version)s")
def cli() -> None:
    """Distributed tracing and metrics: collector and tools."""
