"""`aiservice migrate`: the database's form."""

import click

from aiservice.core.settings import load
from aiservice.stores import migrate


@click.command()
@click.option("--check", "is_check", is_flag=True, help="Change nothing; exit with 1 when something is to be done.")
@click.pass_context
def command(ctx: click.Context, *, is_check: bool) -> None:
    """Bring the database to the form that this version needs. `serve` does it by itself.

    That is the database of POSTGRES_URL, else the file in DATA_DIR. With POSTGRES_OWNER_URL the role that it names
    owns the tables, and the one of POSTGRES_URL is let in.
    """
    settings = load()
    found = migrate.revision_of(settings)
    if migrate.is_current(settings):
        click.echo(f"The database is at revision {found}; there is nothing to do.")
    elif is_check:
        click.echo(
            f"The database is at revision {found or 'none'} and needs {_needed(found)}: run `aiservice migrate`."
        )
        ctx.exit(1)
    else:
        migrate.upgrade(settings)
        click.echo(f"The database was at revision {found or 'none'} and is now at {_needed(found)}.")


def _needed(found: str | None) -> str:
    return migrate.HEAD if found != migrate.HEAD else f"{migrate.HEAD} with the rights of POSTGRES_URL's role"
