"""`aiservice migrate`: the database's form."""

import click

from aiservice.core.settings import load
from aiservice.stores import migrate


@click.command()
@click.option("--check", "is_check", is_flag=True, help="Change nothing; exit with 1 when something is to be done.")
@click.pass_context
def command(ctx: click.Context, *, is_check: bool) -> None:
    """Bring the database in DATA_DIR to the form that this version needs. `serve` does it by itself."""
    data_dir = load().server.data_dir
    found = migrate.revision_of(data_dir)
    if found == migrate.HEAD:
        click.echo(f"The database is at revision {found}; there is nothing to do.")
    elif is_check:
        click.echo(f"The database is at revision {found or 'none'} and needs {migrate.HEAD}: run `aiservice migrate`.")
        ctx.exit(1)
    else:
        migrate.upgrade(data_dir)
        click.echo(f"The database was at revision {found or 'none'} and is now at {migrate.HEAD}.")
