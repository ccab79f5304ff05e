"""The command `aiservice`: which commands there are, and how their errors are said."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from aiservice import __version__
from aiservice.core.errors import AIServiceError, StartRefused

# Each module has the click command as `command`. The sentences stand here so that --help loads none of them.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("aiservice.cli.run", "Try the service on this machine: start it and ask the model a question."),
    "serve": ("aiservice.cli.serve", "Start the service; everything is set by the environment."),
    "keys": ("aiservice.cli.keys", "Make, list, rotate, revoke and audit API keys."),
    "models": ("aiservice.cli.models", "List the models of all engines, and fetch new ones."),
    "databases": ("aiservice.cli.databases", "Register the databases that SQL assist may read."),
    "usage": ("aiservice.cli.usage", "Show what a tenant has used, and whether the ledger agrees with itself."),
    "migrate": ("aiservice.cli.migrate", "Bring the database to the form that this version needs."),
    "doctor": ("aiservice.cli.doctor", "Check this machine and say how to mend what is missing."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AIServiceError as error:
            raise (NotStarted if isinstance(error, StartRefused) else Failed)(error.public) from error


class Failed(click.ClickException):
    """One line instead of a traceback."""

    exit_code = 1


class NotStarted(Failed):
    """The start was refused: a wrong setting, a port in use."""

    exit_code = 2


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="aiservice")
def main() -> None:
    """A gateway to language models with keys, limits, a cache and exact usage."""
