"""The command ``lookout``. Every module of ``commands/`` is a subcommand, loaded lazily."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from . import commands

#: Characters of a command's help in the list of commands.
_SHORT = 60
#: For a package, and for a module of Python's own.
_REMEDIES = (
    ": pip install 'lookout-telemetry[all]'",
    ", which Python does not have on this system",
)


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

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, also for commands that import a part only when they run."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as missing:
            raise _lacking(str(ctx.invoked_subcommand), missing) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(
            module.name.rstrip("_")
            for module in pkgutil.iter_modules(commands.__path__)
            if not module.name.startswith("_")
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, but a command that lacks a part says so in its place."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._short(ctx, name)) for name in self.list_commands(ctx)])

    def _short(self, ctx: click.Context, name: str) -> str:
        try:
            command = self.get_command(ctx, name)
        except click.ClickException as error:
            return f"({error.format_message()})"
        return command.get_short_help_str(_SHORT)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        known = self.list_commands(ctx)
        if cmd_name not in known:
            raise click.UsageError(f"{cmd_name!r} is no command; expected {', '.join(known)}")
        try:
            module = importlib.import_module(f"{commands.__name__}.{cmd_name}")
        except ModuleNotFoundError as missing:
            raise _lacking(cmd_name, missing) from None
        command = module.command
        assert isinstance(command, click.Command)
        return command


def _lacking(command: str, missing: ModuleNotFoundError) -> Exception:
    """What to raise for it: a line for the user, or the error itself where a module is ours."""
    part = (missing.name or "").partition(".")[0]
    if part in ("", __name__.partition(".")[0]):
        return missing
    remedy = _REMEDIES[part in sys.stdlib_module_names]
    return click.ClickException(f"{command} needs {part}{remedy}")


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lookout-telemetry", message="lookout %(version)s")
def cli() -> None:
    """Distributed tracing and metrics: collector and tools."""
