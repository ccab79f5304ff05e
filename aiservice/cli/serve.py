"""`aiservice serve`: the service itself, in the foreground."""

import signal
import sys

import click
from pydantic.fields import FieldInfo

from aiservice.core.lifeline import die_with
from aiservice.core.settings import Settings, accepted, env_name, is_secret, load, table
from aiservice.server import launch


class ServeCommand(click.Command):
    """A command whose help lists every setting."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Settings, from the environment (see docs/reference/settings.md)"):
            formatter.write_dl([(env_name(field), _said(field)) for _, _, field in table()])


@click.command(cls=ServeCommand)
@click.option("--host", metavar="ADDRESS", help="Instead of HOST.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Instead of PORT.")
@click.option("--workers", type=click.IntRange(1, 64), help="Instead of WORKERS.")
@click.option("--parent", type=int, hidden=True, help="The parent process; its end stops the service.")
def command(host: str | None, port: int | None, workers: int | None, *, parent: int | None) -> None:
    """Start the service.

    Prints `ready on http://HOST:PORT` when every worker serves. SIGTERM and Ctrl-C let open answers end, for at most
    30 s; a second one shortens that to 5 s.
    """
    if parent is not None:
        die_with(parent, signal.SIGTERM)
    sys.exit(launch(_overridden(load(), host=host, port=port, workers=workers)))


def _overridden(settings: Settings, **values: str | int | None) -> Settings:
    given = {name: value for name, value in values.items() if value is not None}
    return settings.model_copy(update={"server": settings.server.model_copy(update=given)})


def _said(field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, tuple):
        default = ",".join(default)
    if isinstance(default, bool):
        default = str(default).lower()
    is_shown = default not in (None, "") and not is_secret(field)
    return f"{field.description} Takes {accepted(field)}." + (f" Default: {default}." if is_shown else "")
