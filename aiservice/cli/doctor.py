"""`aiservice doctor`: what this machine has, what it lacks, and the command that mends it."""

from collections.abc import Mapping

import click
from rich.markup import escape

from aiservice.cli.checks import all_checks
from aiservice.cli.finding import State
from aiservice.cli.tables import plain_table, show

SAID: Mapping[State, str] = {
    State.OK: "[green]ok[/]",
    State.OPTIONAL: "[yellow]optional[/]",
    State.MISSING: "[red]missing[/]",
}


@click.command()
@click.pass_context
def command(ctx: click.Context) -> None:
    """Check this machine; exit with 1 when something required is missing. Changes nothing."""
    checks = all_checks()
    table = plain_table("check", "state", "found", "to mend it")
    for check in checks:
        table.add_row(check.name, SAID[check.state], escape(check.found), escape(check.mend))
    show(table)
    missing = [check.name for check in checks if check.state is State.MISSING]
    click.echo(f"Required and missing: {', '.join(missing)}." if missing else "Everything that is required is there.")
    ctx.exit(1 if missing else 0)
